"""Upstream's pages: from a specification, an era and an address to the page, by the generator's rules.

Research/upstream-index.md, section 2 ("How the generator fills pages"), section 3 (page formats) and section 1 (which
addresses get ``index.html`` appended).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from packaging.version import Version

from pytorch_offline.simulator import eras, pages
from pytorch_offline.simulator.bodies import FILE_TYPE, PAGE_TYPE, Page
from pytorch_offline.simulator.neighbours import SERIAL, DefaultIndex
from pytorch_offline.simulator.offers import CHANNELS, DEFAULT_INDEX, Offer
from pytorch_offline.simulator.pages import FlatStyle, Row, escape_key

if TYPE_CHECKING:
    from pytorch_offline.simulator.eras import Era
    from pytorch_offline.simulator.spec import Spec

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
FLAT_PAGE = re.compile(r"torch_(stable|test|nightly|lts)\.html")
ROCM_SEGMENT = re.compile(r"rocm[0-9]+(\.[0-9]+)*")
ROCM_SEGMENT_BEFORE_PATCHES = re.compile(r"rocm[0-9]+\.[0-9]+")
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


class UpstreamPages:
    """The pages that upstream's generator writes from a specification in an era.

    Args:
        spec: the wheels.
        era: the date.
        second_url: the second host, without a path.
        origin: the index whose pages link pages are copies of.
    """

    def __init__(self, spec: Spec, era: Era, *, second_url: str, origin: DefaultIndex) -> None:
        self._spec = spec
        self._era = era
        self._second_url = second_url
        self._origin = origin

    def render(self, path: str) -> Page | None:
        """Write the page at an address, decoded; None where there is none."""
        flat = FLAT_PAGE.fullmatch(path.rpartition("/")[2])
        if flat and path.startswith("/whl/"):
            return self._render_flat(path.removeprefix("/whl/").rpartition("/")[0])
        key = rewritten(path, self._era)
        if not key.startswith("/whl/") or not key.endswith("/index.html") or not self._era.has(eras.PROJECT_PAGES):
            return None
        segments = key.removeprefix("/whl/").removesuffix("index.html").strip("/").split("/")
        segments = [segment for segment in segments if segment]
        channel = segments.pop(0) if segments and segments[0] in CHANNELS else ""
        offers = [offer for offer in self._spec.shown(self._era.time) if self._is_covered(offer, channel)]
        directory = ""
        if segments and any(_is_below(_inside(offer), segments[0]) for offer in offers):
            directory = segments.pop(0)
            offers = [offer for offer in offers if _inside(offer) == "" or _is_below(_inside(offer), directory)]
        if len(segments) > 1:
            return None
        text = self._project_page(offers, segments[0]) if segments else self._project_list(offers, channel, directory)
        if text is None:
            return None
        return Page(text=text, cache_control=self._era.page_cache_control(channel))

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
            everything = self._spec.shown(self._era.time)
            names |= {offer.project for offer in everything if self._is_link_project(offer.project)}
        if not directory and self._era.has(eras.DIRECTORIES_AS_PROJECTS):
            tops = {_inside(offer).partition("/")[0] for offer in self._spec.offers() if offer.channel == channel}
            names |= {top.replace("_", "-") for top in tops - {"", DEFAULT_INDEX}}
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
        rows = self._origin.rows(name)
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
            metadata_sha256=self._spec.metadata_hash(offer) if self._era.has(eras.METADATA) else None,
            requires_python=">=3.10" if by_hand else None,
            upload_time=upload_time,
        )

    def _listed_hash(self, offer: Offer) -> str | None:
        if not self._era.has(eras.HASHES) or offer.hash_listed is False:
            return None
        if offer.channel == "nightly" and self._era.has(eras.NIGHTLY_WITHOUT_HASHES):
            return None
        return offer.hash_listed if isinstance(offer.hash_listed, str) else self._spec.body(offer).sha256

    def _render_flat(self, directory: str) -> Page | None:
        era = self._era
        offers = [
            offer
            for offer in self._spec.shown(self._era.time)
            if offer.directory != DEFAULT_INDEX and offer.channel == ""
        ]
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
        return Page(text=text, content_type=FILE_TYPE if style is FlatStyle.UNQUOTED else PAGE_TYPE)


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
