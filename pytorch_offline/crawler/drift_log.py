"""The drift log: what hosts gave, noted in the catalogue beside what pages published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.addresses import url_path, without_credentials
from pytorch_offline.crawler.drift import contents_of, facts_of_fate, facts_of_mismatch
from pytorch_offline.crawler.model import Receipt
from pytorch_offline.moments import spell_moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.crawler.drift import Content
    from pytorch_offline.crawler.model import Observation


class DriftLog:
    """Where whoever fetches notes what hosts gave, and asks what is known of a file whose bytes are wrong.

    The catalogue is open no longer than each of these takes: while files fill the disk, an open one could end the
    process (``database.insist_on_room``).
    """

    def __init__(self, catalogue: Catalogue, *, now: Callable[[], datetime]) -> None:
        self._catalogue = catalogue
        self._now = now

    def note(self, url: str, *, sha256: str, size: int, etag: str | None, last_modified: str | None) -> None:
        """Note what a host gave for a file, right or wrong."""
        moment = spell_moment(self._now())
        receipt = Receipt(
            path=url_path(url),
            url=without_credentials(url),
            sha256=sha256,
            size=size,
            etag=etag,
            last_modified=last_modified,
            first_seen=moment,
            last_seen=moment,
        )
        try:
            self._catalogue.store_receipt(receipt)
        finally:
            self.rest()

    def facts(self, url: str, *, published: str | None, other: str, called: str) -> dict[str, object]:
        """Say what is known of two hashes of the file at an address, as ``facts_of_mismatch``."""
        sayings, receipts = self._known(url)
        return facts_of_mismatch(published=published, other=other, called=called, sayings=sayings, receipts=receipts)

    def rest(self) -> None:
        """Close the catalogue until the next call."""
        self._catalogue.close()

    def contents(self, url: str) -> tuple[Content, ...]:
        """Give the contents that the file at an address is known to have had, the oldest first."""
        return contents_of(*self._known(url))

    def fate(self, url: str) -> dict[str, object]:
        """Say what became of the file at an address, as ``facts_of_fate``."""
        return facts_of_fate(*self._known(url))

    def _known(self, url: str) -> tuple[tuple[Observation, ...], tuple[Receipt, ...]]:
        path = url_path(url)
        try:
            return self._catalogue.history(path), self._catalogue.receipts(path)
        finally:
            self.rest()
