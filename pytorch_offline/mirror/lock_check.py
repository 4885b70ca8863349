"""What can be wrong with a file of ``locks/``: values in, a problem out."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from packaging.pylock import Pylock, PylockUnsupportedVersionError, PylockValidationError

from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.layout import place_of_locked
from pytorch_offline.target.codec import parse_target
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import PurePosixPath

    from pytorch_offline.mirror.model import MirrorFile

_LINE = re.compile(r"(?P<project>\S+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})")


def lock_problem(path: PurePosixPath, body: bytes, held: Mapping[PurePosixPath, MirrorFile]) -> str | None:
    """Say what is wrong with a lock or a target file, None if nothing is; files of other kinds are the user's."""
    try:
        text = body.decode("utf-8")
        if path.match("pylock.*.toml"):
            return next(_in_pylock(text, held), None)
        if path.match("requirements.*.txt"):
            return next(_in_requirements(text, held.values()), None)
        if path.suffix == ".json":
            parse_target(text)
    except (
        UsageError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError, PylockValidationError,
        PylockUnsupportedVersionError,
    ) as error:  # fmt: skip
        return f"it cannot be read: {error}"
    return None


def _in_pylock(text: str, held: Mapping[PurePosixPath, MirrorFile]) -> Iterator[str]:
    for package in Pylock.from_dict(tomllib.loads(text)).packages:
        for wheel in package.wheels or ():
            if wheel.path is None:
                continue  # only addresses: not of this mirror
            path = place_of_locked(wheel.path)
            file = held.get(path)
            if file is None:
                yield f"it names {path}, which the manifest does not list"
            elif (wheel.hashes.get("sha256"), wheel.size or file.size) != (file.sha256, file.size):
                yield f"it gives {path} another size or hash than the manifest"
            else:
                name = parse_wheel_name(path.name)
                if (package.name, package.version or name.version) != (name.project, name.version):
                    yield f"it names {path} as {package.name} {package.version}"


def _in_requirements(text: str, held: Iterable[MirrorFile]) -> Iterator[str]:
    names = ((parse_wheel_name(file.path.name), file.sha256) for file in held)
    known = {(str(name.project), str(name.version), sha256) for name, sha256 in names}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or match.groups() not in known:
            yield f"line {number} names no file that the manifest lists: {line}"
