"""Pages that list all that a mirror or a channel holds, which the server has beside those of the tree.

``/simple/`` is one plain index (PEP 503, PEP 691) for tools that want exactly one. ``/whl/torch_stable.html`` is the
find-links page of pytorch.org's commands for torch 1.4 to 1.12, ``torch==1.8.1+cu111 -f …/whl/torch_stable.html``,
which name their build by its local version. The tree itself has flat pages by variant alone: on one for all, the
highest local version wins where none is named (pytorch/pytorch#53821).
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.mirror.layout import FLAT_NAMES, ROOT, FlatPage, ProjectList, ProjectPage, channel_of
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


def plan_flat_pages(files: Iterable[MirrorFile]) -> tuple[FlatPage, ...]:
    """Decide what the find-links page of each channel lists: all its files, each file name once."""
    channels: dict[PurePosixPath, dict[str, MirrorFile]] = defaultdict(dict)
    for file in sorted(files, key=lambda file: file.path):
        channels[channel_of(file.path)].setdefault(file.path.name, file)
    return tuple(
        FlatPage(
            path=channel / FLAT_NAMES[channel.parts[len(ROOT.parts) :]],
            files=tuple(sorted(listed.values(), key=_by_project)),
        )
        for channel, listed in sorted(channels.items())
    )


def _by_project(file: Listed) -> tuple[object, ...]:
    return parse_wheel_name(file.path.name).project, *_by_version(file)


def _by_version(file: Listed) -> tuple[object, ...]:
    name = parse_wheel_name(file.path.name)
    return name.version, name.filename
