"""Whether a page in the tree says the truth: that it leads to the mirror's files, by their hashes, and nowhere else.

Pages are compared by what they say and not by their bytes: another version of this program may have written them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What a page says of a file, as far as that is known from its bytes; nothing of a directory."""

    sha256: str | None = None
    requires_python: str | None = None
    metadata_sha256: str | None = None


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
        for target, said in links.items():
            _check_target(target, said, held, pages)
    except (_UntruePageError, UsageError) as untrue:
        return str(untrue)
    lacking = min(set(required) - set(links), default=None)
    return None if lacking is None else f"it does not list {lacking}"


def _forms(directory: PurePosixPath) -> tuple[PurePosixPath, PurePosixPath]:
    return directory / HTML_NAME, directory / JSON_NAME


def _check_target(
    target: PurePosixPath,
    said: _Said,
    held: Mapping[PurePosixPath, MirrorFile],
    pages: Collection[PurePosixPath],
) -> None:
    file = held.get(target)
    if file is None:
        if not any(page in pages for page in _forms(target)):
            raise _UntruePageError(f"it leads to {target}, which the mirror does not have")
        return
    for what, here, there in (
        ("sha256", said.sha256, file.sha256),
        ("Requires-Python", said.requires_python, file.requires_python),
        ("METADATA hash", said.metadata_sha256, file.metadata_sha256),
    ):
        if here != there:
            raise _UntruePageError(f"it gives {target} the {what} {here}, the manifest says {there}")


def _html_links(page: PurePosixPath, body: bytes) -> dict[PurePosixPath, _Said]:
    found = parse_anchors(body)
    if found.base is not None:
        raise _UntruePageError("it has a <base>, which no page of a mirror has")
    base = parse_base(f"{_HOST}{_TREE}{page}")
    links: dict[PurePosixPath, _Said] = {}
    for anchor in found.anchors:
        target, sha256 = _target(base, anchor.href)
        if sha256 is not None and anchor.text.strip() != target.name:
            raise _UntruePageError(f"it shows {target} as {anchor.text.strip()!r}")
        metadata = anchor.attributes.get("data-core-metadata", "")
        if anchor.attributes.get("data-dist-info-metadata", metadata) != metadata:
            raise _UntruePageError(f"it gives {target} two METADATA hashes")
        links[target] = _Said(
            sha256=sha256,
            requires_python=anchor.attributes.get("data-requires-python"),
            metadata_sha256=metadata.removeprefix("sha256=") or None,
        )
    return links


def _json_links(page: PurePosixPath, body: bytes) -> dict[PurePosixPath, _Said]:
    base = parse_base(f"{_HOST}{_TREE}{page}")
    try:
        document: dict[str, Any] = json.loads(body)
        links: dict[PurePosixPath, _Said] = {
            _target(base, f"{project['name']}/")[0]: _Said() for project in document.get("projects", ())
        }
        for file in document.get("files", ()):
            links[_target(base, file["url"])[0]] = _Said(
                sha256=file["hashes"]["sha256"],
                requires_python=file.get("requires-python"),
                metadata_sha256=file["core-metadata"]["sha256"],
            )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _UntruePageError(f"it is no index page ({error})") from error
    return links


def _target(base: Base, href: str) -> tuple[PurePosixPath, str | None]:
    location = resolve(base, href)
    if not location.url.startswith(f"{_HOST}{_TREE}") or not location.path.startswith(_TREE) or location.query:
        raise _UntruePageError(f"it leads out of the mirror, to {href[:200]!r}")
    algorithm, _, digest = location.fragment.partition("=")
    return PurePosixPath(location.path.removeprefix(_TREE)), digest if algorithm == "sha256" else None
