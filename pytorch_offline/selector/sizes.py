"""Learn how large the chosen wheels are: upstream's pages do not say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pytorch_offline.byte_ranges import complete_length
from pytorch_offline.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytorch_offline.net import Http
    from pytorch_offline.selector.model import Selection

# As many as a browser opens to one host.
PARALLEL_REQUESTS = 6


def fetch_sizes(selections: Iterable[Selection], http: Http) -> dict[str, int]:
    """Ask for the first byte of each wheel whose page states no size; map its address to its size in bytes.

    A server that does not tell leaves its wheel out: a size that is not known is no reason to fail.
    """
    links = (choice.candidate.file.link for selection in selections for choice in selection.choices)
    unknown = sorted({link.url for link in links if link.size is None})

    def ask(url: str) -> tuple[str, int | None]:
        try:
            with http.stream(url, headers={"Range": "bytes=0-0"}) as stream:
                return url, complete_length(stream.status, stream.headers)
        except UpstreamError:
            return url, None

    with ThreadPoolExecutor(PARALLEL_REQUESTS, thread_name_prefix="size") as pool:
        return {url: size for url, size in pool.map(ask, unknown) if size is not None}
