"""Indexes in memory, behind the port that the selector sees: wheels are rows, pages are not needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytorch_offline.crawler.model import IndexFile, Link
from pytorch_offline.knowledge.family import family_projects
from pytorch_offline.selector.model import Candidate, Offer, Rejection, Rejections, Source
from pytorch_offline.selector.rules.candidates import judge_file
from pytorch_offline.selector.rules.tag_fit import TagFit
from pytorch_offline.wheels.filename import parse_wheel_name
from pytorch_offline.wheels.inspection import Inspection
from pytorch_offline.wheels.metadata import CoreMetadata, parse_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.specifiers import SpecifierSet
    from packaging.utils import NormalizedName

    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend


@dataclass
class MemoryIndex:
    """All wheels that exist; ``path`` is below ``/whl``, and a path without a directory is at root level."""

    files: dict[str, tuple[IndexFile, bytes]] = field(default_factory=dict)
    inspections: dict[str, Inspection] = field(default_factory=dict)

    def add(
        self,
        path: str,
        requires: Sequence[str] = (),
        *,
        requires_python: str | None = None,
        page_requires_python: str | None = None,
        extras: Sequence[str] = (),
        yanked: str | None = None,
        sha256: str | None = "0" * 64,
        default_index: bool = False,
        inspection: Inspection | None = None,
    ) -> None:
        """Add a wheel; ``inspection`` is what reading its libraries tells, by default that they cannot be read."""
        name = parse_wheel_name(path.rpartition("/")[2])
        base = "/simple/files/" if default_index else "/whl/"
        lines = ["Metadata-Version: 2.1", f"Name: {name.project}", f"Version: {name.version}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        lines += [f"Provides-Extra: {extra}" for extra in extras]
        if requires_python is not None:
            lines.append(f"Requires-Python: {requires_python}")
        link = Link(
            filename=name.filename,
            url=f"https://upstream.invalid{base}{path.replace('+', '%2B')}",
            path=f"{base}{path}",
            sha256=sha256,
            requires_python=page_requires_python,
            yanked=yanked,
        )
        file = IndexFile(name=name, link=link, page_url=f"https://upstream.invalid{base}{name.project}/")
        self.files[link.path] = (file, ("\n".join(lines) + "\n").encode())
        self.inspections[link.path] = inspection or Inspection(unread="it is in memory only")

    def offers_for(self, target: Target, *, indexed_by_backend: bool = True) -> MemoryOffers:
        return MemoryOffers(self, target, indexed_by_backend=indexed_by_backend)


class MemoryOffers:
    def __init__(self, index: MemoryIndex, target: Target, *, indexed_by_backend: bool) -> None:
        self._index = index
        self._target = target
        self._tags = TagFit(target)
        self._indexed_by_backend = indexed_by_backend
        self.metadata_read: list[str] = []
        self.inspected: list[str] = []

    def offer(self, project: NormalizedName, backends: Sequence[Backend]) -> Offer:
        wanted = {str(backend) for backend in backends}
        verdicts = []
        for file, _ in self._index.files.values():
            upstream = file.link.path.startswith("/whl/")
            directory = file.link.path.removeprefix("/whl/").rpartition("/")[0]
            if file.name.project != project or (upstream and directory and directory not in wanted):
                continue
            if project in family_projects() and not upstream:
                continue
            source = Source.UPSTREAM if upstream else Source.DEFAULT_INDEX
            verdicts.append(
                judge_file(file, self._target, self._tags, source=source, indexed_by_backend=self._indexed_by_backend)
            )
        return Offer(
            candidates=tuple(one for one in verdicts if isinstance(one, Candidate)),
            rejected=Rejections.known(one for one in verdicts if isinstance(one, Rejection)),
            known=bool(verdicts),
        )

    def metadata(self, candidate: Candidate) -> CoreMetadata:
        self.metadata_read.append(candidate.file.link.filename)
        return parse_metadata(self._index.files[candidate.file.link.path][1])

    def inspect(self, candidate: Candidate) -> Inspection:
        self.inspected.append(candidate.file.link.filename)
        return self._index.inspections[candidate.file.link.path]

    def read_ahead(self, wanted: Mapping[NormalizedName, SpecifierSet], backend: Backend) -> None:
        """There is nothing to wait for in memory."""

    def walk_ahead(self, candidates: Iterable[Candidate]) -> None:
        """There is nothing to wait for in memory."""
