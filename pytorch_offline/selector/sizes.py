"""Learn how large the chosen wheels are: upstream's pages do not say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pytorch_offline.byte_ranges import complete_length
from pytorch_offline.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytorch_offline.net import Http
    from pytorch_offline.selector.model import Selection

# As many as a browser opens to one host.
PARALLEL_REQUESTS = 6


class KnownSizes:
    """Sizes that were learnt so far; each wheel is asked about once. Without ``http`` nothing is asked."""

    def __init__(self, http: Http | None) -> None:
        self._http = http
        self._asked: set[str] = set()
        self._sizes: dict[str, int] = {}

    def __call__(self, selections: Iterable[Selection]) -> Mapping[str, int]:
        """Map the addresses of wheels whose page states no size to their sizes in bytes, by asking for the first byte.

        A server that does not tell leaves its wheel out: a size that is not known is no reason to fail.
        """
        if self._http is not None:
            links = (choice.candidate.file.link for selection in selections for choice in selection.choices)
            unknown = {link.url for link in links if link.size is None} - self._asked
            self._asked |= unknown
            self._sizes.update(_ask(unknown, self._http))
        return self._sizes


def _ask(urls: Iterable[str], http: Http) -> dict[str, int]:
    def ask(url: str) -> tuple[str, int | None]:
        try:
            with http.stream(url, headers={"Range": "bytes=0-0"}) as stream:
                return url, complete_length(stream.status, stream.headers)
        except UpstreamError:
            return url, None

    with ThreadPoolExecutor(PARALLEL_REQUESTS, thread_name_prefix="size") as pool:
        return {url: size for url, size in pool.map(ask, sorted(urls)) if size is not None}
