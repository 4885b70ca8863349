"""Handing over from an old signing key to a new one: the mirror keeps every statement, and each signed bundle has them.

The far side that missed a bundle still finds the whole way from the key that it pinned (``reading/rotation.py``).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pytorch_offline.bundle.reading.rotation import MAX_ROTATIONS, parse_rotations, render_statement
from pytorch_offline.bundle.reading.ssh_signature import ssh_fingerprint
from pytorch_offline.bundle.writing.signing import read_public_key, sign_statement
from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.disk import Disk, incoming_of, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytorch_offline.bundle.reading.rotation import Rotation

_CREATED = "%Y-%m-%dT%H:%M:%SZ"


def rotations_of(mirror: Path) -> Path:
    """Say where a mirror keeps the changes of its keys."""
    return mirror / ".state" / "keys"


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
    last = datetime.strptime(rotations[-1].created, _CREATED).replace(tzinfo=UTC)
    return (last + timedelta(seconds=1)).strftime(_CREATED)
