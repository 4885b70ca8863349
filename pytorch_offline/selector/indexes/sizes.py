"""Learn how large the chosen wheels are: upstream's pages do not say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytorch_offline.byte_ranges import complete_length
from pytorch_offline.crawler.freshness import fresh_until
from pytorch_offline.errors import UpstreamError
from pytorch_offline.selector.indexes.inspection import HURRIED
from pytorch_offline.selector.indexes.side_by_side import SideBySide

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.crawler.model import Link
    from pytorch_offline.net import Http
    from pytorch_offline.selector.model import Selection

# As many as a browser opens to one host.
PARALLEL_REQUESTS = 6
# The errors that mean "nobody answered", after which the same host is not asked about its other wheels.
_NO_ANSWER = frozenset({"unreachable", "tls-error", "bad-proxy", "proxy-refused", "transfer-broken", "stalled"})


class KnownSizes:
    """Sizes of wheels: as the catalogue keeps them, or as their servers say, which the catalogue then keeps.

    Args:
        http: asks about each wheel once; None to ask nothing.
        catalogue: what earlier runs learnt. Online it is believed where a hash names the bytes; what an address has may
            have changed, so that is asked again.
        trusting: believe it of an address too for as long as its server's answer is fresh.
        now: the time, in UTC.
    """

    def __init__(
        self,
        http: Http | None,
        catalogue: Catalogue,
        *,
        trusting: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._http = None if http is None else http.hurried(HURRIED)
        self._catalogue = catalogue
        self._trusting = trusting
        self._now = now
        self._looked_up: set[Link] = set()
        self._silent: set[str] = set()
        self._sizes: dict[str, int] = {}

    def __call__(self, selections: Iterable[Selection]) -> Mapping[str, int]:
        """Map the addresses of wheels whose page states no size to their sizes in bytes, where those are known.

        A server that does not tell leaves its wheel out: a size that is not known is no reason to fail.
        """
        links = (choice.candidate.file.link for selection in selections for choice in selection.choices)
        unknown = {link for link in links if link.size is None} - self._looked_up
        self._looked_up |= unknown
        kept = {link: size for link in unknown if (size := self._catalogue.wheel_size(link)) is not None}
        self._sizes.update((link.url, size) for link, size in kept.items())
        if self._http is not None:
            asked = self._ask(self._http, [link for link in unknown if not self._is_believed(link, kept)])
            self._sizes.update((link.url, size) for link, (size, _) in asked.items())
            if asked:
                self._catalogue.store_wheel_sizes(
                    {link: size for link, (size, _) in asked.items()},
                    fresh_until={link: until for link, (_, until) in asked.items()},
                )
        return self._sizes

    def _is_believed(self, link: Link, kept: Mapping[Link, int]) -> bool:
        if link not in kept or link.sha256 is not None:
            return link in kept
        return self._trusting and self._catalogue.wheel_size(link, fresh_at=self._now()) is not None

    def _ask(self, http: Http, links: Collection[Link]) -> dict[Link, tuple[int, datetime | None]]:
        """Ask for the first byte of each wheel; the answer says how many there are, and for how long that holds."""
        if not links:
            return {}

        def ask(link: Link) -> tuple[Link, int | None, datetime | None]:
            host = urlsplit(link.url).netloc
            if host in self._silent:
                return link, None, None
            try:
                with http.stream(link.url, headers={"Range": "bytes=0-0"}) as stream:
                    until = fresh_until(stream.headers, now=self._now(), heuristic=True)
                    return link, complete_length(stream.status, stream.headers), until
            except UpstreamError as error:
                if error.code in _NO_ANSWER:
                    self._silent.add(host)
                return link, None, None

        threads = SideBySide(PARALLEL_REQUESTS, "size")
        try:
            answers = threads.each(ask, sorted(links, key=lambda link: link.url))
        finally:
            threads.close()
        return {link: (size, until) for link, size, until in answers if size is not None}
