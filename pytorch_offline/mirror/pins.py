"""Pins: the files that a lock of ``locks/`` names. Whatever is thrown away, these stay.

Locks of every format count, those that people laid there too. A file is named by its sha256, by its name, or by a
requirement that its version satisfies; where a lock cannot be understood, nobody may throw anything away.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.layout import LOCKS
from pytorch_offline.selector.asking.requirement_files import decode, logical_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from packaging.utils import NormalizedName

    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.wheels.filename import WheelName

_SHA256 = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{64}(?![0-9A-Za-z])")
# What pip accepts behind a requirement begins so (``--hash=…``, ``--config-settings=…``).
_OPTIONS = re.compile(r"\s+--?[a-zA-Z].*$")
_INCLUDING = re.compile(r"(?:-r|--requirement)(?:\s+|=)?(?P<file>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What locks name: hashes and file names, each with the lock, and requirements by their project."""

    hashes: Mapping[str, str]
    filenames: Mapping[str, str]
    requirements: Mapping[NormalizedName, tuple[tuple[Requirement, str], ...]]

    def lock_of(self, file: MirrorFile, name: WheelName) -> str | None:
        """Name a lock that names a file; None if none does."""
        lock = self.hashes.get(file.sha256) or self.filenames.get(name.filename)
        if lock is not None:
            return lock
        return next(
            (
                lock
                for requirement, lock in self.requirements.get(name.project, ())
                if requirement.specifier.contains(name.version, prereleases=True)
            ),
            None,
        )


NOTHING_PINNED = Pins(hashes={}, filenames={}, requirements={})


def read_pins(root: Path) -> Pins:
    """Read what the locks of the mirror at ``root`` name.

    Raises:
        IntegrityError: ``bad-lock`` if one cannot be read.
    """
    with disk_errors(root):
        places = sorted(place for place in (root / LOCKS).glob("*") if place.is_file())
        return parse_pins({place.name: place.read_bytes() for place in places})


def parse_pins(locks: Mapping[str, bytes]) -> Pins:
    """Read what locks name, given by their file names. Files that are neither ``.toml`` nor ``.txt`` name nothing.

    Raises:
        IntegrityError: ``bad-lock`` naming the file, if it cannot be told what it names.
    """
    hashes: dict[str, str] = {}
    filenames: dict[str, str] = {}
    requirements: dict[NormalizedName, list[tuple[Requirement, str]]] = defaultdict(list)
    for lock, body in locks.items():
        suffix = PurePosixPath(lock).suffix
        if suffix not in {".toml", ".txt"}:
            continue
        try:
            text = body.decode("utf-8") if suffix == ".toml" else decode(body, lock)
            hashes |= dict.fromkeys((found.lower() for found in _SHA256.findall(text)), lock)
            loose = _loose_in_toml(text) if suffix == ".toml" else _loose_in_requirements(text, locks)
            for one in loose:
                if isinstance(one, str):
                    filenames[one] = lock
                else:
                    requirements[canonicalize_name(one.name)].append((one, lock))
        # Of bad UTF-8 and TOML, and of what has another form than a lock's.
        except (ValueError, KeyError, TypeError, RecursionError, UsageError) as error:
            raise IntegrityError(
                "bad-lock",
                f"it cannot be told which files {LOCKS / lock} names, so nothing is removed",
                facts={"reason": str(error)},
                hint="fetch writes its locks again; what is no lock does not belong into locks/",
            ) from error
    return Pins(
        hashes=hashes, filenames=filenames, requirements={name: tuple(found) for name, found in requirements.items()}
    )


def _loose_in_toml(text: str) -> Iterator[str | Requirement]:
    """Find what a lock names without its sha256: the files of such packages, else their version, else all of them."""
    packages = tomllib.loads(text).get("packages", [])
    for package in packages if isinstance(packages, list) else []:
        if not isinstance(package, dict):
            raise TypeError("a package is no table")
        wheels = package.get("wheels")
        if isinstance(wheels, list) and wheels:
            yield from (_filename_of(wheel) for wheel in wheels if _is_loose(wheel))
        elif not isinstance(package.get("archive"), dict):
            name, version = package["name"], package.get("version")
            if not isinstance(name, str):
                raise TypeError("a package has no name")
            yield _requirement(name if version is None else f"{name}=={version}")


def _is_loose(wheel: Any) -> bool:  # noqa: ANN401  (TOML)
    hashes = wheel.get("hashes", {}) if isinstance(wheel, dict) else {}
    return not (isinstance(hashes, dict) and _SHA256.fullmatch(str(hashes.get("sha256"))))


def _filename_of(wheel: Any) -> str:  # noqa: ANN401  (TOML)
    if isinstance(wheel, dict):
        for key in ("name", "path", "url"):
            if isinstance(wheel.get(key), str):
                return _last_segment(wheel[key])
    raise ValueError("a wheel has no name")


def _loose_in_requirements(text: str, locks: Mapping[str, bytes]) -> Iterator[str | Requirement]:
    """Find what requirements name without hashes, as pip reads them."""
    for number, line in logical_lines(text):
        if _SHA256.search(line):
            continue
        if (included := _INCLUDING.fullmatch(line)) is not None:
            if included["file"].strip() not in locks:
                raise ValueError(f"line {number} includes {included['file']}, which is not in {LOCKS}")
        elif line.startswith(("-e ", "--editable")):
            raise ValueError(f"line {number} names a directory")
        elif not line.startswith("-"):
            words = _OPTIONS.sub("", line)
            address = words.partition(" @ ")[2].partition(" ;")[0].strip() or words
            if address.partition("#")[0].endswith(".whl"):
                yield _last_segment(address)
            else:
                yield _requirement(words)


def _requirement(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise ValueError(f"{text!r} names no project") from error


def _last_segment(address: str) -> str:
    path = urlsplit(address).path if "://" in address else address
    return unquote(path.partition("#")[0]).replace("\\", "/").rpartition("/")[2]
