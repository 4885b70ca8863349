"""What the indexes offer for a project, for one target: the port ``Offers`` over the pages.

Which index serves which project (DESIGN section 5): torch's own family comes from the backends' pages of the upstream
and from nowhere else; every other project from the default index, and from upstream's copies where the default index
has nothing that fits.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote

from packaging.utils import parse_sdist_filename

from pytorch_offline.crawler.hosts import Hosts
from pytorch_offline.crawler.reading import ListedWheels, anything
from pytorch_offline.crawler.siblings import Index, sibling_addresses
from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.knowledge.family import family_projects
from pytorch_offline.selector.indexes.inspection import Inspector
from pytorch_offline.selector.indexes.side_by_side import SideBySide
from pytorch_offline.selector.indexes.wheel_metadata import fetch_wheel_metadata
from pytorch_offline.selector.model import Candidate, Offer, Rejection, Rejections, Source
from pytorch_offline.selector.rules.candidates import admitted, judge_file, preference
from pytorch_offline.selector.rules.hashes import expecting, hash_objection
from pytorch_offline.selector.rules.tag_fit import TagFit
from pytorch_offline.selector.rules.unlisted import unlisted_rejections
from pytorch_offline.wheels.metadata import CoreMetadata, parse_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from packaging.specifiers import SpecifierSet
    from packaging.tags import Tag
    from packaging.utils import NormalizedName
    from packaging.version import Version

    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.crawler.model import IndexFile, RejectedLink
    from pytorch_offline.crawler.reader import IndexReader
    from pytorch_offline.crawler.reading import PageReading
    from pytorch_offline.crawler.upstream import Upstream
    from pytorch_offline.net import Http
    from pytorch_offline.selector.indexes.given_wheels import GivenWheels
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend
    from pytorch_offline.wheels.inspection import Inspection

# Pages asked for at once. Browsers open six connections to a host; upstream's CDN serves them without complaint.
PARALLEL_PAGES = 6
# METADATA read at once: each takes one to three small requests, whose latency is all they cost. uv has 50 under way.
PARALLEL_METADATA = 16


class IndexOffers:
    """Offers read from upstream and default index through the catalogue; a context manager, for its threads.

    Args:
        upstreams: recognised upstreams; the first that lists a project serves it. May be empty only when the default
            index stands in.
        default_index: the default index's address, None to do without.
        scratch: a directory for whole wheels that must be downloaded to learn their METADATA.
        extra_indexes: further indexes that serve what the default index does; the best version of all is taken, as
            pip does.
        given: wheels that were named outside the indexes.
        hashes: by project, the sha256 digests of which its file must have one.
        hosts: which hosts are out of order, as far as this run has learnt.
    """

    def __init__(
        self,
        target: Target,
        *,
        upstreams: Sequence[Upstream],
        default_index: str | None,
        reader: IndexReader,
        http: Http,
        catalogue: Catalogue,
        scratch: Path,
        offline: bool,
        extra_indexes: Sequence[str] = (),
        given: GivenWheels | None = None,
        hashes: Mapping[NormalizedName, frozenset[str]] | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        self._target = target
        self._tags = TagFit(target)
        self._upstreams = tuple(upstreams)
        self._indexes = tuple(dict.fromkeys([*([] if default_index is None else [default_index]), *extra_indexes]))
        self._given = given
        self._hashes = hashes or {}
        self._reader = reader
        self._http = http
        self._catalogue = catalogue
        self._scratch = scratch
        self._offline = offline
        self._pages = SideBySide(PARALLEL_PAGES, "page")
        self._hosts = hosts or Hosts()
        self._inspector = Inspector(http=http, catalogue=catalogue, offline=offline, addresses=self._addresses)
        self._readers = SideBySide(PARALLEL_METADATA, "metadata")
        self._metadata: dict[str, CoreMetadata] = {}
        self._under_way: dict[str, Future[CoreMetadata]] = {}
        self._offers: dict[tuple[NormalizedName, tuple[Backend, ...]], Offer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pages.close()
        self._readers.close()

    def offer(self, project: NormalizedName, backends: Sequence[Backend]) -> Offer:
        """Say what the indexes have of a project.

        Raises:
            UpstreamError: a page that should be there could not be read.
        """
        key = self._key(project, backends)
        if key not in self._offers:
            self._offers[key] = self._read_offer(project, backends)
        return self._offers[key]

    def metadata(self, candidate: Candidate) -> CoreMetadata:
        """Return the METADATA of this very wheel, from the catalogue, its sidecar, or the wheel itself.

        Raises:
            UpstreamError: it could not be had.
            IntegrityError: it cannot be read.
        """
        url = candidate.file.link.url
        if url not in self._metadata:
            under_way = self._under_way.get(url)
            self._metadata[url] = self._fetch_metadata(candidate) if under_way is None else under_way.result()
        return self._metadata[url]

    def walk_ahead(self, candidates: Iterable[Candidate]) -> None:
        """Begin to read the METADATA of candidates that may be asked for soon; see ``Offers.walk_ahead``."""
        for candidate in () if self._offline else candidates:
            url = candidate.file.link.url
            if url not in self._metadata and url not in self._under_way:
                self._under_way[url] = self._readers.begin(self._fetch_metadata, candidate)

    def _fetch_metadata(self, candidate: Candidate) -> CoreMetadata:
        body = fetch_wheel_metadata(
            candidate.file,
            http=self._http,
            catalogue=self._catalogue,
            scratch=self._scratch,
            offline=self._offline,
            urls=self._addresses(candidate.file),
            hosts=self._hosts,
        )
        return parse_metadata(body)

    def _addresses(self, file: IndexFile) -> tuple[str, ...]:
        """Say where a wheel may be read: what its page says, and where its index has the same path.

        As trust goes a wheel without a published hash: no further than to the index itself (``crawler/siblings.py``).
        """
        link = file.link.url
        roots = [upstream.root for upstream in self._upstreams if file.page_url.startswith(upstream.root)]
        indexes = [Index(address=root, hosts=(root, link)) for root in roots]
        return sibling_addresses(link, published=False, indexes=indexes)

    def inspect(self, candidate: Candidate) -> Inspection:
        """Say what the libraries of this very wheel say; see ``Offers.inspect``."""
        return self._inspector.inspect(candidate.file)

    def read_ahead(self, wanted: Mapping[NormalizedName, SpecifierSet], backend: Backend) -> None:
        """Read offers, and METADATA of the best wheel of each, side by side; see ``Offers.read_ahead``."""
        fresh = {
            project: specifier
            for project, specifier in wanted.items()
            if self._key(project, (backend,)) not in self._offers
        }
        asked = [] if self._offline else [one for one in fresh if self._asks_for(one, fresh[one], backend)]
        if len(asked) > 1:
            self._pages.each(lambda project: self._look_ahead(project, fresh[project], backend), asked)

    def _key(self, project: NormalizedName, backends: Sequence[Backend]) -> tuple[NormalizedName, tuple[Backend, ...]]:
        """Name an offer; an index without a directory per backend has one page for all of them."""
        return project, tuple(backends) if any(upstream.by_backend for upstream in self._upstreams) else ()

    def _asks_for(self, project: NormalizedName, specifier: SpecifierSet, backend: Backend) -> bool:
        """Whether the network has to be asked for a project's pages, or for the METADATA of its best wheel."""
        if project in family_projects() and self._upstreams:
            pages = [self._upstreams[0].project_url(project, backend)]
        else:
            pages = [f"{index.rstrip('/')}/{project}/" for index in self._indexes]
        if not pages or not all(map(self._reader.is_at_hand, pages)):
            return True
        best = self._best(project, specifier, backend)
        return best is not None and not self._catalogue.has_metadata(best.file.link)

    def _look_ahead(self, project: NormalizedName, specifier: SpecifierSet, backend: Backend) -> None:
        with suppress(PytorchOfflineError):
            best = self._best(project, specifier, backend)
            if best is not None:
                self.metadata(best)

    def _best(self, project: NormalizedName, specifier: SpecifierSet, backend: Backend) -> Candidate | None:
        offer = self.offer(project, (backend,))
        candidates = [one for one in offer.candidates if one.backend in {None, backend}]
        return max(admitted(candidates, specifier, pre=False), key=preference, default=None)

    def _read_offer(self, project: NormalizedName, backends: Sequence[Backend]) -> Offer:
        offers: list[Offer] = []
        if self._given is not None:
            very_one = self._given.only(project)
            if very_one is not None:
                by_backend = any("whl" in file.link.path.split("/") for file in very_one.files)
                return self._judge(project, [very_one], Source.DIRECT, by_backend=by_backend)
            offers.append(self._judge(project, self._given.found(), Source.FIND_LINKS, by_backend=False))
        offers += self._read_indexes(project, backends)
        return Offer.of_all(offers)

    def _read_indexes(self, project: NormalizedName, backends: Sequence[Backend]) -> list[Offer]:
        from_upstream_only = project in family_projects() and bool(self._upstreams)
        offers = [] if from_upstream_only else self._read_default_indexes(project)
        for upstream in self._upstreams:
            if any(offer.candidates for offer in offers):
                break
            pages = self._read_pages(upstream, project, backends)
            offers.append(self._judge(project, pages, Source.UPSTREAM, by_backend=upstream.by_backend))
        if from_upstream_only and project in self._hashes and not any(offer.candidates for offer in offers):
            # Locks of other tools pin the default index's own build of torch; its hash says that this one is meant.
            offers += self._read_default_indexes(project, proved=True)
        return offers

    def _read_default_indexes(self, project: NormalizedName, *, proved: bool = False) -> list[Offer]:
        """Read what the default index and its like have; ``proved`` takes files alone whose hash is demanded."""
        offers = []
        for index in self._indexes:
            page = self._reader.read(f"{index.rstrip('/')}/{project}/")
            if proved:
                links = [one.link for one in page.files if one.link.sha256 in self._hashes[project]]
                page = replace(page, wheels=ListedWheels.of_links(links, page.url))
            offers.append(self._judge(project, [page], Source.DEFAULT_INDEX, by_backend=False))
        return offers

    def _read_pages(
        self, upstream: Upstream, project: NormalizedName, backends: Sequence[Backend]
    ) -> list[PageReading]:
        urls = list(dict.fromkeys(upstream.project_url(project, backend) for backend in backends))
        if len(urls) == 1:
            return [self._reader.read(urls[0])]
        return self._pages.each(self._reader.read, urls)

    def _judge(
        self, project: NormalizedName, pages: Sequence[PageReading], source: Source, *, by_backend: bool
    ) -> Offer:
        def judged(
            tags: Callable[[frozenset[Tag]], bool] = anything, versions: Callable[[Version], bool] = anything
        ) -> list[Candidate | Rejection]:
            files: dict[str, IndexFile] = {}
            for page in pages:
                for file in page.wheels.files(project, tags=tags, versions=versions):
                    files.setdefault(file.link.path, file)
            return [self._judge_file(file, source, by_backend=by_backend) for file in files.values()]

        def rejected(versions: Callable[[Version], bool]) -> list[Rejection]:
            return [verdict for verdict in judged(versions=versions) if isinstance(verdict, Rejection)] + [
                one for one in gone if one.file is not None and versions(one.file.name.version)
            ]

        def sources() -> frozenset[Version]:
            links = (link for page in pages for link in page.rejected)
            return frozenset(version for link in links if (version := _source_of(project, link)) is not None)

        gone = unlisted_rejections(project, pages, target=self._target, tags=self._tags, indexed_by_backend=by_backend)
        return Offer(
            candidates=tuple(one for one in judged(tags=self._tags.fits) if isinstance(one, Candidate)),
            rejected=Rejections(rejected),
            known=any(page.wheels.lists(project) for page in pages) or bool(gone) or bool(sources()),
            find_sources=sources,
        )

    def _judge_file(self, file: IndexFile, source: Source, *, by_backend: bool) -> Candidate | Rejection:
        allowed = self._hashes.get(file.name.project)
        return judge_file(
            expecting(file, allowed),
            self._target,
            self._tags,
            source=source,
            indexed_by_backend=by_backend,
            objection=hash_objection(file, allowed),
        )


def _source_of(project: NormalizedName, link: RejectedLink) -> Version | None:
    """Read the version of a source distribution of the project out of a link; None if the link is something else."""
    if link.reason != "not-a-wheel":
        return None
    try:
        path = link.href.partition("#")[0].partition("?")[0]  # thousands; urlsplit takes ten times as long
        name, version = parse_sdist_filename(unquote(path.rpartition("/")[2]))
    except ValueError:  # InvalidSdistFilename, InvalidVersion
        return None
    return version if name == project else None
