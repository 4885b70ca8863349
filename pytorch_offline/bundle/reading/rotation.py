"""Changes of keys, told by the key that is left (docs/adr/0023).

A statement is a file of allowed signers with three lines of its own before, signed by the old key for the namespace
``pytorch-offline-keys``::

    # pytorch-offline keys, format 1
    # created 2026-11-21T20:30:13Z
    # replaces SHA256:…
    pytorch-offline namespaces="pytorch-offline,pytorch-offline-keys" ssh-ed25519 AAAA…

``manifest.json.keys`` holds all statements of a mirror, oldest first, each followed by its signature in armour. Whoever
trusts the old key then trusts these signers in its place. A statement applies once: whoever has applied it remembers
its date, and no earlier one is taken afterwards.
"""

import re
from typing import NamedTuple, Optional, Tuple

from pytorch_offline.bundle.format.manifest import ROTATIONS_NAME
from pytorch_offline.bundle.reading.allowed_signers import (
    KEYS_NAMESPACE,
    MANIFEST_NAMESPACE,
    AllowedSigner,
    parse_allowed_signers,
    render_signer,
)
from pytorch_offline.bundle.reading.ssh_signature import SshSignature, parse_ssh_signature, ssh_fingerprint
from pytorch_offline.errors import IntegrityError

MAX_ROTATIONS = 256 * 1024  # bytes: hundreds of changes
_ROTATION_HEAD = "# pytorch-offline keys, format 1"
_ROTATION_CREATED = re.compile(r"# created ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)")
_ROTATION_REPLACES = re.compile(r"# replaces (SHA256:[A-Za-z0-9+/]{43})")
_ROTATED = re.compile(r"# pytorch-offline keys as of ([0-9TZ:-]{20})")
_ARMOURED = re.compile(rb"-----BEGIN SSH SIGNATURE-----\n[A-Za-z0-9+/=\n]*-----END SSH SIGNATURE-----\n")


class Rotation(NamedTuple):
    """One statement, of which nothing is proved yet.

    Args:
        created: when, ISO 8601 in UTC.
        replaces: the fingerprint of the key that is left; it must be the one that signed.
        signers: who is trusted in its place.
        statement: the bytes that are signed.
        signature: by the old key.
    """

    created: str
    replaces: str
    signers: Tuple[AllowedSigner, ...]
    statement: bytes
    signature: SshSignature


def parse_rotations(data: bytes) -> Tuple[Rotation, ...]:
    """Read ``manifest.json.keys``.

    Raises:
        IntegrityError: ``bad-rotation`` if something in it is no statement with its signature.
    """
    if len(data) > MAX_ROTATIONS:
        raise _not_a_rotation("it is longer than any")
    rotations = []
    at = 0
    for match in _ARMOURED.finditer(data):
        rotations.append(_parse_rotation(data[at : match.start()], match.group(0)))
        at = match.end()
    if at != len(data):
        raise _not_a_rotation("it does not end with a signature")
    return tuple(rotations)


def render_statement(created: str, old: bytes, new: bytes) -> bytes:
    """Write the statement that ``new`` takes the place of ``old`` (public keys, as SSH writes them)."""
    lines = (_ROTATION_HEAD, f"# created {created}", f"# replaces {ssh_fingerprint(old)}", render_signer(new), "")
    return "\n".join(lines).encode("ascii")


def rotated_as_of(text: str) -> Optional[str]:
    """Say up to when changes of keys were applied to a file of allowed signers."""
    dates = [match.group(1) for match in map(_ROTATED.fullmatch, text.splitlines()) if match]
    return max(dates) if dates else None


def is_news(text: str, rotation: Rotation) -> bool:
    """Say whether the file of allowed signers has not applied the statement, nor a later one."""
    known = rotated_as_of(text)
    signed_by = ssh_fingerprint(rotation.signature.key)
    return signed_by == rotation.replaces and (known is None or rotation.created > known)


def apply_rotation(text: str, rotation: Rotation) -> str:
    """Put the statement's signers in the old key's place, in a file of allowed signers."""
    old = {signer.number for signer in parse_allowed_signers(text) if signer.key == rotation.signature.key}
    kept = [
        line for number, line in enumerate(text.splitlines(), 1) if number not in old and not _ROTATED.fullmatch(line)
    ]
    added = [signer.text for signer in rotation.signers]
    return "\n".join([*kept, *added, f"# pytorch-offline keys as of {rotation.created}", ""])


def _parse_rotation(statement: bytes, armoured: bytes) -> Rotation:
    try:
        lines = statement.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise _not_a_rotation("a statement is not plain text") from None
    created = _ROTATION_CREATED.fullmatch(lines[1]) if len(lines) > 3 else None  # noqa: PLR2004  (three of its own)
    replaces = _ROTATION_REPLACES.fullmatch(lines[2]) if created else None
    if lines[0] != _ROTATION_HEAD or created is None or replaces is None:
        raise _not_a_rotation("a statement is of another format")
    signers = parse_allowed_signers("\n".join(lines))
    if not signers:
        raise _not_a_rotation("a statement names no key")
    ours = {MANIFEST_NAMESPACE, KEYS_NAMESPACE}
    for signer in signers:
        if signer.problem or signer.certifies or not set((signer.namespaces or "*").split(",")) <= ours:
            raise _not_a_rotation("a statement says more than who signs bundles")
    return Rotation(created.group(1), replaces.group(1), signers, statement, parse_ssh_signature(armoured))


def _not_a_rotation(reason: str) -> IntegrityError:
    return IntegrityError(
        "bad-rotation", f"{ROTATIONS_NAME} cannot be read: {reason}.", hint="Bring the bundle's manifest files again."
    )
