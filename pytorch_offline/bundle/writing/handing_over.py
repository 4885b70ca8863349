"""Handing over from an old signing key to a new one: the mirror keeps every statement, and each signed bundle has them.

The far side that missed a bundle still finds the whole way from the key that it pinned (``reading/rotation.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.manifest import CREATED_FORM, ROTATIONS_NAME, SIGNATURE_NAME
from pytorch_offline.bundle.reading.rotation import MAX_ROTATIONS, parse_rotations, render_statement
from pytorch_offline.bundle.reading.ssh_signature import parse_ssh_signature, ssh_fingerprint
from pytorch_offline.bundle.writing.signing import read_public_key, sign_manifest, sign_statement
from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.disk import Disk, incoming_of, write_atomically
from pytorch_offline.mirror.layout import STATE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pytorch_offline.bundle.reading.rotation import Rotation


def rotations_of(mirror: Path) -> Path:
    """Say where a mirror keeps the changes of its keys."""
    return mirror / STATE_NAME / "keys"


def read_rotations(mirror: Path) -> bytes | None:
    """Read what every signed bundle carries as ``manifest.json.keys``; None if no key ever changed.

    Raises:
        IntegrityError: ``bad-rotation``.
    """
    try:
        with rotations_of(mirror).open("rb") as file:
            data = file.read(MAX_ROTATIONS + 1)
    except FileNotFoundError:
        return None
    parse_rotations(data)
    return data


def hand_over(mirror: Path, old: Path, new: Path, *, created: str, told: Callable[[str], None] | None = None) -> bytes:
    """Let the old key say that the new one takes its place; gives the file that bundles carry.

    Said once: asked again, what was said stays. ``created`` is the bundle's date; a statement is never older than the
    one before it.

    Raises:
        UsageError: ``bad-signing-key``, ``no-ssh-keygen``.
        IntegrityError: ``bad-rotation``.
    """
    from_key, to_key = read_public_key(old), read_public_key(new)
    if from_key == to_key:
        raise UsageError(
            "bad-signing-key",
            "The key that is left and the key that takes its place are the same.",
            facts={"key": ssh_fingerprint(from_key)},
        )
    data = read_rotations(mirror) or b""
    rotations = parse_rotations(data)
    if rotations and _says(rotations[-1], from_key, to_key):
        return data
    statement = render_statement(_date_after(rotations, created), from_key, to_key)
    data += statement + sign_statement(statement, old, told=told)
    if not _says(parse_rotations(data)[-1], from_key, to_key):
        raise IntegrityError("bad-rotation", "The change of keys was signed by another key than the one that is left.")
    path = rotations_of(mirror)
    write_atomically(Disk(), path, data, temporary=incoming_of(path))
    return data


def _says(rotation: Rotation, old: bytes, new: bytes) -> bool:
    return rotation.signature.key == old and [signer.key for signer in rotation.signers] == [new]


def _date_after(rotations: tuple[Rotation, ...], created: str) -> str:
    if not rotations or created > rotations[-1].created:
        return created
    last = datetime.strptime(rotations[-1].created, CREATED_FORM).replace(tzinfo=UTC)
    return (last + timedelta(seconds=1)).strftime(CREATED_FORM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """How a bundle is signed.

    Args:
        key: a private key's file, or a public one's whose private half an agent has.
        rotate_from: the key that this one takes the place of; None if it does not.
        told: gets what ssh-keygen says meanwhile.
    """

    key: Path
    rotate_from: Path | None = None
    told: Callable[[str], None] | None = None


def seal(
    signing: Signing, manifest: bytes, *, mirror: Path, created: str, there: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Make what lies beside a signed manifest, by name; what lies ``there`` already stays if it is right.

    Raises:
        UsageError: ``bad-signing-key``, ``no-ssh-keygen``.
        IntegrityError: ``bad-rotation``.
    """
    if signing.rotate_from is not None:
        hand_over(mirror, signing.rotate_from, signing.key, created=created, told=signing.told)
    signature = sign_manifest(manifest, signing.key, there=there.get(SIGNATURE_NAME), told=signing.told)
    seals = {SIGNATURE_NAME: signature}
    if (rotations := read_rotations(mirror)) is not None:
        seals[ROTATIONS_NAME] = rotations
        latest = parse_rotations(rotations)[-1].signers
        if signing.told is not None and parse_ssh_signature(signature).key not in {signer.key for signer in latest}:
            signing.told("this key is not the one that the last --rotate-from handed over to: who knows will refuse it")
    return seals


def signer_of(seals: Mapping[str, bytes]) -> str | None:
    """Name the key that signed what lies beside a manifest."""
    signature = seals.get(SIGNATURE_NAME)
    try:
        return None if signature is None else ssh_fingerprint(parse_ssh_signature(signature).key)
    except IntegrityError:  # damage of what lay there; the far side says what is wrong with it
        return None
