"""Which programs travel along: for each target's Python a pip to run straight from its wheel, and uv where asked for.

They are taken from the mirror, so that a bundle is made of nothing but the mirror and the options. What the mirror
lacks is named (``Lacking``); whoever has a network brings it there first (``cli/bundled_tools.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from pytorch_offline.bundle.format.model import Tool
from pytorch_offline.errors import UsageError
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import PurePosixPath

    from pytorch_offline.bundle.format.model import TargetLock
    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.filename import WheelName

PIP, UV = "pip", "uv"
# The Pythons of which it is said whether a pip runs on them: as far as install.py goes back, and some way ahead.
_PYTHONS = tuple(f"3.{minor}" for minor in range(6, 20))
# Requires-Python may admit a minor version from a patch release on; no minor had more than 25.
_LATE_PATCH = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class TravellingTool:
    """A program's wheel in the mirror, and what the manifest says of it."""

    tool: Tool
    file: MirrorFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """A program that the mirror does not hold for a target."""

    name: str
    target: str


def tool_path(path: PurePosixPath) -> str:
    """Say where a tool's wheel lies in a bundle."""
    return f"tools/{path.name}"


def choose_tools(
    held: Iterable[MirrorFile],
    targets: Sequence[TargetLock],
    machines: Mapping[str, Target],
    *,
    with_uv: bool = False,
) -> tuple[tuple[TravellingTool, ...], tuple[Lacking, ...]]:
    """Choose for each target the newest pip, and uv if asked for, of those that the mirror holds.

    Args:
        held: the mirror's files.
        targets: the locks of the bundle.
        machines: the target of each lock, by name.
        with_uv: whether uv shall travel along.

    Returns:
        The tools, sorted by path, and what is lacking for which target.
    """
    known = _tools_among(held)
    chosen: dict[str, TravellingTool] = {}
    lacking = []
    for lock in targets:
        for name in (PIP, UV) if with_uv else (PIP,):
            found = [one for one, wheel in known if wheel.project == name and _serves(one, wheel, lock, machines)]
            if found:
                best = max(found, key=lambda one: Version(one.tool.version))
                chosen[best.tool.path] = best
            else:
                lacking.append(Lacking(name=name, target=lock.target))
    return tuple(chosen[path] for path in sorted(chosen)), tuple(lacking)


def _tools_among(held: Iterable[MirrorFile]) -> list[tuple[TravellingTool, WheelName]]:
    found = []
    for file in held:
        if not file.path.name.startswith(("pip-", "uv-")) or file.yanked is not None:
            continue
        try:
            name = parse_wheel_name(file.path.name)
        except UsageError:
            continue
        if name.project in {PIP, UV} and not name.version.is_prerelease:
            tool = Tool(
                name=name.project,
                version=str(name.version),
                path=tool_path(file.path),
                pythons=_pythons_of(file) if name.project == PIP else (),
                tags=tuple(sorted(map(str, name.tags))),
            )
            found.append((TravellingTool(tool=tool, file=file), name))
    return found


def _serves(one: TravellingTool, wheel: WheelName, lock: TargetLock, machines: Mapping[str, Target]) -> bool:
    if wheel.project == UV:
        return bool(wheel.tags & frozenset(machines[lock.target].tags))
    return lock.python in one.tool.pythons and wheel.version >= Version(lock.oldest_pip)


def _pythons_of(file: MirrorFile) -> tuple[str, ...]:
    """Name the Pythons that a pip admits; what cannot be read admits none."""
    try:
        admitted = SpecifierSet(file.requires_python or "")
    except InvalidSpecifier:
        return ()
    return tuple(
        python
        for python in _PYTHONS
        if admitted.contains(f"{python}.0") or admitted.contains(f"{python}.{_LATE_PATCH}")
    )
