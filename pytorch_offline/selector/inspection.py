"""Learn what a wheel's own libraries say, as cheaply as it goes: what the catalogue holds, else by ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.wheels.inspection import Inspection

if TYPE_CHECKING:
    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.crawler.model import IndexFile
    from pytorch_offline.net import Http


class Inspector:
    """Looks into wheels for one run; whatever goes wrong becomes ``Inspection.unread``, never an exception.

    Args:
        offline: ask no server; tell what the catalogue holds.
    """

    def __init__(self, *, http: Http, catalogue: Catalogue, offline: bool) -> None:
        self._http = http
        self._catalogue = catalogue
        self._offline = offline

    def inspect(self, file: IndexFile) -> Inspection:
        """Say what the libraries of this very wheel say."""
        return Inspection(unread=f"{file.name.filename} cannot be read by ranges yet")
