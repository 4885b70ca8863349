"""What a mirror offers at one moment: its files and pages by path, from the rows of one manifest.

Nothing is looked for on the disk: a path either is one that the rows make, or does not exist. So no request can reach
a file that is not named.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.family import projects_built_per_backend
from pytorch_offline.mirror.layout import (
    HTML_NAME,
    JSON_NAME,
    METADATA_SUFFIX,
    ROOT,
    FlatPage,
    is_variant,
    mirror_path,
    plan_pages,
)
from pytorch_offline.mirror.served_as import TEXT_TYPE, WHEEL_TYPE
from pytorch_offline.server.resources import Page, Redirect, StoredFile, UnrenderedPage
from pytorch_offline.server.tree.rendered import RenderedPages
from pytorch_offline.server.tree.whole_indexes import plan_flat_pages, plan_simple_index
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from pytorch_offline.mirror.layout import IndexPage
    from pytorch_offline.mirror.model import MirrorFile
from pytorch_offline.server.resources import Resource

# How much of the rendered pages is kept in memory, compressed forms included: all of them up to some 2,500 files. The
# pages of 50,000 files have 310 MB, of which clients ask for a few dozen in a day.
PAGES_KEPT = 16 * 1024 * 1024


class Snapshot:
    """One generation of a mirror.

    Args:
        root: the mirror's directory.
        files: the manifest's rows.
        modified: when the manifest was written, to the second; None where there is none.
        previous: the generation before, whose pages are taken over where they are the same.
    """

    def __init__(
        self,
        root: Path,
        files: Iterable[MirrorFile] = (),
        *,
        modified: datetime | None = None,
        previous: Snapshot | None = None,
    ) -> None:
        self.root = root
        self.modified = modified
        self.files = {str(file.path): file for file in files}
        rows = self.files.values()
        self._plans: dict[str, IndexPage] = {}
        for page in (*plan_pages(rows), *plan_flat_pages(rows), *plan_simple_index(rows)):
            self._plans[f"/{page.path}" if isinstance(page, FlatPage) else f"/{page.directory}/"] = page
        self.rendered = RenderedPages(limit=PAGES_KEPT, modified=modified)
        if previous is not None:
            self.rendered.take_over(self._plans, previous.rendered)

    def find(self, path: str) -> Resource | None:
        """Give what lies at a path, or where it lies; see ``Site``."""
        return self._page(path) or self._file(path[1:]) or self._elsewhere(path)

    def renderings(self) -> Iterator[Callable[[], Page]]:
        """Give the work of rendering pages before they are asked for, until as many are kept as may be."""
        for path, plan in self._plans.items():
            if self.rendered.is_full:
                return
            yield partial(self.rendered.render, path, plan)

    def _page(self, path: str) -> Page | UnrenderedPage | None:
        plan = self._plans.get(path)
        if plan is not None:
            return self.rendered.get(path) or UnrenderedPage(render=partial(self.rendered.render, path, plan))
        # The names of a static tree, of which each has one form.
        directory, _, name = path.rpartition("/")
        plan = self._plans.get(f"{directory}/") if name in {HTML_NAME, JSON_NAME} else None
        if plan is None:
            return None
        page = self.rendered.get(f"{directory}/")
        if page is not None:
            return _one_form(page, name)
        return UnrenderedPage(render=lambda: _one_form(self.rendered.render(f"{directory}/", plan), name))

    def _file(self, path: str) -> StoredFile | None:
        """Find a wheel or its METADATA; by a path in a directory below its own, too, where upstream has some."""
        wheel = path.removesuffix(METADATA_SUFFIX)
        file = self.files.get(wheel)
        if file is None and wheel.startswith(f"{ROOT}/") and wheel.endswith(".whl"):
            try:
                file = self.files.get(str(mirror_path(f"/{wheel}", from_upstream=True)))
            except UsageError:
                return None
        if file is None:
            return None
        if wheel != path:
            return StoredFile(
                path=self.root / f"{file.path}{METADATA_SUFFIX}",
                size=None,
                sha256=file.metadata_sha256,
                content_type=TEXT_TYPE,
                immutable=True,
            )
        return StoredFile(
            path=self.root / file.path, size=file.size, sha256=file.sha256, content_type=WHEEL_TYPE, immutable=True
        )

    def _elsewhere(self, path: str) -> Redirect | None:
        """Lead to a page from its path without the last slash, or from a project's name as people write it.

        And from a variant's directory to a wheel that its channel's own directory has. Until the end of 2025 upstream
        had the dependencies' wheels in each variant (upstream-index.md, section 2), and the locks of that time name
        them there. Not those that differ from variant to variant, of which old ones share one name.
        """
        directory, _, name = path.removesuffix("/").rpartition("/")
        if is_variant(directory.rpartition("/")[2]):
            place = f"{directory.rpartition('/')[0]}/{name}"
            found = self._file(place[1:]) if path == f"{directory}/{name}" else None
            wheel = name.removesuffix(METADATA_SUFFIX)
            if found is not None and parse_wheel_name(wheel).project not in projects_built_per_backend():
                return Redirect(location=place)
        for candidate in (name, canonicalize_name(name)):
            location = f"{directory}/{candidate}/"
            if location in self._plans:
                return Redirect(location=location)
        return None


def _one_form(page: Page, name: str) -> Page:
    return Page(forms=(page.forms[0 if name == HTML_NAME else -1],), modified=page.modified)
