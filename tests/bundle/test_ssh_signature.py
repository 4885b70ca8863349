"""Verifying SSH signatures by ourselves: RFC 8032's vectors, cases made to deceive, and ssh-keygen's own judgement."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from pytorch_offline.bundle.reading import ed25519
from pytorch_offline.bundle.reading.ecdsa import _CURVES, verify_ecdsa
from pytorch_offline.bundle.reading.ed25519 import verify_ed25519
from pytorch_offline.bundle.reading.ssh_signature import (
    _DIGEST_INFO,
    parse_ssh_signature,
    render_ssh_signature,
    verify_ssh_signature,
)
from pytorch_offline.errors import IntegrityError
from tests.bundle.differential import compare
from tests.bundle.keys import (
    Ed25519Key,
    armoured,
    encode_point,
    make_key,
    needs_ssh_keygen,
    sign,
    signed_bytes,
    ssh_strings,
)
from tests.interpreters import interpreter

MESSAGE = b"a manifest\n"
# RFC 8032, section 7.1: TEST 1, 2, 3 and SHA(abc): secret, public, message, signature.
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").hexdigest(),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
            "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
        ),
    ),
]
# Every encoding of a point of small order: y = 1, -1, 0, the two of order eight, with both signs; then y + p.
ORDER_EIGHT = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
SMALL_ORDER = sorted(
    {
        (y | sign << 255).to_bytes(32, "little")
        for y in (0, 1, ed25519._ED_FIELD - 1, ORDER_EIGHT, ed25519._ED_FIELD - ORDER_EIGHT)
        for sign in (0, 1)
    }
)
NOT_CANONICAL = [
    (y | sign << 255).to_bytes(32, "little")
    for y in (ed25519._ED_FIELD, ed25519._ED_FIELD + 1, 2**255 - 1)
    for sign in (0, 1)
]


@pytest.mark.parametrize(("secret", "public", "message", "signature"), VECTORS)
def test_the_vectors_of_the_rfc(secret: str, public: str, message: str, signature: str) -> None:
    key, text, proof = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert Ed25519Key(bytes.fromhex(secret)).public == key
    assert Ed25519Key(bytes.fromhex(secret)).sign(text) == proof
    assert verify_ed25519(key, text, proof)
    assert not verify_ed25519(key, text + b"x", proof)
    for at in range(64):
        assert not verify_ed25519(key, text, proof[:at] + bytes([proof[at] ^ 1]) + proof[at + 1 :])


def test_a_scalar_has_one_form() -> None:
    """S and S + L satisfy the same equation (RFC 8032, 8.4)."""
    key = Ed25519Key(bytes(32))
    proof = key.sign(MESSAGE)
    scalar = int.from_bytes(proof[32:], "little")
    assert verify_ed25519(key.public, MESSAGE, proof)
    for other in (scalar + ed25519._ED_ORDER, scalar + 2 * ed25519._ED_ORDER):
        assert not verify_ed25519(key.public, MESSAGE, proof[:32] + other.to_bytes(32, "little"))


def test_no_key_of_small_order_signs_anything() -> None:
    """With A of small order and R = S·B - kA, one would fit messages that nobody signed."""
    refused = 0
    for public in SMALL_ORDER + NOT_CANONICAL:
        for commitment, scalar in (
            (SMALL_ORDER[0], 0),
            (encode_point(ed25519._ED_BASE), 1),
            (encode_point(ed25519._ED_NEUTRAL), 0),
        ):
            proof = commitment + scalar.to_bytes(32, "little")
            for message in (b"", b"a", b"b", b"c", b"d", b"e", b"f", b"g"):
                assert not verify_ed25519(public, message, proof)
                refused += 1
    assert refused > 300


def test_a_commitment_of_small_order_is_refused() -> None:
    """With R of small order and S = k·a the equation holds up to R: only who has the secret makes it; nobody should."""
    key = Ed25519Key(bytes(32))
    for commitment in SMALL_ORDER:
        digest = hashlib.sha512(commitment + key.public + MESSAGE).digest()
        scalar = int.from_bytes(digest, "little") * key.scalar % ed25519._ED_ORDER
        assert not verify_ed25519(key.public, MESSAGE, commitment + scalar.to_bytes(32, "little"))


def test_a_point_has_one_form() -> None:
    readable = 0
    for y in range(19):
        once, again = y.to_bytes(32, "little"), (y + ed25519._ED_FIELD).to_bytes(32, "little")
        readable += ed25519._decode_ed_point(once) is not None
        assert ed25519._decode_ed_point(again) is None
    assert readable > 5


@pytest.mark.parametrize("length", [0, 31, 32, 33, 63, 65, 128])
def test_lengths_are_exact(length: int) -> None:
    key = Ed25519Key(bytes(32))
    proof = key.sign(MESSAGE)
    assert not verify_ed25519(key.public, MESSAGE, (proof + proof)[:length])
    if length != 32:
        assert not verify_ed25519((key.public * 4)[:length], MESSAGE, proof)


@pytest.mark.parametrize("curve_name", list(_CURVES))
def test_numbers_of_ecdsa_lie_between_nought_and_the_order(curve_name: str) -> None:
    curve = _CURVES[curve_name]
    length = (curve.field.bit_length() + 7) // 8
    public = b"\x04" + curve.x.to_bytes(length, "big") + curve.y.to_bytes(length, "big")  # secret 1
    number = int.from_bytes(hashlib.new(curve.hash, MESSAGE).digest(), "big")
    number >>= max(0, 8 * hashlib.new(curve.hash).digest_size - curve.order.bit_length())
    r = curve.x % curve.order  # nonce 1
    s = (number + r) % curve.order
    assert verify_ecdsa(curve_name, public, MESSAGE, (r, s))
    assert verify_ecdsa(curve_name, public, MESSAGE, (r, curve.order - s)), "ECDSA knows both"
    for wrong in ((0, s), (r, 0), (0, 0), (r + curve.order, s), (r, s + curve.order), (curve.order, s), (s, r), (r, 1)):
        assert not verify_ecdsa(curve_name, public, MESSAGE, wrong)
    off_curve = public[:-1] + bytes([public[-1] ^ 1])
    for key in (off_curve, b"\0", b"\x02" + public[1 : 1 + length], public + b"\0", b"\x04" + bytes(2 * length)):
        assert not verify_ecdsa(curve_name, key, MESSAGE, (r, s))


class RsaKey:
    """An RSA key whose primes are known here, so that any encoded message can be signed."""

    def __init__(self, folder: Path) -> None:
        make_key(folder, "rsa -b 2048 -m PEM", "rsa")
        text = subprocess.run(
            ["openssl", "rsa", "-in", str(folder / "rsa"), "-noout", "-text"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        import re

        found = {
            name: int(re.sub(r"[^0-9a-f]", "", digits), 16)
            for name, digits in re.findall(r"^(modulus|privateExponent):((?:\n    [0-9a-f:]+)+)", text, re.MULTILINE)
        }
        self.modulus, self.secret = found["modulus"], found["privateExponent"]
        number = self.modulus.to_bytes(257, "big")
        self.blob = ssh_strings(b"ssh-rsa", (65537).to_bytes(3, "big"), number)

    def sign(self, encoded: bytes, algorithm: bytes = b"rsa-sha2-512") -> bytes:
        number = pow(int.from_bytes(encoded, "big"), self.secret, self.modulus)
        return armoured(self.blob, ssh_strings(algorithm, number.to_bytes(256, "big")))


def verdict(signature: bytes) -> bool:
    try:
        return verify_ssh_signature(parse_ssh_signature(signature), MESSAGE, "pytorch-offline")
    except IntegrityError:
        return False


@needs_ssh_keygen
def test_only_the_one_encoded_message_of_rsa_is_right(tmp_path: Path) -> None:
    """What lenient readers took: short padding, garbage behind, another hash or none, parameters left out or added."""
    try:
        key = RsaKey(tmp_path)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl here")
    digest = hashlib.sha512(signed_bytes(MESSAGE)).digest()
    info = _DIGEST_INFO["sha512"]
    right = b"\0\1" + b"\xff" * (256 - 3 - len(info) - 64) + b"\0" + info + digest
    assert verdict(key.sign(right))
    without_null = bytes.fromhex("304f300b0609608648016503040203") + info[-2:]
    for wrong in (
        b"\0\1" + b"\xff" * 8 + b"\0" + info + digest + bytes(256 - 11 - len(info) - 64),
        right[:2] + b"\xfe" + right[3:],
        b"\0\2" + right[2:],
        b"\1\1" + right[2:] if key.modulus >> 2041 else right[:-1] + b"x",
        b"\0\1" + b"\xff" * (256 - 3 - len(without_null) - 64) + b"\0" + without_null + digest,
        b"\0\1" + b"\xff" * (256 - 3 - 64) + b"\0" + digest,
        b"\0\1"
        + b"\xff" * (256 - 3 - 51)
        + b"\0"
        + _DIGEST_INFO["sha256"]
        + hashlib.sha256(signed_bytes(MESSAGE)).digest(),
        right[:-1] + bytes([right[-1] ^ 1]),
    ):
        assert not verdict(key.sign(wrong))
    assert not verdict(key.sign(right, b"ssh-rsa")), "SHA-1's name"
    assert not verdict(key.sign(right, b"rsa-sha2-256"))
    number = pow(int.from_bytes(right, "big"), key.secret, key.modulus) + key.modulus
    assert not verdict(armoured(key.blob, ssh_strings(b"rsa-sha2-512", number.to_bytes(257, "big"))))
    one = ssh_strings(b"ssh-rsa", b"\1", key.modulus.to_bytes(257, "big"))
    assert not verdict(armoured(one, ssh_strings(b"rsa-sha2-512", right))), "an exponent of one signs anything"


@needs_ssh_keygen
def test_short_rsa_keys_are_refused(tmp_path: Path) -> None:
    signature = sign(make_key(tmp_path, "rsa -b 1024"), MESSAGE)
    with pytest.raises(IntegrityError, match="2048 are the fewest"):
        verify_ssh_signature(parse_ssh_signature(signature), MESSAGE, "pytorch-offline")


def token_signature(*, flags: bytes = b"\1", application: bytes = b"ssh:", told: bytes = b"ssh:") -> bytes:
    key = Ed25519Key(b"a token".ljust(32))
    blob = ssh_strings(b"sk-ssh-ed25519@openssh.com", key.public, told)
    tail = flags + (7).to_bytes(4, "big")
    statement = hashlib.sha256(application).digest() + tail + hashlib.sha256(signed_bytes(MESSAGE)).digest()
    return armoured(blob, ssh_strings(b"sk-ssh-ed25519@openssh.com", key.sign(statement)) + tail)


def test_a_token_signs_its_application_and_its_counter() -> None:
    good = token_signature()
    assert verdict(good)
    assert not verdict(token_signature(application=b"ssh:other"))
    parsed = parse_ssh_signature(good)
    for change in (parsed.proof[:-1] + b"\x08", parsed.proof + b"\0", parsed.proof[:-1]):
        assert not verdict(armoured(parsed.key, change))


def test_what_is_no_signature_is_told() -> None:
    key = Ed25519Key(bytes(32))
    blob = ssh_strings(b"ssh-ed25519", key.public)
    good = armoured(blob, ssh_strings(b"ssh-ed25519", key.sign(signed_bytes(MESSAGE))))
    assert verdict(good)
    assert render_ssh_signature(parse_ssh_signature(good)) == good
    body = good.split(b"\n", 1)[1].rsplit(b"\n", 2)[0]
    for data in (
        b"",
        b"\xff" * 100,
        good[:-30],
        good[10:],
        good + good,
        good.replace(b"SSH SIGNATURE", b"PGP SIGNATURE"),
        good.replace(body, b"AAAA"),
        good.replace(body, b"!" + body),
        good.replace(body, body[:-8]),
        good.replace(body, body + b"AAAA"),
        b" " * 70_000 + good,
        armoured(blob, b"", namespace="pytorch offline"),
        armoured(blob, b"", hash_name="md5"),
        armoured(b"", b""),
        armoured(ssh_strings(b"ssh-ed25519\n"), b""),
    ):
        with pytest.raises(IntegrityError):
            parse_ssh_signature(data)
    for wrong_blob in (blob + b"\0", blob[:-1], ssh_strings(b"ssh-ed25519"), ssh_strings(b"ssh-dss", key.public)):
        assert not verdict(armoured(wrong_blob, ssh_strings(b"ssh-ed25519", key.sign(signed_bytes(MESSAGE)))))


@needs_ssh_keygen
def test_ssh_keygen_judges_alike(tmp_path: Path) -> None:
    told = compare(tmp_path, rounds=2, seed=1, kinds=("ed25519", "ecdsa -b 256"))
    assert told.accepted >= 4
    assert told.refused >= 40
    assert told.differences == []


@needs_ssh_keygen
def test_the_oldest_python_verifies_too(tmp_path: Path) -> None:
    kinds = ("ed25519", "rsa -b 2048", "ecdsa -b 521")
    for number, kind in enumerate(kinds):
        key = make_key(tmp_path, kind, f"key{number}")
        (tmp_path / f"{number}.sig").write_bytes(sign(key, MESSAGE))
        (tmp_path / f"{number}.pins").write_text(f"me {key.with_name(key.name + '.pub').read_text()}")
    program = (
        "import sys\n"
        "from pytorch_offline.bundle.reading.signature import Pins, check_signature\n"
        "from pytorch_offline.bundle.reading import pins, signed_source, wheel_contents\n"
        f"for number in range({len(kinds)}):\n"
        "    signature = open(sys.argv[1] + '/%d.sig' % number, 'rb').read()\n"
        "    text = open(sys.argv[1] + '/%d.pins' % number).read()\n"
        "    for road in ('none', None):\n"
        f"        status = check_signature({MESSAGE!r}, signature, pins=Pins('p', text), program=road)\n"
        "        print(status.principal, status.road)\n"
    )
    repository = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [interpreter("3.6"), "-c", program, str(tmp_path)], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["me built-in", "me ssh-keygen"] * len(kinds)
