"""Hashes that the user demands: which files they admit, and pip's hash-checking mode.

https://pip.pypa.io/en/stable/topics/secure-installs/#hash-checking-mode: as soon as one requirement has a ``--hash``,
every wheel of the closure must have one and be pinned. A page's own hash is no substitute.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.wheels.versions import holds_pin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.utils import NormalizedName

    from pytorch_offline.crawler.model import IndexFile
    from pytorch_offline.selector.model import Choice, Request


def hash_objection(file: IndexFile, allowed: frozenset[str] | None) -> str | None:
    """Say why a file's hash is not among those demanded, None if it is or may be; ``allowed`` None demands nothing.

    A page that publishes no hash proves nothing either way: what is fetched is compared then (``expecting``).
    """
    if allowed is None or file.link.sha256 is None or file.link.sha256 in allowed:
        return None
    if not allowed:
        return "the requirements demand hashes that exclude each other"
    return f"has sha256 {file.link.sha256[:16]}…, which is none of the {len(allowed)} demanded"


def expecting(file: IndexFile, allowed: frozenset[str] | None) -> IndexFile:
    """Have a file whose page publishes no hash compared with the only one demanded, when it is fetched."""
    if file.link.sha256 is not None or allowed is None or len(allowed) != 1:
        return file
    (only,) = allowed
    return replace(file, link=replace(file.link, sha256=only))


def check_hash_mode(request: Request, choices: Iterable[Choice]) -> None:
    """Check that in hash-checking mode every wheel of the closure is pinned and has a hash of the user's.

    Raises:
        UnsatisfiableError: ``hash-missing``, naming each wheel, who requires it, and the line to add.
    """
    if not request.require_hashes:
        return
    pinned = {wheel.name.project for wheel in request.wheels}
    pinned |= {canonicalize_name(one.name) for one in request.bounds if holds_pin(one.specifier)}
    hashed: set[NormalizedName] = {project for project, allowed in request.hashes.items() if allowed}
    hashed |= {wheel.name.project for wheel in request.wheels if wheel.sha256 is not None}
    facts = {}
    for choice in choices:
        name, link = choice.candidate.file.name, choice.candidate.file.link
        lacks = [what for what, there in (("a pin", pinned), ("a hash", hashed)) if name.project not in there]
        if lacks:
            by = ", ".join(str(parent) for parent, _ in choice.required_by if parent is not None)
            needed = f"; required by {by}" if by else ""
            line = f"{name.project}=={name.version} --hash=sha256:{link.sha256 or '…'}"
            facts[str(name.project)] = f"lacks {' and '.join(lacks)}{needed}; e.g. {line}"
    if facts:
        raise UnsatisfiableError(
            "hash-missing",
            "hashes are required, as one line has one (pip's rule), and not every wheel has a pin and a hash",
            facts=facts,
            hint="add the lines, or take the hashes out; `select -o LOCK.txt` writes a complete list",
        )
