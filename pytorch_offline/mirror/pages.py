"""Index pages, written from the rows of verified files: HTML (PEP 503, 592, 658, 714) and JSON (PEP 691, 700).

Equal rows give equal bytes. A page says nothing that is not known: no size of 0, no hash of another file, no upload
time that is no time.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any, assert_never

from pytorch_offline.mirror.layout import (
    HTML_NAME,
    JSON_NAME,
    FlatPage,
    ProjectList,
    ProjectPage,
    plan_pages,
    relative_href,
)
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import PurePosixPath

    from packaging.utils import NormalizedName

    from pytorch_offline.mirror.layout import IndexPage
    from pytorch_offline.mirror.model import Listed, MirrorFile

# The HTML form has nothing of version 1.1's sizes and versions (PEP 700), so it stays at 1.0 (PEP 629).
HTML_API_VERSION = "1.0"
JSON_API_VERSION = "1.1"


def render_pages(files: Iterable[MirrorFile]) -> dict[PurePosixPath, bytes]:
    """Render every page of the tree, in the order in which they may appear: lists after what they lead to."""
    pages: dict[PurePosixPath, bytes] = {}
    for page in plan_pages(tuple(files)):
        pages |= render_page(page)
    return pages


def render_page(page: IndexPage) -> dict[PurePosixPath, bytes]:
    """Render one page in each of its forms, by path."""
    match page:
        case ProjectPage(directory=directory, project=project, files=listed):
            return {
                directory / HTML_NAME: render_files_html(f"Links for {project}", directory, listed),
                directory / JSON_NAME: render_project_json(project, directory, listed),
            }
        case ProjectList(directory=directory, projects=projects):
            return {
                directory / HTML_NAME: render_list_html(projects),
                directory / JSON_NAME: render_list_json(projects),
            }
        case FlatPage(path=path, files=listed):
            return {path: render_files_html(f"Links for {path.parent}", path.parent, listed)}
        case _:
            assert_never(page)


def render_files_html(title: str, directory: PurePosixPath, files: Iterable[Listed]) -> bytes:
    """Render links to files; the text of each equals the file's name."""
    return _render_html(title, (_anchor(directory, file) for file in files))


def render_list_html(projects: Iterable[NormalizedName]) -> bytes:
    """Render the links to the project pages of one index."""
    return _render_html("Simple index", (f'<a href="{project}/">{project}</a>' for project in projects))


def render_project_json(project: NormalizedName, directory: PurePosixPath, files: Iterable[Listed]) -> bytes:
    """Render one project's page as PEP 691 JSON with the sizes and versions of PEP 700."""
    listed = tuple(files)
    versions = sorted({parse_wheel_name(file.path.name).version for file in listed})
    # Version 1.1 promises a size for every file.
    complete = all(file.size is not None for file in listed)
    return _render_json(
        {
            "meta": {"api-version": JSON_API_VERSION if complete else "1.0"},
            "name": project,
            **({"versions": [str(version) for version in versions]} if complete else {}),
            "files": [_file_document(directory, file) for file in listed],
        }
    )


def render_list_json(projects: Iterable[NormalizedName]) -> bytes:
    """Render the list of one index's projects as PEP 691 JSON."""
    return _render_json(
        {"meta": {"api-version": JSON_API_VERSION}, "projects": [{"name": project} for project in projects]}
    )


def _render_html(title: str, anchors: Iterable[str]) -> bytes:
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "  <head>",
        '    <meta charset="utf-8">',
        f'    <meta name="pypi:repository-version" content="{HTML_API_VERSION}">',
        f"    <title>{escape(title)}</title>",
        "  </head>",
        "  <body>",
        f"    <h1>{escape(title)}</h1>",
        *(f"    {anchor}<br>" for anchor in anchors),
        "  </body>",
        "</html>",
    ]
    # A lone surrogate, which an upstream's JSON may hold, has no bytes in UTF-8.
    return ("\n".join(lines) + "\n").encode("utf-8", "xmlcharrefreplace")


def _anchor(directory: PurePosixPath, file: Listed) -> str:
    fragment = "" if file.sha256 is None else f"#sha256={file.sha256}"
    attributes = [f'href="{escape(relative_href(directory, file.path))}{fragment}"']
    if file.requires_python is not None:
        attributes.append(f'data-requires-python="{escape(file.requires_python)}"')
    said = "true" if file.metadata_sha256 is None else f"sha256={file.metadata_sha256}"
    if file.spelling == parse_wheel_name(file.path.name).project:
        # The name of before PEP 714. pip 22.3 to 23.1, which know no other, refuse a wheel whose METADATA spells its
        # project otherwise, such as Jinja2 (pypa/pip#12038): without it they read METADATA from the wheel.
        attributes.append(f'data-dist-info-metadata="{said}"')
    attributes.append(f'data-core-metadata="{said}"')
    if file.yanked is not None:
        attributes.append(f'data-yanked="{escape(file.yanked)}"')
    if (uploaded := _upload_time(file.upload_time)) is not None:
        attributes.append(f'data-upload-time="{uploaded}"')  # not in any standard, but uv reads it
    return f"<a {' '.join(attributes)}>{escape(file.path.name)}</a>"


def _file_document(directory: PurePosixPath, file: Listed) -> dict[str, Any]:
    document: dict[str, Any] = {
        "filename": file.path.name,
        "url": relative_href(directory, file.path),
        "hashes": {} if file.sha256 is None else {"sha256": file.sha256},
        **({} if file.size is None else {"size": file.size}),
        # Under this name alone: pip 22.3 to 23.1 misread the older one in JSON (pypa/pip#12042).
        "core-metadata": True if file.metadata_sha256 is None else {"sha256": file.metadata_sha256},
        # PEP 691 knows no empty reason: a yank without one is `true`.
        "yanked": False if file.yanked is None else file.yanked or True,
    }
    if file.requires_python is not None:
        document["requires-python"] = file.requires_python
    if (uploaded := _upload_time(file.upload_time)) is not None:
        document["upload-time"] = uploaded
    return document


def _render_json(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    # A lone surrogate has no bytes in UTF-8, and its escape is no JSON to a strict reader: uv would refuse the page.
    return text.encode("utf-8", "replace")


def _upload_time(text: str | None) -> str | None:
    """Rewrite an upload time as PEP 700 wants it, UTC and ``Z``; None for what is no time."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # the first hours of the year 1 have no time in UTC
        return None
    return f"{moment.replace(tzinfo=None).isoformat()}Z"
