"""Keys and signatures made by the real ssh-keygen, and Ed25519 keys made here, for tests of who signed what."""

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from pytorch_offline.bundle.reading import ed25519
from pytorch_offline.bundle.reading.ssh_signature import SshSignature, render_ssh_signature

needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")
KINDS = ("ed25519", "rsa -b 2048", "rsa -b 3072", "ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521")


def make_key(folder: Path, kind: str = "ed25519", name: str = "key") -> Path:
    """Make a key pair without passphrase; gives the private key's path."""
    path = folder / name
    command = ["ssh-keygen", "-q", "-t", *kind.split(), "-N", "", "-C", "a comment", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def public_line(key: Path) -> str:
    """Read ``KEYTYPE BASE64`` of a key."""
    return " ".join(key.with_name(key.name + ".pub").read_text(encoding="ascii").split()[:2])


def public_blob(key: Path) -> bytes:
    """Read a public key as SSH writes keys."""
    return base64.b64decode(public_line(key).split()[1])


def sign(key: Path, message: bytes, namespace: str = "pytorch-offline", options: tuple[str, ...] = ()) -> bytes:
    """Sign by the real ssh-keygen."""
    command = ["ssh-keygen", "-Y", "sign", "-q", "-n", namespace, "-f", str(key), *options]
    return subprocess.run(command, check=True, input=message, capture_output=True).stdout


class Ed25519Key:
    """An Ed25519 key whose secret is known here (RFC 8032, 5.1.5 and 5.1.6), for signatures that no program makes."""

    def __init__(self, secret: bytes) -> None:
        digest = hashlib.sha512(secret).digest()
        self.scalar = (int.from_bytes(digest[:32], "little") & ((1 << 254) - 8)) | (1 << 254)
        self.prefix = digest[32:]
        self.public = encode_point(ed25519._multiply_ed(self.scalar, ed25519._ED_BASE))

    def sign(self, message: bytes) -> bytes:
        """Sign bytes."""
        nonce = int.from_bytes(hashlib.sha512(self.prefix + message).digest(), "little") % ed25519._ED_ORDER
        commitment = encode_point(ed25519._multiply_ed(nonce, ed25519._ED_BASE))
        challenge = int.from_bytes(hashlib.sha512(commitment + self.public + message).digest(), "little")
        return commitment + ((nonce + challenge * self.scalar) % ed25519._ED_ORDER).to_bytes(32, "little")


def encode_point(point: ed25519._EdPoint) -> bytes:
    """Encode a point (RFC 8032, 5.1.2)."""
    inverse = pow(point.z, ed25519._ED_FIELD - 2, ed25519._ED_FIELD)
    x, y = point.x * inverse % ed25519._ED_FIELD, point.y * inverse % ed25519._ED_FIELD
    return (y | (x & 1) << 255).to_bytes(32, "little")


def ssh_strings(*fields: bytes) -> bytes:
    """Put strings behind each other as SSH writes them."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def armoured(key: bytes, proof: bytes, *, namespace: str = "pytorch-offline", hash_name: str = "sha512") -> bytes:
    """Put a signature together from its parts."""
    fields = ssh_strings(key, namespace.encode(), b"", hash_name.encode(), proof)
    blob = b"SSHSIG" + (1).to_bytes(4, "big") + fields
    signature = SshSignature(key=key, key_type="", namespace=namespace, hash=hash_name, proof=proof, blob=blob)
    return render_ssh_signature(signature)


def signed_bytes(message: bytes, *, namespace: str = "pytorch-offline", hash_name: str = "sha512") -> bytes:
    """Say what a signature of the message is really made over."""
    digest = hashlib.new(hash_name, message).digest()
    return b"SSHSIG" + ssh_strings(namespace.encode(), b"", hash_name.encode(), digest)
