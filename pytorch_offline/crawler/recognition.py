"""Find out what kind of index answers at an address, by what its pages say."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from packaging.utils import NormalizedName

from pytorch_offline.addresses import redacted
from pytorch_offline.crawler.hrefs import parse_base, resolve
from pytorch_offline.crawler.model import PageKind
from pytorch_offline.crawler.upstream import CHANNELS, Layout, Upstream, known_backends
from pytorch_offline.disk_errors import DISK_CODES
from pytorch_offline.errors import UpstreamError, UsageError
from pytorch_offline.wheels.backend import CPU, is_backend

if TYPE_CHECKING:
    from pytorch_offline.crawler.reader import IndexReader
    from pytorch_offline.crawler.reading import PageReading

# The page that tells layouts apart, once `cpu/` has not: any index worth reading here has it.
_WITNESS = NormalizedName("torch")


def recognise_upstream(reader: IndexReader, base_url: str, channel: str = "stable") -> Upstream:
    """Find out what kind of index answers at ``base_url``, by its pages and in at most four requests.

    Raises:
        UsageError: ``unknown-channel``; ``bad-url``.
        UpstreamError: ``no-index-here`` if none of the pages that an index would have is there; what the reader raises
            when upstream cannot be reached.
    """
    if channel not in CHANNELS:
        raise UsageError("unknown-channel", f"{channel!r} is not a channel", hint=f"channels: {', '.join(CHANNELS)}")
    parse_base(base_url)
    if urlsplit(base_url).path.lower().endswith((".html", ".htm")):
        return _recognised_flat(reader, base_url, channel)
    root = base_url.rstrip("/") + "/" + CHANNELS[channel]
    backend_page = _try(reader, f"{root}{CPU}/")
    if backend_page is not None and backend_page.kind is PageKind.PROJECT_LIST:
        return _by_backend(reader, root, Layout.BACKENDS, channel)
    if backend_page is not None and _offers(backend_page, _WITNESS):
        return _by_backend(reader, root, Layout.FLAT, channel)
    # A plain index may have a project that is called `cpu`. Its root page may hold hundreds of thousands of projects,
    # so a project page is asked for first.
    witness = _try(reader, f"{root}{_WITNESS}/")
    if witness is not None and witness.kind is PageKind.FILES:
        if any(is_backend(directory) for directory in _directories(witness, root)):
            return _by_backend(reader, root, Layout.BACKENDS, channel)
        return Upstream(root=root, layout=Layout.SIMPLE, channel=channel)
    whole = _try(reader, root)
    if whole is None or whole.kind is None:
        raise UpstreamError(
            "no-index-here",
            f"no package index answers at {redacted(root)}",
            facts={"asked for": ", ".join(redacted(url) for url in (f"{root}{CPU}/", f"{root}{_WITNESS}/", root))},
            hint="name the address whose pages list projects or wheels",
        )
    shown = next((name for name in whole.projects if is_backend(name)), None)
    if shown is not None:
        inside = _try(reader, f"{root}{shown}/")
        is_flat = inside is not None and inside.kind is PageKind.FILES
        return _by_backend(reader, root, Layout.FLAT if is_flat else Layout.BACKENDS, channel)
    layout = Layout.FLAT if whole.kind is PageKind.FILES else Layout.SIMPLE
    return Upstream(root=root, layout=layout, channel=channel)


def _by_backend(reader: IndexReader, root: str, layout: Layout, channel: str) -> Upstream:
    """Describe an index with a directory per backend; its root page may be missing, and takes nothing away."""
    try:
        shown = reader.read(root).projects
    except UpstreamError as error:
        if error.code in DISK_CODES:
            raise
        shown = ()
    return Upstream(root=root, layout=layout, channel=channel, by_backend=True, backends=known_backends(channel, shown))


def _recognised_flat(reader: IndexReader, url: str, channel: str) -> Upstream:
    page = reader.read(url)
    if page.kind is not PageKind.FILES:
        raise UpstreamError("no-index-here", f"{redacted(url)} lists no files", facts={"url": redacted(url)})
    return Upstream(root=url, layout=Layout.FLAT, channel=channel)


def _try(reader: IndexReader, url: str) -> PageReading | None:
    """Read a page that need not be there; None where something else than an index page answers."""
    try:
        return reader.read(url)
    except UpstreamError as error:
        if error.code in {"not-an-index-page", "not-in-catalogue", "unexpected-status"}:
            return None
        raise


def _offers(page: PageReading, project: NormalizedName) -> bool:
    return page.wheels.lists(project)


def _directories(page: PageReading, root: str) -> set[str]:
    """Name the directories right below the root in which a page's files lie."""
    start = _decoded_path(root)
    rests = (file.link.path.removeprefix(start) for file in page.files if file.link.path.startswith(start))
    return {rest.partition("/")[0] for rest in rests if "/" in rest}


def _decoded_path(root: str) -> str:
    return resolve(parse_base(root), "./").path
