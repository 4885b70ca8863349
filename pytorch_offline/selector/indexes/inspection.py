"""Learn what a wheel's own libraries say, as cheaply as it goes: what the catalogue holds, else by ranges.

Nothing here is worth a failure, a long wait or a whole wheel: a table serves where a wheel cannot be read. So each
thing is tried once, with little patience, and a host that did not answer is not asked again in the same run.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.net import Timeouts
from pytorch_offline.wheels.inspection import Inspection, is_worth_inspecting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.crawler.model import IndexFile, Link
    from pytorch_offline.net import Http

# A few megabytes that would be nice to have: who does not begin to answer within these seconds is let be.
HURRIED = Timeouts(connect=5.0, read=10.0, whole=20.0)
# Measured: 0.3 to 2 s for a wheel. At 0.2 MB/s a torch wheel still comes through.
SECONDS_FOR_A_WHEEL = 60.0
# Errors that are the one file's own; after any other the host is not asked again.
_OF_THE_FILE = frozenset({"file-absent", "changed-while-read", "bad-archive", "size-mismatch", "bad-url"})


class Inspector:
    """Looks into wheels for one run; whatever goes wrong becomes ``Inspection.unread``, never an exception.

    Args:
        offline: ask no server; tell what the catalogue holds.
        addresses: says where a wheel may be had, its own address first.
    """

    def __init__(
        self,
        *,
        http: Http,
        catalogue: Catalogue,
        offline: bool,
        addresses: Callable[[IndexFile], Sequence[str]] = lambda file: (file.link.url,),
    ) -> None:
        self._http = http.hurried(HURRIED)
        self._catalogue = catalogue
        self._offline = offline
        self._addresses = addresses
        self._known: dict[Link, Inspection] = {}
        self._silent: dict[str, str] = {}
        self._lock = threading.Lock()

    def inspect(self, file: IndexFile) -> Inspection:
        """Say what the libraries of this very wheel say."""
        if not is_worth_inspecting(file.name):
            return Inspection()
        with self._lock:  # one at a time: the second question about a host profits from the first one's answer
            if file.link not in self._known:
                self._known[file.link] = self._look_up(file)
            return self._known[file.link]

    def _look_up(self, file: IndexFile) -> Inspection:
        known = self._catalogue.inspection(file.link)
        if known is not None:
            return known
        if self._offline:
            return Inspection(unread="the catalogue does not hold it, and nothing is asked of the network")
        from pytorch_offline.wheels.remote_inspection import fetch_inspection  # noqa: PLC0415  (few wheels are read)

        unread = ""
        for url in self._addresses(file):
            host = urlsplit(url).netloc
            if host in self._silent:
                unread = unread or self._silent[host]
                continue
            try:
                inspection = fetch_inspection(
                    self._http, url, file.name, expected_size=file.link.size, seconds=SECONDS_FOR_A_WHEEL
                )
            except PytorchOfflineError as error:
                if error.code not in _OF_THE_FILE:
                    self._silent[host] = error.message
                unread = unread or error.message
            else:
                self._catalogue.store_inspection(file.link, inspection)
                return inspection
        return Inspection(unread=unread)
