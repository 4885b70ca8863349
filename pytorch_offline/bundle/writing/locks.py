"""Locks as they are carried: which wheels, where they lie below the mirror, and their hashes.

The lock is PEP 751's ``pylock.<target>.toml`` with one wheel per project, its path relative to the lock's own
directory (https://packaging.python.org/specifications/pylock-toml/).
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.pylock import Package, Pylock, PylockUnsupportedVersionError, PylockValidationError

from pytorch_offline.bundle.format.model import SHA256_FORM
from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.layout import LOCKS, place_of_locked
from pytorch_offline.wheels.backend import Backend, is_backend, parse_backend
from pytorch_offline.wheels.filename import WheelName, parse_wheel_name

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

    from packaging.utils import NormalizedName

_FILE_NAME = re.compile(r"pylock\.(?P<target>[^.].*)\.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWheel:
    """One wheel of a lock; ``path`` is below the mirror's directory, ``size`` in bytes or None if the lock has none."""

    name: WheelName
    path: PurePosixPath
    sha256: str
    size: int | None

    @property
    def project(self) -> NormalizedName:
        """The project, normalised."""
        return self.name.project


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock: the target's name that it was made for, and its wheels, one per project, sorted by project."""

    target: str
    wheels: tuple[LockedWheel, ...]

    def wheel_of(self, project: str) -> LockedWheel | None:
        """Find a project's wheel by its normalised name."""
        return next((wheel for wheel in self.wheels if wheel.project == project), None)

    @property
    def backend(self) -> Backend | None:
        """The backend that torch was built for, by its directory, else by its local version; None without torch."""
        torch = self.wheel_of("torch")
        if torch is None:
            return None
        spellings = (torch.path.parent.name, torch.name.version.local or "")
        return next((parse_backend(spelling) for spelling in spellings if is_backend(spelling)), None)


def parse_lock(text: str, *, target: str) -> Lock:
    """Read a ``pylock.<target>.toml``.

    Raises:
        IntegrityError: ``bad-lock`` if it is no lock, or one that this tool does not write: a package without exactly
            one wheel, a wheel without path or sha256, a path that leaves the mirror.
    """
    try:
        pylock = Pylock.from_dict(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError, PylockValidationError, PylockUnsupportedVersionError) as error:
        raise _bad_lock(target, str(error)) from error
    wheels = sorted((_locked_wheel(package, target) for package in pylock.packages), key=lambda wheel: wheel.project)
    projects = [wheel.project for wheel in wheels]
    if twice := sorted({project for project in projects if projects.count(project) > 1}):
        raise _bad_lock(target, f"{', '.join(twice)} occurs more than once")
    return Lock(target=target, wheels=tuple(wheels))


def _locked_wheel(package: Package, target: str) -> LockedWheel:
    if not package.wheels or len(package.wheels) != 1 or not package.wheels[0].path:
        raise _bad_lock(target, f"{package.name} does not have exactly one wheel with a path")
    (wheel,) = package.wheels
    path = place_of_locked(wheel.path or "")
    if path.is_absolute() or ".." in path.parts:
        raise _bad_lock(target, f"the path of {package.name} leaves the mirror: {wheel.path}")
    sha256 = wheel.hashes.get("sha256", "")
    if SHA256_FORM.fullmatch(sha256) is None:
        raise _bad_lock(target, f"{package.name} has no sha256")
    try:
        name = parse_wheel_name(path.name)
    except UsageError as error:
        raise _bad_lock(target, error.message) from error
    if name.project != package.name or (package.version is not None and name.version != package.version):
        raise _bad_lock(target, f"{package.name} {package.version} has the wheel {path.name}")
    return LockedWheel(name=name, path=path, sha256=sha256, size=wheel.size)


def _bad_lock(target: str, detail: str) -> IntegrityError:
    return IntegrityError(
        "bad-lock",
        f"the lock of target {target} cannot be used: {detail}",
        hint="copy the mirror's locks directory again, or run `fetch` again on the connected machine",
    )


def read_locks(mirror: Path, *, named: str | None = None) -> tuple[Lock, ...]:
    """Read the locks of a mirror directory, sorted by target name: the one named if there is one, else all.

    Raises:
        UsageError: ``not-a-mirror`` if the directory has no locks.
        IntegrityError: ``bad-lock`` if one cannot be read.
    """
    try:
        matches = [_FILE_NAME.fullmatch(path.name) for path in (mirror / LOCKS).iterdir()]
    except OSError as error:
        raise _not_a_mirror(mirror, str(error)) from error
    targets = sorted(match["target"] for match in matches if match)
    if not targets:
        raise _not_a_mirror(mirror, f"{mirror / LOCKS} holds no pylock.<target>.toml")
    chosen = [target for target in targets if target == named] or targets
    return tuple(_read_lock(mirror, target) for target in chosen)


def _read_lock(mirror: Path, target: str) -> Lock:
    try:
        text = (mirror / LOCKS / f"pylock.{target}.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _bad_lock(target, str(error)) from error
    return parse_lock(text, target=target)


def _not_a_mirror(mirror: Path, detail: str) -> UsageError:
    return UsageError(
        "not-a-mirror",
        f"there is nothing to install from in {mirror}",
        facts={"reason": detail},
        hint="name the directory that `fetch` filled: --from DIR",
    )
