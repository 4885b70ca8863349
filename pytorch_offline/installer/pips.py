"""Which pips there are to choose from for a destination, best first.

Its own; else a pip wheel that was carried along in the mirror; else this tool's own pip, run from outside with
``--python`` (pip 22.3); else the one that the destination's ensurepip holds, straight from its wheel.
"""

from __future__ import annotations

import importlib.metadata
import sys
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.installer.installer_line import Pip
from pytorch_offline.installer.preflight import file_problem, read_wheel_metadata
from pytorch_offline.wheels.filename import WheelName, parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path, PurePosixPath

    from pytorch_offline.installer.destination import Survey
    from pytorch_offline.mirror.model import MirrorFile

# The first pip with --python.
RUNS_FOR_ANOTHER = Version("22.3")


def find_pips(
    survey: Survey, mirror: Path, manifest: Mapping[PurePosixPath, MirrorFile], *, creating: bool
) -> Iterator[Pip]:
    """Find pips, best first, each looked for only when the former was refused.

    Args:
        survey: the destination, or the base of an environment that is to be created from it.
        mirror: the mirror's directory.
        manifest: its files.
        creating: a virtual environment is to be created, which will get its base's bundled pip.
    """
    bundled = survey.bundled_pip
    if creating and bundled is not None:
        yield Pip(version=_version_of(bundled), whose="the new environment's", arguments=("-I", "-m", "pip"))
    elif not creating and (own := survey.versions().get("pip")):  # type: ignore[call-overload]
        yield Pip(version=own, whose="the destination's", arguments=("-I", "-m", "pip"))
    yield from _carried(mirror, manifest)
    yield from _ours()
    if not creating and bundled is not None:
        yield Pip(version=_version_of(bundled), whose="ensurepip's", arguments=("-I", str(bundled / "pip")))


def _version_of(wheel: Path) -> Version:
    return parse_wheel_name(wheel.name).version


def _carried(mirror: Path, manifest: Mapping[PurePosixPath, MirrorFile]) -> Iterator[Pip]:
    """Yield the mirror's pip wheels, newest first, those whose bytes are as they were fetched."""
    found: list[tuple[WheelName, MirrorFile]] = []
    for file in manifest.values():
        try:
            name = parse_wheel_name(file.path.name)
        except UsageError:
            continue
        if name.project == "pip":
            found.append((name, file))
    for name, file in sorted(found, key=lambda pair: pair[0].version, reverse=True):
        path = mirror / file.path
        if file_problem(path, size=file.size, sha256=file.sha256) is not None:
            continue
        try:
            metadata = read_wheel_metadata(path)
        except IntegrityError:
            continue
        yield Pip(
            version=name.version,
            whose="the mirror's",
            arguments=("-I", str(path.absolute() / "pip")),
            requires_python=metadata.requires_python,
        )


def _ours() -> Iterator[Pip]:
    try:
        metadata = importlib.metadata.metadata("pip")
    except importlib.metadata.PackageNotFoundError:
        return
    version = Version(metadata["Version"])
    if version >= RUNS_FOR_ANOTHER:
        admitted = SpecifierSet(metadata["Requires-Python"] or "")
        yield Pip(version=version, whose="this tool's", runner=(sys.executable, "-m", "pip"), requires_python=admitted)
