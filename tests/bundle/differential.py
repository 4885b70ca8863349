"""Our verifier of SSH signatures against ssh-keygen, over many signatures and changes of them.

Run by hand for many rounds: ``python -m tests.bundle.differential [ROUNDS] [SEED]``.
"""

import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from pytorch_offline.bundle.reading.ssh_signature import parse_ssh_signature, verify_ssh_signature
from pytorch_offline.errors import IntegrityError
from tests.bundle.keys import KINDS, armoured, make_key, public_blob, sign

NAMESPACE = "pytorch-offline"


@dataclass
class Told:
    """What came of a comparison."""

    accepted: int = 0
    refused: int = 0
    differences: list[str] = field(default_factory=list)


def compare(folder: Path, *, rounds: int, seed: int, kinds: tuple[str, ...] = KINDS) -> Told:
    """Sign messages with every kind of key, change each in many ways, and ask both."""
    chance = random.Random(seed)
    told = Told()
    for kind in kinds:
        key = make_key(folder, kind, kind.replace(" ", ""))
        other = public_blob(make_key(folder, kind, kind.replace(" ", "") + "-other"))
        for _ in range(rounds):
            message = chance.randbytes(chance.choice((0, 1, 100, 5000)))
            hash_name = chance.choice(("sha256", "sha512"))
            good = sign(key, message, NAMESPACE, ("-O", f"hashalg={hash_name}"))
            _ask_both(folder, kind, message, good, told)
            for _ in range(12):
                changed_message, changed = _changed(chance, message, good, other)
                _ask_both(folder, kind, changed_message, changed, told)
    return told


def _changed(chance: random.Random, message: bytes, good: bytes, other: bytes) -> tuple[bytes, bytes]:
    """Change the message, a field of the signature, or any byte of it."""
    parsed = parse_ssh_signature(good)
    proof = bytearray(parsed.proof)
    way = chance.randrange(8)
    if way == 0:
        return message + b"x", good
    if way == 1:
        return message, armoured(other, parsed.proof, hash_name=parsed.hash)
    if way == 2:
        hash_name = "sha256" if parsed.hash == "sha512" else "sha512"
        return message, armoured(parsed.key, parsed.proof, hash_name=hash_name)
    if way == 3:
        return message, armoured(parsed.key, parsed.proof, namespace="git", hash_name=parsed.hash)
    if way == 4:
        proof[chance.randrange(len(proof))] ^= 1 << chance.randrange(8)
        return message, armoured(parsed.key, bytes(proof), hash_name=parsed.hash)
    if way == 5:
        cut = bytes(proof[: chance.randrange(len(proof))])
        return message, armoured(parsed.key, cut, hash_name=parsed.hash)
    if way == 6:
        return message, armoured(parsed.key, bytes(proof) + b"\0", hash_name=parsed.hash)
    changed = bytearray(parsed.key)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return message, armoured(bytes(changed), parsed.proof, hash_name=parsed.hash)


def _ask_both(folder: Path, kind: str, message: bytes, signature: bytes, told: Told) -> None:
    file = folder / "asked.sig"
    file.write_bytes(signature)
    command = ["ssh-keygen", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(file)]
    theirs = subprocess.run(command, input=message, capture_output=True, check=False).returncode == 0
    try:
        ours = verify_ssh_signature(parse_ssh_signature(signature), message, NAMESPACE)
    except IntegrityError:
        ours = False
    if ours and theirs:
        told.accepted += 1
    elif not ours and not theirs:
        told.refused += 1
    else:
        said = f"we {'accept' if ours else 'refuse'}, ssh-keygen {'accepts' if theirs else 'refuses'}"
        told.differences.append(f"{kind}: {said}: {signature.decode('ascii')}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
        result = compare(Path(scratch), rounds=count, seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    sys.stdout.write(f"{result.accepted} accepted by both, {result.refused} refused by both\n")
    sys.stdout.write("".join(f"DIFFERENT {difference}\n" for difference in result.differences))
    sys.exit(bool(result.differences))
