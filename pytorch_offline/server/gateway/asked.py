"""What a request's path asks a gateway for, and where upstream has it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.layout import (
    CHANNELS,
    HTML_NAME,
    JSON_NAME,
    METADATA_SUFFIX,
    PAGE_NAMES,
    ROOT,
    channel_of,
    mirror_path,
)
from pytorch_offline.server.tree.whole_indexes import SIMPLE
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.utils import NormalizedName

# A channel, a variant and a project have such names; upstream's deepest page is whl/preview/forge/<variant>/<project>/.
_SEGMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_DEEPEST = 5
_KNOWN_PATHS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedPage:
    """An index page: that of a directory, of which ``flat`` is the name if it is a find-links page."""

    directory: PurePosixPath
    flat: str | None = None
    form: str | None = None  # index.html or index.v1+json, where one of the two is named

    @property
    def path(self) -> str:
        """The path of the page itself, from the host's root."""
        return f"/{self.directory}/{self.flat or ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedWheel:
    """A wheel, by its path in the tree, or its METADATA."""

    path: PurePosixPath
    metadata: bool = False


Asked: TypeAlias = AskedPage | AskedWheel


@lru_cache(maxsize=_KNOWN_PATHS)
def parse_asked(path: str) -> Asked | None:
    """Read a decoded path; None for what no index has, such as a file elsewhere than the tree's layout puts it."""
    segments = path.split("/")
    if len(segments) < 3 or segments[0] or segments[1] not in {str(ROOT), str(SIMPLE)}:  # noqa: PLR2004  (/whl/X)
        return None
    *directories, name = segments[1:]
    if len(directories) > _DEEPEST or not all(map(_SEGMENT.fullmatch, directories)):
        return None
    directory = PurePosixPath(*directories)
    if not name:
        return AskedPage(directory=directory)
    if name in {HTML_NAME, JSON_NAME}:
        return AskedPage(directory=directory, form=name)
    if name in PAGE_NAMES:
        return AskedPage(directory=directory, flat=name) if directories[0] == str(ROOT) else None
    return _parse_wheel(path)


def _parse_wheel(path: str) -> AskedWheel | None:
    wheel = path.removesuffix(METADATA_SUFFIX)
    try:
        place = mirror_path(wheel, from_upstream=True)
    except UsageError:
        return None
    return AskedWheel(path=place, metadata=wheel != path) if f"/{place}" == wheel else None


def upstream_page(root: str, asked: AskedPage) -> str:
    """Give the address of upstream's page, below ``root``, the address of its ``/whl``; ``/simple/`` is all of it."""
    below = asked.directory.parts[1:]
    return f"{root.rstrip('/')}/" + "".join(f"{quote(segment)}/" for segment in below) + (asked.flat or "")


def pages_that_may_list(root: str, path: PurePosixPath, default_index: str | None) -> Iterator[str]:
    """Give the addresses of the pages on which a wheel may stand that has this place in the tree, the likeliest first.

    ``default_index`` is None where the default index does not serve the wheel's project.
    """
    project = parse_wheel_name(path.name).project
    channel = channel_of(path)
    directories = [path.parent] if path.parent == channel else [path.parent, channel]
    for directory in directories:
        yield upstream_page(root, AskedPage(directory=directory / project))
    if default_index is not None and path.parent == ROOT:
        yield project_page(default_index, project)


def project_page(index: str, project: NormalizedName) -> str:
    """Give the address of a project's page of a plain index."""
    return f"{index.rstrip('/')}/{project}/"


def is_channel(directory: PurePosixPath) -> bool:
    """Say whether a directory is a whole index, and not a variant of one."""
    return directory == ROOT or directory.parts[1:] in CHANNELS
