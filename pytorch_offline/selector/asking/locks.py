"""Take a lock (PEP 751, ``pylock.toml``) as what is asked for: its packages, and the wheels of them that fit a target.

``packaging`` chooses, with the target's own markers and tags; its addresses, hashes and sizes are taken as they stand.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, urljoin, urlsplit

from packaging.pylock import (
    PackageArchive,
    PackageDirectory,
    PackageVcs,
    PackageWheel,
    Pylock,
    PylockSelectError,
    PylockValidationError,
    is_valid_pylock_path,
)

from pytorch_offline.addresses import redacted, redacted_text
from pytorch_offline.errors import UnsatisfiableError, UsageError
from pytorch_offline.selector.asking.direct_wheels import parse_direct_wheel
from pytorch_offline.selector.model import DirectWheel

if TYPE_CHECKING:
    from packaging.markers import Environment
    from packaging.pylock import Package, PackageSdist

    from pytorch_offline.target.model import Target

_LARGEST_SIZE = 2**48
_ADDRESS = re.compile(r"(https?|file):", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockInput:
    """A lock that was read, where it lies, and the extras that were asked of it (``-r 'pylock.toml[gpu]'``)."""

    lock: Pylock
    location: str
    extras: frozenset[str] = frozenset()


def lock_name(location: str) -> tuple[str, frozenset[str]] | None:
    """Part a lock's location from the extras behind it; None if its name is not a lock's (PEP 751)."""
    match = re.fullmatch(r"(.*?)(?:\[([^\]]*)\])?", location, re.DOTALL)
    path, extras = (match[1], match[2] or "") if match is not None else (location, "")
    name = urlsplit(path).path if _ADDRESS.match(path) else path
    if not is_valid_pylock_path(Path(PurePosixPath(name).name)):
        return None
    return path, frozenset(extra.strip() for extra in extras.split(",") if extra.strip())


def parse_lock(body: bytes, location: str, extras: frozenset[str] = frozenset()) -> LockInput:
    """Read a lock.

    Raises:
        UsageError: ``bad-lock``.
    """
    try:
        lock = Pylock.from_dict(tomllib.loads(body.decode("utf-8-sig")))
    # A number of thousands of digits is a ValueError, as are the wrong encoding and what is no TOML.
    except (ValueError, RecursionError, PylockValidationError) as error:
        raise UsageError("bad-lock", f"{redacted(location)} is no lock that PEP 751 admits: {error}") from error
    unknown = extras - set(lock.extras or ())
    if unknown:
        raise UsageError("bad-lock", f"{redacted(location)} has no extra called {', '.join(sorted(unknown))}")
    return LockInput(lock=lock, location=location, extras=extras)


def locked_wheels(source: LockInput, target: Target) -> tuple[DirectWheel, ...]:
    """Choose what a lock installs on a target.

    Raises:
        UnsatisfiableError: ``lock-does-not-fit`` if the lock is for other machines, or has no wheel of a package for
            this one.
        UsageError: ``not-a-wheel`` if it names sources; ``bad-hash``; ``bad-url``.
    """
    where = redacted(source.location)
    # All eleven keys are given, so nothing is filled in from the machine that runs this.
    environment = cast("Environment", dict(target.marker_environment))
    try:
        chosen = list(source.lock.select(environment=environment, tags=target.tags, extras=source.extras))
    except (ValueError, RecursionError) as error:  # of a specifier or a marker that was never looked at so far
        raise UsageError("bad-lock", f"{where} cannot be read: {error}") from error
    except PylockSelectError as error:
        raise UnsatisfiableError(
            "lock-does-not-fit",
            f"{where} does not serve target {target.name}: {error}",
            facts={"locked for": "; ".join(map(str, source.lock.environments or ())) or "any machine"},
            hint="make a lock for this target: ask for the projects themselves, and select -o pylock.NAME.toml",
        ) from error
    return tuple(_direct(source, package, item, target) for package, item in chosen)


def _direct(
    source: LockInput,
    package: Package,
    item: PackageWheel | PackageArchive | PackageSdist | PackageDirectory | PackageVcs,
    target: Target,
) -> DirectWheel:
    where = f"{redacted(source.location)}, package {package.name}"
    if isinstance(item, PackageVcs | PackageDirectory) or not (
        isinstance(item, PackageWheel) or _name_of(item).endswith(".whl")
    ):
        raise UsageError(
            "not-a-wheel",
            f"{where}: the lock has no wheel for target {target.name}, only sources, and nothing is built here",
            hint="build the wheel (pip wheel) and serve it with --find-links, or choose another version",
        )
    if "sha256" not in item.hashes:
        raise UsageError("bad-hash", f"{where}: only sha256 is compared here, and the lock has none for the wheel")
    if re.fullmatch(r"[0-9a-fA-F]{64}", item.hashes["sha256"]) is None:
        raise UsageError("bad-hash", f"{where}: the wheel's sha256 does not have 64 hex digits")
    if item.size is not None and not 0 <= item.size <= _LARGEST_SIZE:
        raise UsageError("bad-lock", f"{where}: no wheel has the size that is stated")
    wheel = parse_direct_wheel(_address(source.location, item.path, item.url, where), where)
    if package.version is not None and wheel.name.version != package.version:
        raise UsageError("bad-lock", f"{where}: {wheel.name.filename} is not of version {package.version}")
    return DirectWheel(
        name=wheel.name,
        url=wheel.url,
        path=wheel.path,
        where=where,
        sha256=item.hashes["sha256"].lower(),
        size=item.size,
        # The lock's word goes before METADATA's, which is then not read; empty demands nothing.
        requires_python=str(package.requires_python or source.lock.requires_python or ""),
        upload_time=None if item.upload_time is None else item.upload_time.isoformat(),
    )


def _name_of(item: PackageArchive | PackageSdist) -> str:
    return PurePosixPath(urlsplit(item.url).path if item.url is not None else item.path or "").name.lower()


def _address(location: str, path: str | None, url: str | None, where: str) -> str:
    """Give a wheel's address; a path goes before an address, and is relative to the lock (PEP 751)."""
    if path is None:
        return url or ""
    if not _ADDRESS.match(location):
        return Path(Path(location).parent, path).absolute().as_uri()
    joined = urljoin(location, quote(path))
    if urlsplit(joined)[:2] != urlsplit(location)[:2] or PurePosixPath(path).is_absolute():
        raise UsageError("bad-lock", f"{where}: {redacted_text(path)!r} leads away from where the lock lies")
    return joined
