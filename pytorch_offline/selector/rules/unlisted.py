"""Wheels that a page listed once and no longer does: they cannot be chosen, and are told with their days.

Nightly pages list the newest 60 versions of a project; what falls out can be downloaded for a time, unlisted
(research/upstream-index.md, section 2, number 5). On stable pages a version rarely vanishes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.crawler.model import IndexFile
from pytorch_offline.errors import UsageError
from pytorch_offline.selector.model import Candidate, Rejection, Source
from pytorch_offline.selector.reasons import Reason
from pytorch_offline.selector.rules.candidates import judge_file
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packaging.utils import NormalizedName

    from pytorch_offline.crawler.model import Observation
    from pytorch_offline.crawler.reading import PageReading
    from pytorch_offline.selector.rules.tag_fit import TagFit
    from pytorch_offline.target.model import Target

NIGHTLIES_LISTED = 60


def unlisted_rejections(
    project: NormalizedName,
    pages: Sequence[PageReading],
    *,
    target: Target,
    tags: TagFit,
    indexed_by_backend: bool,
) -> list[Rejection]:
    """Reject what would fit the target and is on none of the pages any more."""
    if not any(page.unlisted for page in pages):
        return []
    listed = {file.link.path for page in pages for file in page.wheels.files(project)}
    gone: dict[str, tuple[Observation, str]] = {}
    for page in pages:
        for said in page.unlisted:
            if said.link.path not in listed:
                gone[said.link.path] = said, page.url
    rejections = []
    for said, page_url in gone.values():
        try:
            name = parse_wheel_name(said.link.filename)
        except UsageError:  # an older version took it
            continue
        file = IndexFile(name=name, link=said.link, page_url=page_url)
        if name.project != project:
            continue
        verdict = judge_file(file, target, tags, source=Source.UPSTREAM, indexed_by_backend=indexed_by_backend)
        if isinstance(verdict, Candidate):
            rejections.append(
                Rejection(
                    project=project, file=file, backend=verdict.backend, reason=Reason.UNLISTED, detail=_detail(said)
                )
            )
    return rejections


def _detail(said: Observation) -> str:
    why = f": nightly pages list the newest {NIGHTLIES_LISTED} versions" if "/nightly/" in said.link.path else ""
    days = f"first seen {said.first_seen[:10]}, last {said.last_seen[:10]}"
    return f"its page no longer lists it{why} ({days})"
