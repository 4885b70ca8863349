"""``/simple/``: one plain index (PEP 503, PEP 691) over all that a mirror holds, for tools that want exactly one."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.mirror.layout import ROOT, ProjectList, ProjectPage, channel_of
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.utils import NormalizedName

    from pytorch_offline.mirror.layout import IndexPage
    from pytorch_offline.mirror.model import Listed, MirrorFile

SIMPLE = PurePosixPath("simple")


def plan_simple_index(files: Iterable[MirrorFile]) -> tuple[IndexPage, ...]:
    """Decide what the pages below ``/simple/`` list: every file of every channel, each file name once.

    Of files with one name, that of the stable channel is listed, then the one whose path comes first.
    """
    first: dict[str, MirrorFile] = {}
    for file in sorted(files, key=lambda file: (channel_of(file.path) != ROOT, file.path)):
        first.setdefault(file.path.name, file)
    projects: dict[NormalizedName, list[MirrorFile]] = defaultdict(list)
    for file in first.values():
        projects[parse_wheel_name(file.path.name).project].append(file)
    pages: list[IndexPage] = [
        ProjectPage(directory=SIMPLE / project, project=project, files=tuple(sorted(listed, key=_by_version)))
        for project, listed in sorted(projects.items())
    ]
    return (*pages, ProjectList(directory=SIMPLE, projects=tuple(sorted(projects))))


def _by_version(file: Listed) -> tuple[object, ...]:
    name = parse_wheel_name(file.path.name)
    return name.version, name.filename
