"""Whether a page in the tree says the truth: that it leads to the mirror's files, by their hashes, and nowhere else.

Pages are compared by what they say and not by their bytes: another version of this program may have written them.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pytorch_offline.crawler.anchors import parse_anchors
from pytorch_offline.crawler.hrefs import Base, parse_base, resolve
from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.layout import HTML_NAME, JSON_NAME, FlatPage, ProjectList, ProjectPage, plan_pages

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pytorch_offline.mirror.model import MirrorFile

# An address for the tree that is nobody's (RFC 2606), with a directory: a link to the host's root leaves the tree too.
_HOST = "https://mirror.invalid"
_TREE = "/mirror/"


class _UntruePageError(Exception):
    """What is wrong with a page; never leaves this module."""


def expected_targets(files: Iterable[MirrorFile]) -> dict[PurePosixPath, frozenset[PurePosixPath]]:
    """Say what each page must lead to: files, or the directories of project pages."""
    expected: dict[PurePosixPath, frozenset[PurePosixPath]] = {}
    for page in plan_pages(files):
        match page:
            case FlatPage(path=path, files=listed):
                expected[path] = frozenset(file.path for file in listed)
            case ProjectPage(directory=directory, files=listed):
                expected |= dict.fromkeys(_forms(directory), frozenset(file.path for file in listed))
            case ProjectList(directory=directory, projects=projects):
                expected |= dict.fromkeys(_forms(directory), frozenset(directory / name for name in projects))
    return expected


def page_problem(
    path: PurePosixPath,
    body: bytes,
    *,
    required: Collection[PurePosixPath],
    held: Mapping[PurePosixPath, MirrorFile],
    pages: Collection[PurePosixPath],
) -> str | None:
    """Say what is wrong with a page, if anything.

    Args:
        path: the page's.
        body: its bytes.
        required: what it must lead to; it may lead to more, as a page does that was written since.
        held: the rows of the mirror's files.
        pages: the paths of all pages there are.
    """
    try:
        links = _json_links(path, body) if path.name == JSON_NAME else _html_links(path, body)
        for target, sha256 in links.items():
            _check_target(target, sha256, held, pages)
    except (_UntruePageError, UsageError) as untrue:
        return str(untrue)
    lacking = min(set(required) - set(links), default=None)
    return None if lacking is None else f"it does not list {lacking}"


def _forms(directory: PurePosixPath) -> tuple[PurePosixPath, PurePosixPath]:
    return directory / HTML_NAME, directory / JSON_NAME


def _check_target(
    target: PurePosixPath,
    sha256: str | None,
    held: Mapping[PurePosixPath, MirrorFile],
    pages: Collection[PurePosixPath],
) -> None:
    file = held.get(target)
    if file is None:
        if not any(page in pages for page in _forms(target)):
            raise _UntruePageError(f"it leads to {target}, which the mirror does not have")
    elif sha256 != file.sha256:
        raise _UntruePageError(f"it gives {target} the sha256 {sha256}, the manifest says {file.sha256}")


def _html_links(page: PurePosixPath, body: bytes) -> dict[PurePosixPath, str | None]:
    found = parse_anchors(body)
    if found.base is not None:
        raise _UntruePageError("it has a <base>, which no page of a mirror has")
    base = parse_base(f"{_HOST}{_TREE}{page}")
    links: dict[PurePosixPath, str | None] = {}
    for anchor in found.anchors:
        target, sha256 = _target(base, anchor.href)
        if sha256 is not None and anchor.text.strip() != target.name:
            raise _UntruePageError(f"it shows {target} as {anchor.text.strip()!r}")
        links[target] = sha256
    return links


def _json_links(page: PurePosixPath, body: bytes) -> dict[PurePosixPath, str | None]:
    base = parse_base(f"{_HOST}{_TREE}{page}")
    try:
        document: dict[str, Any] = json.loads(body)
        links: dict[PurePosixPath, str | None] = {
            _target(base, f"{project['name']}/")[0]: None for project in document.get("projects", ())
        }
        for file in document.get("files", ()):
            links[_target(base, file["url"])[0]] = file["hashes"]["sha256"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _UntruePageError(f"it is no index page ({error})") from error
    return links


def _target(base: Base, href: str) -> tuple[PurePosixPath, str | None]:
    location = resolve(base, href)
    if not location.url.startswith(f"{_HOST}{_TREE}") or not location.path.startswith(_TREE) or location.query:
        raise _UntruePageError(f"it leads out of the mirror, to {href[:200]!r}")
    algorithm, _, digest = location.fragment.partition("=")
    return PurePosixPath(location.path.removeprefix(_TREE)), digest if algorithm == "sha256" else None
