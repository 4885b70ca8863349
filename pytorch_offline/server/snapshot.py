"""What a mirror offers at one moment: its files and pages by path, from the rows of one manifest.

Nothing is looked for on the disk: a path either is one that the rows make, or does not exist. So no request can reach
a file that is not named.
"""

from __future__ import annotations

import gzip
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, assert_never

from packaging.utils import canonicalize_name

from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.layout import (
    HTML_NAME,
    JSON_NAME,
    MANIFEST_NAME,
    METADATA_SUFFIX,
    FlatPage,
    ProjectList,
    ProjectPage,
    mirror_path,
    plan_pages,
)
from pytorch_offline.mirror.pages import render_files_html, render_list_html, render_list_json, render_project_json
from pytorch_offline.server.negotiation import HTML, HTML_V1, JSON_V1
from pytorch_offline.server.resources import Body, Page, Redirect, StoredFile
from pytorch_offline.server.simple_index import plan_simple_index

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path, PurePosixPath

    from pytorch_offline.mirror.layout import IndexPage
    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.server.resources import Resource

# Rendered pages are kept up to so many bytes; those that were asked for longest ago are rendered again when they are
# asked for next. Everything that clients of one mirror ask for in a day fits; the whole of a mirror with 50,000 files
# would take five times as much.
PAGES_KEPT = 64 * 1024 * 1024
# Below this a page fits into the packet that its headers need anyway.
_MIN_GZIP = 1024
# Beyond 6 the hashes, which are most of a page, get no smaller.
_GZIP_LEVEL = 6

HTML_TYPE = f"{HTML}; charset=utf-8"
# Upstream gives wheels as binary/octet-stream, which no registry knows, and nginx gives this.
FILE_TYPE = "application/octet-stream"
METADATA_TYPE = "text/plain; charset=utf-8"  # core metadata is UTF-8, and administrators read it in a browser


class Snapshot:
    """One generation of a mirror.

    Args:
        root: the mirror's directory.
        files: its rows by path.
        manifest: the bytes of ``manifest.json``.
        modified: when that was written, to the second.
    """

    def __init__(
        self, root: Path, files: Mapping[PurePosixPath, MirrorFile], manifest: bytes, modified: datetime | None
    ) -> None:
        self._root = root
        self.files = {str(path): file for path, file in files.items()}
        self.modified = modified
        self._plans: dict[str, IndexPage] = {}
        for page in (*plan_pages(files.values()), *plan_simple_index(files.values())):
            self._plans[f"/{page.path}" if isinstance(page, FlatPage) else f"/{page.directory}/"] = page
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._kept = 0
        document = make_body("application/json", manifest)
        self._manifest = Page(forms=(document,), modified=modified) if files else None

    def find(self, path: str) -> Resource | None:
        """Give what lies at a path, or where it lies; see ``Site``."""
        if path == f"/{MANIFEST_NAME}":
            return self._manifest
        return self._page(path) or self._file(path[1:]) or self._elsewhere(path)

    def warm(self) -> None:
        """Render pages before they are asked for, until as many are kept as may be."""
        for path in self._plans:
            if self._kept >= PAGES_KEPT:
                return
            self._page(path)

    def _page(self, path: str) -> Page | None:
        plan = self._plans.get(path)
        if plan is not None:
            return self._rendered(path, plan)
        # The names of a static tree, of which each has one form.
        directory, _, name = path.rpartition("/")
        plan = self._plans.get(f"{directory}/") if name in {HTML_NAME, JSON_NAME} else None
        if plan is None:
            return None
        forms = self._rendered(f"{directory}/", plan).forms
        return Page(forms=(forms[0] if name == HTML_NAME else forms[-1],), modified=self.modified)

    def _rendered(self, path: str, plan: IndexPage) -> Page:
        page = self._pages.get(path)
        if page is None:
            page = Page(forms=render_forms(plan), modified=self.modified)
            self._pages[path] = page
            self._kept += _memory_of(page)
            while self._kept > PAGES_KEPT and len(self._pages) > 1:
                self._kept -= _memory_of(self._pages.popitem(last=False)[1])
        else:
            self._pages.move_to_end(path)
        return page

    def _file(self, path: str) -> StoredFile | None:
        """Find a wheel or its METADATA; of a path that upstream has in a directory below its own, too."""
        wheel = path.removesuffix(METADATA_SUFFIX)
        file = self.files.get(wheel)
        if file is None and wheel.endswith(".whl") and wheel.startswith("whl/"):
            try:
                file = self.files.get(str(mirror_path(f"/{wheel}", from_upstream=True)))
            except UsageError:
                return None
        if file is None:
            return None
        if wheel != path:
            sidecar = self._root / f"{file.path}{METADATA_SUFFIX}"
            return StoredFile(
                path=sidecar, size=None, sha256=file.metadata_sha256, content_type=METADATA_TYPE, immutable=True
            )
        return StoredFile(
            path=self._root / file.path, size=file.size, sha256=file.sha256, content_type=FILE_TYPE, immutable=True
        )

    def _elsewhere(self, path: str) -> Redirect | None:
        """Lead to a page from its path without the last slash, or from a project's name as people write it."""
        directory, _, name = path.removesuffix("/").rpartition("/")
        for candidate in (name, canonicalize_name(name)):
            location = f"{directory}/{candidate}/"
            if location != path and location in self._plans:
                return Redirect(location=location)
        return None


def render_forms(plan: IndexPage) -> tuple[Body, ...]:
    """Render a page in the forms that clients may choose among, HTML first."""
    match plan:
        case ProjectPage(directory=directory, project=project, files=listed):
            html = render_files_html(f"Links for {project}", directory, listed)
            document = render_project_json(project, directory, listed)
        case ProjectList(projects=projects):
            html = render_list_html(projects)
            document = render_list_json(projects)
        case FlatPage(path=path, files=listed):
            return (make_body(HTML_TYPE, render_files_html(f"Links for {path.parent}", path.parent, listed)),)
        case _:
            assert_never(plan)
    page = make_body(HTML_TYPE, html)
    # The same bytes by another media type are another representation, so they have another entity tag.
    versioned = Body(
        content_type=HTML_V1,
        content=page.content,
        etag=f'{page.etag[:-1]}-v1"',
        gzipped=page.gzipped,
    )
    return (page, versioned, make_body(JSON_V1, document))


def make_body(content_type: str, content: bytes) -> Body:
    """Make one form of a page of its bytes; compressed too, where that makes it smaller by a tenth or more."""
    squeezed = gzip.compress(content, _GZIP_LEVEL, mtime=0) if len(content) >= _MIN_GZIP else content
    return Body(
        content_type=content_type,
        content=content,
        etag=f'"{hashlib.sha256(content).hexdigest()}"',
        gzipped=squeezed if len(squeezed) < len(content) * 0.9 else None,
    )


def _memory_of(page: Page) -> int:
    distinct = {id(data): len(data) for form in page.forms for data in (form.content, form.gzipped) if data is not None}
    return sum(distinct.values())
