"""SSH signatures (OpenSSH's PROTOCOL.sshsig) with the standard library: what is signed, by which key, and if it is.

Keys of the kinds ssh-ed25519, ssh-rsa (2048 bits and more, with SHA-2), ecdsa-sha2-nistp256/384/521, and the first and
the third in FIDO tokens (PROTOCOL.u2f). Certificates are ssh-keygen's business (``ssh_keygen.py``).
"""

import base64
import binascii
import hashlib
import re
from typing import NamedTuple, Tuple

from pytorch_offline.bundle.reading.ecdsa import is_known_curve, verify_ecdsa
from pytorch_offline.bundle.reading.ed25519 import verify_ed25519
from pytorch_offline.errors import IntegrityError

# An RSA key of 16384 bits, the longest that OpenSSH reads, signs in under 8 KiB with its armour.
MAX_SIGNATURE_BYTES = 64 * 1024
_ARMOUR_BEGIN = "-----BEGIN SSH SIGNATURE-----"
_ARMOUR_END = "-----END SSH SIGNATURE-----"
_SSHSIG_MAGIC = b"SSHSIG"
_SSHSIG_VERSION = 1
_MIN_RSA_BITS = 2048  # NIST SP 800-131A: shorter keys are disallowed since 2014
_MAX_RSA_BITS = 16384  # as OpenSSH
_MIN_RSA_EXPONENT = 3  # RFC 8017, section 3.1
_MAX_RSA_EXPONENT_BITS = 64  # as OpenSSL, for large moduli: a longer one only costs time
# DER of DigestInfo up to the digest (RFC 8017, section 9.2, note 1).
_DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
_RSA_HASHES = {"rsa-sha2-256": "sha256", "rsa-sha2-512": "sha512"}
_SSH_NAME = re.compile(rb"[!-~]{1,100}")


class SshSignature(NamedTuple):
    """A signature as it was read, of which nothing is proved yet.

    Args:
        key: the public key that it names, as SSH writes keys.
        key_type: that key's kind, e.g. ``ssh-ed25519``.
        namespace: what it was made for.
        hash: of the message: ``sha256`` or ``sha512``.
        proof: the bytes of the signature proper, with its algorithm.
        blob: all of it, without armour.
    """

    key: bytes
    key_type: str
    namespace: str
    hash: str
    proof: bytes
    blob: bytes


def parse_ssh_signature(data: bytes) -> SshSignature:
    """Read an armoured signature.

    Raises:
        IntegrityError: ``bad-signature`` if it is none, or longer than one is.
    """
    if len(data) > MAX_SIGNATURE_BYTES:
        raise _not_a_signature("it is longer than any signature")
    try:
        text = data.decode("ascii").strip()
    except UnicodeDecodeError:
        raise _not_a_signature("it is not text") from None
    if not text.startswith(_ARMOUR_BEGIN) or not text.endswith(_ARMOUR_END):
        raise _not_a_signature("it does not begin and end as one")
    try:
        blob = base64.b64decode("".join(text[len(_ARMOUR_BEGIN) : -len(_ARMOUR_END)].split()), validate=True)
    except (binascii.Error, ValueError):
        raise _not_a_signature("it is not base64 between its first and its last line") from None
    reader = SshReader(blob)
    if reader.take(len(_SSHSIG_MAGIC)) != _SSHSIG_MAGIC or reader.number() != _SSHSIG_VERSION:
        raise _not_a_signature("it is of another format, or of a later one")
    key, namespace, reserved, hash_name, proof = (reader.string() for _ in range(5))
    reader.finish()
    if reserved:
        raise _not_a_signature("it is of a later format")
    if not _SSH_NAME.fullmatch(namespace) or hash_name not in (b"sha256", b"sha512"):
        raise _not_a_signature("its namespace or its hash is unknown")
    return SshSignature(
        key=key,
        key_type=ssh_key_type(key),
        namespace=namespace.decode("ascii"),
        hash=hash_name.decode("ascii"),
        proof=proof,
        blob=blob,
    )


def render_ssh_signature(signature: SshSignature) -> bytes:
    """Write a signature in its armour, in lines as ssh-keygen breaks them."""
    text = base64.b64encode(signature.blob).decode("ascii")
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return "\n".join([_ARMOUR_BEGIN, *lines, _ARMOUR_END, ""]).encode("ascii")


def ssh_fingerprint(key: bytes) -> str:
    """Name a public key as ssh-keygen does, e.g. ``SHA256:p5w+…``."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")


def ssh_key_type(key: bytes) -> str:
    """Read the kind of a public key.

    Raises:
        IntegrityError: ``bad-signature`` if it is none.
    """
    name = SshReader(key).string()
    if not _SSH_NAME.fullmatch(name):
        raise _not_a_signature("its key is none")
    return name.decode("ascii")


def is_verifiable_here(key_type: str) -> bool:
    """Say whether signatures by keys of this kind are verified by ``verify_ssh_signature``."""
    return key_type in _VERIFIERS


def verify_ssh_signature(signature: SshSignature, message: bytes, namespace: str) -> bool:
    """Say whether the message was signed, for this namespace, by the key that the signature names.

    Raises:
        IntegrityError: ``bad-signature`` if key or signature are malformed;
            ``signature-unsupported`` for a kind of key that is not verified here.
    """
    if signature.namespace != namespace:
        return False
    verify = _VERIFIERS.get(signature.key_type)
    if verify is None:
        raise IntegrityError(
            "signature-unsupported",
            f"The signature is by a key of the kind {signature.key_type}, which only ssh-keygen can check.",
            facts={"key": ssh_fingerprint(signature.key)},
            hint="Install OpenSSH 8.2 or newer here, or sign with an Ed25519, RSA or ECDSA key.",
        )
    insist_on_strength(signature)
    digest = hashlib.new(signature.hash, message).digest()
    fields = (namespace.encode("ascii"), b"", signature.hash.encode("ascii"), digest)
    return verify(signature, _SSHSIG_MAGIC + b"".join(_ssh_string(field) for field in fields))


def insist_on_strength(signature: SshSignature) -> None:
    """Refuse short RSA keys, which ssh-keygen would take from 1024 bits on.

    Raises:
        IntegrityError: ``bad-signature``.
    """
    if signature.key_type == "ssh-rsa":
        reader = SshReader(signature.key)
        reader.string()
        reader.integer()
        bits = reader.integer().bit_length()
        if bits < _MIN_RSA_BITS:
            raise IntegrityError(
                "bad-signature", f"The signature is by an RSA key of {bits} bits; {_MIN_RSA_BITS} are the fewest."
            )


class SshReader:
    """Reads SSH's wire format (RFC 4251, section 5) from its first byte to its last."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, length: int) -> bytes:
        """Take so many bytes."""
        if length > len(self._data) - self._at:
            raise _not_a_signature("it is cut off")
        self._at += length
        return self._data[self._at - length : self._at]

    def number(self) -> int:
        """Take four bytes as a number."""
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        """Take a string with its length before it."""
        return self.take(self.number())

    def integer(self) -> int:
        """Take a whole number that is not negative, of at most ``_MAX_RSA_BITS``."""
        text = self.string()
        if text[:1] > b"\x7f":
            raise _not_a_signature("a number in it is negative")
        text = text.lstrip(b"\0")
        if len(text) > _MAX_RSA_BITS // 8:
            raise _not_a_signature("a number in it is too long")
        return int.from_bytes(text, "big")

    def finish(self) -> None:
        """Insist that nothing follows."""
        if self._at != len(self._data):
            raise _not_a_signature("something follows where it ends")


def _ssh_string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _not_a_signature(reason: str) -> IntegrityError:
    return IntegrityError(
        "bad-signature", f"The signature cannot be read: {reason}.", hint="Bring manifest.json.sig again."
    )


def _proof_of(signature: SshSignature, algorithm: str) -> Tuple[bytes, bytes]:
    """Split the signature proper into its bytes and what follows them; ``algorithm`` must be what it says it is."""
    reader = SshReader(signature.proof)
    if reader.string() != algorithm.encode("ascii"):
        raise _not_a_signature("its algorithm is not its key's")
    proof = reader.string()
    return proof, reader.take(len(signature.proof) - 8 - len(algorithm) - len(proof))


def _verify_ed25519_key(signature: SshSignature, signed: bytes) -> bool:
    key = SshReader(signature.key)
    key.string()
    public = key.string()
    key.finish()
    proof, rest = _proof_of(signature, signature.key_type)
    return not rest and verify_ed25519(public, signed, proof)


def _verify_ecdsa_key(signature: SshSignature, signed: bytes) -> bool:
    key = SshReader(signature.key)
    key.string()
    curve, public = key.string().decode("ascii", "replace"), key.string()
    key.finish()
    if not is_known_curve(curve) or signature.key_type != "ecdsa-sha2-" + curve:
        raise _not_a_signature("its key is of an unknown curve")
    proof, rest = _proof_of(signature, signature.key_type)
    return not rest and verify_ecdsa(curve, public, signed, _ecdsa_numbers(proof))


def _ecdsa_numbers(proof: bytes) -> Tuple[int, int]:
    reader = SshReader(proof)
    numbers = reader.integer(), reader.integer()
    reader.finish()
    return numbers


def _verify_rsa_key(signature: SshSignature, signed: bytes) -> bool:
    """Verify RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2.2) by making the one encoded message that is right."""
    key = SshReader(signature.key)
    key.string()
    exponent, modulus = key.integer(), key.integer()
    key.finish()
    bits = modulus.bit_length()
    if (
        bits > _MAX_RSA_BITS
        or exponent.bit_length() > _MAX_RSA_EXPONENT_BITS
        or exponent < _MIN_RSA_EXPONENT
        or not exponent & 1
        or not modulus & 1
    ):
        raise _not_a_signature("its RSA key is none")
    reader = SshReader(signature.proof)
    hash_name = _RSA_HASHES.get(reader.string().decode("ascii", "replace"))
    proof = reader.string()
    reader.finish()
    if hash_name is None:
        raise _not_a_signature("its algorithm is not its key's")
    length = (bits + 7) // 8
    number = int.from_bytes(proof, "big")
    if len(proof) > length or number >= modulus:
        return False
    tail = _DIGEST_INFO[hash_name] + hashlib.new(hash_name, signed).digest()
    expected = b"\x00\x01" + b"\xff" * (length - len(tail) - 3) + b"\x00" + tail
    return pow(number, exponent, modulus).to_bytes(length, "big") == expected


def _token_statement(application: bytes, rest: bytes, signed: bytes) -> bytes:
    """Make what a FIDO token signs (PROTOCOL.u2f): the application, flags and counter, and the message's hash."""
    reader = SshReader(rest)
    flags_and_counter = reader.take(5)
    reader.finish()
    return hashlib.sha256(application).digest() + flags_and_counter + hashlib.sha256(signed).digest()


def _verify_ed25519_token(signature: SshSignature, signed: bytes) -> bool:
    key = SshReader(signature.key)
    key.string()
    public, application = key.string(), key.string()
    key.finish()
    proof, rest = _proof_of(signature, signature.key_type)
    return verify_ed25519(public, _token_statement(application, rest, signed), proof)


def _verify_ecdsa_token(signature: SshSignature, signed: bytes) -> bool:
    key = SshReader(signature.key)
    key.string()
    curve, public, application = key.string(), key.string(), key.string()
    key.finish()
    if curve != b"nistp256":
        raise _not_a_signature("its key is of an unknown curve")
    proof, rest = _proof_of(signature, signature.key_type)
    return verify_ecdsa("nistp256", public, _token_statement(application, rest, signed), _ecdsa_numbers(proof))


_VERIFIERS = {
    "ssh-ed25519": _verify_ed25519_key,
    "ssh-rsa": _verify_rsa_key,
    "ecdsa-sha2-nistp256": _verify_ecdsa_key,
    "ecdsa-sha2-nistp384": _verify_ecdsa_key,
    "ecdsa-sha2-nistp521": _verify_ecdsa_key,
    "sk-ssh-ed25519@openssh.com": _verify_ed25519_token,
    "sk-ecdsa-sha2-nistp256@openssh.com": _verify_ecdsa_token,
}
