"""The generated site: from a specification and an era to what lies at each address.

The generator's rules: research/upstream-index.md, section 2 ("How the generator fills pages") and section 1 (which
addresses get ``index.html`` appended).
"""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from packaging.version import Version

from pytorch_offline.simulator import eras, pages
from pytorch_offline.simulator.answers import Host
from pytorch_offline.simulator.bodies import FILE_TYPE, PAGE_TYPE, Body, MemoryBody, Resource
from pytorch_offline.simulator.offers import CHANNELS, DEFAULT_INDEX, Offer
from pytorch_offline.simulator.pages import FlatStyle, Row, escape_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from pytorch_offline.simulator.eras import Era
    from pytorch_offline.simulator.spec import Spec

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
# Pages that are copies of their origin's since eras.LINK_PAGES, besides every nvidia-* and cuda-* project.
LINK_PROJECTS = frozenset(
    {"filelock", "fsspec", "intel-openmp", "mkl", "mpmath", "networkx", "numpy", "pillow", "sympy", "tbb", "tcmlib"}
    | {"typing-extensions", "umf"}
)
# Builds with libraries inside or another ABI; their pages have been frozen since eras.SPECIAL_BUILDS_FROZEN.
SPECIAL_BUILD = re.compile(r"cpu-cxx11-abi|cpu_pypi_pkg|cu\d+_full|cu\d+_pypi_cudnn")
# NVIDIA's projects whose pages have the older frame: the toolkit's, not those that are released on their own.
OLDER_VENDOR_PAGE = re.compile(r"nvidia-(.*-cu11|(?!cudnn|cusparselt|nccl|nvshmem).*-cu12)")
# The directories that the root's pages cover.
STABLE = re.compile(r"(cu\d|rocm\d+\.\d|cpu|xpu)")
LIBTORCH = re.compile(r"/libtorch/.+\.zip")
FLAT_PAGE = re.compile(r"torch_(stable|test|nightly|lts)\.html")
ROCM_SEGMENT = re.compile(r"rocm[0-9]+(\.[0-9]+)*")
ROCM_SEGMENT_BEFORE_PATCHES = re.compile(r"rocm[0-9]+\.[0-9]+")
# The serial number that pages of the default index end with; any will do.
SERIAL = 27418093
# How many versions of a project nightly pages list (KEEP_THRESHOLD of upstream's generator).
NIGHTLIES_LISTED = 60
# Wheels whose Requires-Python somebody wrote into the generator by hand.
BY_HAND = frozenset({"networkx-3.3-py3-none-any.whl", "networkx-3.4.2-py3-none-any.whl"})


def rewritten(path: str, era: Era) -> str:
    """Append ``index.html`` where upstream's CloudFront function does: after a slash, and to a segment without a dot.

    The client sees no redirect. ``/whl/lts/1.8`` and ``rocm6.4`` are the exceptions that have a dot.
    """
    if path.endswith("/"):
        return f"{path}index.html"
    last = path.rpartition("/")[2]
    rocm = ROCM_SEGMENT if era.has(eras.SLASHLESS_ROCM_PATCH) else ROCM_SEGMENT_BEFORE_PATCHES
    if era.has(eras.SLASHLESS) and ("." not in last or rocm.fullmatch(last) or path == "/whl/lts/1.8"):
        return f"{path}/index.html"
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """A page before its headers."""

    text: bytes
    content_type: str = PAGE_TYPE
    cache_control: str | None = None


class GeneratedSite:
    """What a specification looks like in an era; pages are made when they are asked for, and kept until it changes.

    Args:
        spec: the wheels.
        era: the date.
        second_url: the second host, without a path; it also serves the default index and the listings.
    """

    def __init__(self, spec: Spec, era: Era, *, second_url: str) -> None:
        self._spec = spec
        self._era = era
        self._second_url = second_url
        self._pages: dict[tuple[Host, str, bool], _Page | None] = {}
        self._generation = spec.generation
        self._lock = threading.Lock()

    def find(self, host: Host, path: str, *, accept: str) -> Resource | None:
        """Look an address up; ``path`` is decoded and starts with a slash."""
        if host is Host.SECOND and path.startswith("/nvidia/"):
            # NVIDIA's own index, where the link pages of its projects point.
            path = f"/packages/{path.rpartition('/')[2]}"
        if path.startswith("/packages/") and host is Host.FIRST:
            return None
        if host is Host.FIRST and LIBTORCH.fullmatch(path) and self._era.has(eras.LIBTORCH_REDIRECTED):
            return self._redirect(self._second_url + escape_key(path))
        found = self._file(host, path)
        if found is not None:
            return found
        wants_json = JSON_TYPE in accept
        page = self._page(host, path, wants_json=wants_json)
        if page is None:
            return None
        return Resource(
            body=MemoryBody(page.text),
            content_type=page.content_type,
            etag=f'"{hashlib.sha256(page.text).hexdigest()[:32]}"',
            last_modified=self._era.time,
            cache_control=page.cache_control,
        )

    def _redirect(self, url: str) -> Resource:
        return Resource(
            body=MemoryBody(b""), content_type=PAGE_TYPE, etag='""', last_modified=self._era.time, location=url
        )

    def replace(self, path: str, body: bytes) -> None:
        """Put other bytes under a wheel's address, from now on."""
        self._spec.replace_body(path, body)

    # Files

    def _file(self, host: Host, path: str) -> Resource | None:
        offer = self._spec.find(path)
        if offer is not None:
            return self._resource(host, offer, self._spec.body(offer))
        owner = self._spec.find(path.removesuffix(".metadata")) if path.endswith(".metadata") else None
        sidecar = None if owner is None else self._spec.sidecar(owner)
        if owner is None or sidecar is None:
            return None
        return self._resource(host, owner, MemoryBody(sidecar))

    def _resource(self, host: Host, offer: Offer, body: Body) -> Resource:
        # An etag is not the same on both hosts (S3's is none of the content, for a file uploaded in parts).
        etag = f'"{body.sha256[:32]}-{1 if host is Host.FIRST else 2}"'
        return Resource(body=body, content_type=FILE_TYPE, etag=etag, last_modified=offer.published)

    # Pages

    def _page(self, host: Host, path: str, *, wants_json: bool) -> _Page | None:
        with self._lock:
            if self._generation != self._spec.generation:
                self._pages.clear()
                self._generation = self._spec.generation
            key = (host, path, wants_json)
            if key not in self._pages:
                self._pages[key] = self._render(host, path, wants_json=wants_json)
            return self._pages[key]

    def _render(self, host: Host, path: str, *, wants_json: bool) -> _Page | None:
        if host is Host.FIRST:
            return self._render_upstream(path)
        if path.startswith("/simple/"):
            return self._render_simple(path, wants_json=wants_json)
        if path.startswith("/listing/whl/") and path.endswith("/"):
            return self._render_listing(path)
        return None

    def _shown(self) -> list[Offer]:
        """The offers that pages of this era show."""
        return [offer for offer in self._spec.offers() if offer.listed and offer.published <= self._era.time]

    def _render_upstream(self, path: str) -> _Page | None:
        flat = FLAT_PAGE.fullmatch(path.rpartition("/")[2])
        if flat and path.startswith("/whl/"):
            return self._render_flat(path.removeprefix("/whl/").rpartition("/")[0])
        key = rewritten(path, self._era)
        if not key.startswith("/whl/") or not key.endswith("/index.html") or not self._era.has(eras.PROJECT_PAGES):
            return None
        segments = key.removeprefix("/whl/").removesuffix("index.html").strip("/").split("/")
        segments = [segment for segment in segments if segment]
        channel = segments.pop(0) if segments and segments[0] in CHANNELS else ""
        offers = [offer for offer in self._shown() if self._is_covered(offer, channel)]
        directory = ""
        if segments and any(_is_below(_inside(offer), segments[0]) for offer in offers):
            directory = segments.pop(0)
            offers = [offer for offer in offers if _inside(offer) == "" or _is_below(_inside(offer), directory)]
        if len(segments) > 1:
            return None
        text = self._project_page(offers, segments[0]) if segments else self._project_list(offers, channel, directory)
        if text is None:
            return None
        return _Page(text=text, cache_control=self._era.page_cache_control(channel))

    def _is_covered(self, offer: Offer, channel: str) -> bool:
        if offer.directory == DEFAULT_INDEX or offer.channel != channel:
            return False
        if self._is_link_project(offer.project) and self._era.has(eras.LINK_PAGES):
            return False
        inside = _inside(offer)
        if SPECIAL_BUILD.fullmatch(inside.partition("/")[0]) and self._era.has(eras.SPECIAL_BUILDS_FROZEN):
            return False
        return inside == "" or STABLE.match(inside) is not None

    def _is_link_project(self, project: str) -> bool:
        return project in LINK_PROJECTS or project.startswith(("nvidia-", "cuda-"))

    def _page_name(self, offer: Offer) -> str:
        """How pages spell a project's directory."""
        return offer.project if self._era.has(eras.DASHES) else offer.filename.partition("-")[0].lower()

    def _project_list(self, offers: list[Offer], channel: str, directory: str) -> bytes:
        names = {self._page_name(offer) for offer in offers}
        if self._era.has(eras.LINK_PAGES):
            everything = self._shown()
            names |= {offer.project for offer in everything if self._is_link_project(offer.project)}
        if not directory and self._era.has(eras.DIRECTORIES_AS_PROJECTS):
            tops = {offer.directory.partition("/")[0] for offer in self._spec.offers() if offer.channel == channel}
            names |= {top.replace("_", "-") for top in tops - {"", DEFAULT_INDEX, *CHANNELS}}
            names |= set() if channel else set(CHANNELS)
        return pages.render_project_list(sorted(names), timestamp=self._timestamp)

    def _project_page(self, offers: list[Offer], name: str) -> bytes | None:
        if self._era.has(eras.LINK_PAGES) and self._is_link_project(name):
            return self._link_page(name)
        named = [offer for offer in offers if self._page_name(offer) == name]
        rows = [self._row(offer) for offer in _newest_nightlies(named)]
        if not rows:
            return None
        heading = name.replace("_", "-")
        return pages.render_project_page(heading, pages.in_page_order(rows), timestamp=self._timestamp)

    def _link_page(self, name: str) -> bytes | None:
        rows = self._simple_rows(name)
        if not rows:
            return None
        if name.startswith("nvidia-"):
            vendor = f"{self._second_url}/nvidia/{name}/"
            rows = [replace(row, href=vendor + row.href.rpartition("/")[2]) for row in rows]
            return pages.render_vendor_page(rows, older=OLDER_VENDOR_PAGE.fullmatch(name) is not None)
        return pages.render_simple_page(name, rows, serial=SERIAL)

    @property
    def _timestamp(self) -> int:
        return int(self._era.time.timestamp())

    def _row(self, offer: Offer) -> Row:
        href = escape_key(offer.path)
        if self._era.on_second_host(offer.project, offer.channel):
            href = self._second_url + href
        upload_time = f"{offer.published:%Y-%m-%dT%H:%M:%SZ}" if self._era.has(eras.UPLOAD_TIME) else None
        by_hand = offer.filename in BY_HAND and self._era.has(eras.NETWORKX_REQUIRES_PYTHON)
        return Row(
            href=href,
            text=offer.filename,
            sha256=self._listed_hash(offer),
            metadata_sha256=self._metadata_hash(offer) if self._era.has(eras.METADATA) else None,
            requires_python=">=3.10" if by_hand else None,
            upload_time=upload_time,
        )

    def _listed_hash(self, offer: Offer) -> str | None:
        if not self._era.has(eras.HASHES) or offer.hash_listed is False:
            return None
        if offer.channel == "nightly" and self._era.has(eras.NIGHTLY_WITHOUT_HASHES):
            return None
        return offer.hash_listed if isinstance(offer.hash_listed, str) else self._spec.body(offer).sha256

    def _metadata_hash(self, offer: Offer) -> str | None:
        """The hash of the METADATA that was uploaded; a sidecar with other bytes does not agree with it."""
        return hashlib.sha256(self._spec.metadata(offer)).hexdigest() if offer.sidecar is not False else None

    def _render_flat(self, directory: str) -> _Page | None:
        era = self._era
        offers = [offer for offer in self._shown() if offer.directory != DEFAULT_INDEX and offer.channel == ""]
        offers = [offer for offer in offers if offer.published.date() <= eras.FLAT_FROZEN]
        if directory:
            own = sorted(escape_key(offer.filename) for offer in offers if offer.directory == directory)
            root = sorted(f"../{escape_key(offer.filename)}" for offer in offers if offer.directory == "")
            hrefs = [*own, *root] if own else []
        else:
            hrefs = sorted(escape_key(offer.path.removeprefix("/whl/")) for offer in offers)
        if not hrefs:
            return None
        style = _flat_style(era)
        if era.has(eras.FLAT_UNQUOTED):
            hrefs.sort()  # the first generator sorts all lines, the script before it each directory
        if style is FlatStyle.EMPTY_TEXT:
            hrefs = [href.replace("%2B", "+") for href in hrefs]
        text = pages.render_flat_page(hrefs, style)
        # The script's lines all end with a newline, the generator's only stand between newlines.
        text += b"" if era.has(eras.FLAT_UNQUOTED) else b"\n"
        return _Page(text=text, content_type=FILE_TYPE if style is FlatStyle.UNQUOTED else PAGE_TYPE)

    # The default index

    def _render_simple(self, path: str, *, wants_json: bool) -> _Page | None:
        name = path.removeprefix("/simple/").removesuffix("/")
        content_type = JSON_TYPE if wants_json else PAGE_TYPE
        cache_control = "max-age=600, public"
        if not name:
            names = sorted({_simple_name(offer) for offer in self._default_offers()})
            make: Callable[..., bytes] = pages.render_json_list if wants_json else pages.render_simple_list
            return _Page(text=make(names, serial=SERIAL), content_type=content_type, cache_control=cache_control)
        rows = self._simple_rows(name)
        if not rows or not path.endswith("/"):
            return None
        if not wants_json:
            text = pages.render_simple_page(name, rows, serial=SERIAL)
        else:
            versions = sorted({row.text.split("-")[1] for row in rows})
            text = pages.render_json_page(name, rows, versions, serial=SERIAL)
        return _Page(text=text, content_type=content_type, cache_control=cache_control)

    def _default_offers(self) -> Iterable[Offer]:
        return (offer for offer in self._shown() if offer.directory == DEFAULT_INDEX)

    def _simple_rows(self, name: str) -> list[Row]:
        rows = []
        for offer in self._default_offers():
            if _simple_name(offer) != name:
                continue
            body = self._spec.body(offer)
            facts = _requires_python(self._spec.metadata(offer))
            rows.append(
                Row(
                    href=f"{self._second_url}/packages/{escape_key(offer.filename)}",
                    text=offer.filename,
                    sha256=body.sha256 if offer.hash_listed is True else offer.hash_listed or None,
                    metadata_sha256=self._metadata_hash(offer),
                    requires_python=facts,
                    upload_time=f"{offer.published:%Y-%m-%dT%H:%M:%S.000000Z}",
                    yanked=offer.yanked,
                    size=body.size,
                )
            )
        return sorted(rows, key=lambda row: row.text)

    # Listings

    def _render_listing(self, path: str) -> _Page | None:
        directory = path.removeprefix("/listing/whl/").removesuffix("/")
        files: list[tuple[str, datetime, int | None]] = []
        subdirectories: dict[str, datetime] = {}
        for offer in self._shown():
            if offer.directory == DEFAULT_INDEX:
                continue
            if offer.directory == directory:
                files.append((offer.filename, offer.published, self._spec.body(offer).size))
            elif not directory or offer.directory.startswith(f"{directory}/"):
                inner = offer.directory.removeprefix(f"{directory}/" if directory else "").partition("/")[0]
                subdirectories[inner] = max(offer.published, subdirectories.get(inner, offer.published))
        if not files and not subdirectories:
            return None
        entries = [(name, changed, None) for name, changed in sorted(subdirectories.items())]
        return _Page(text=pages.render_listing(path, [*entries, *sorted(files)]))


def _flat_style(era: Era) -> FlatStyle:
    """How flat pages of an era look."""
    changes = (
        (eras.PROJECT_PAGES, FlatStyle.XHTML),
        (eras.FLAT_MENDED, FlatStyle.TEXT),
        (eras.FLAT_UNCLOSED, FlatStyle.UNCLOSED),
        (eras.FLAT_UNQUOTED, FlatStyle.UNQUOTED),
        (eras.FLAT_TEXT, FlatStyle.TEXT),
    )
    return next((style for since, style in changes if era.has(since)), FlatStyle.EMPTY_TEXT)


def _inside(offer: Offer) -> str:
    """The offer's directory within its channel."""
    return offer.directory.removeprefix(offer.channel).removeprefix("/")


def _newest_nightlies(offers: list[Offer]) -> list[Offer]:
    """Keep of one project's nightly builds those that pages list: the newest versions."""
    versions = {Version(offer.filename.split("-")[1]) for offer in offers if offer.channel == "nightly"}
    kept = set(sorted(versions, reverse=True)[:NIGHTLIES_LISTED])
    return [offer for offer in offers if offer.channel != "nightly" or Version(offer.filename.split("-")[1]) in kept]


def _is_below(directory: str, top: str) -> bool:
    return directory == top or directory.startswith(f"{top}/")


def _simple_name(offer: Offer) -> str:
    return canonicalize_name(offer.filename.partition("-")[0])


def _requires_python(metadata: bytes) -> str | None:
    for line in metadata.decode().split("\n\n", 1)[0].splitlines():
        if line.startswith("Requires-Python: "):
            return line.removeprefix("Requires-Python: ")
    return None
