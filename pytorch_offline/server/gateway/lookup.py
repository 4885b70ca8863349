"""Looks for the wheel that a client asks for by its path, in the catalogue and on upstream's pages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.server.gateway.finding import listed_at, said_of
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.crawler.model import IndexFile
    from pytorch_offline.crawler.reading import PageReading
    from pytorch_offline.server.gateway.finding import Indexes
    from pytorch_offline.server.gateway.readings import Readings
    from pytorch_offline.server.gateway.threads import Threads


class Lookup:
    """Finds wheels by their place in the tree.

    Args:
        indexes: what is asked.
        readings: upstream's pages.
        catalogue: what pages said.
        threads: to work in.
    """

    def __init__(self, indexes: Indexes, *, readings: Readings, catalogue: Catalogue, threads: Threads) -> None:
        self._indexes = indexes
        self._readings = readings
        self._catalogue = catalogue
        self._threads = threads

    async def find(self, path: PurePosixPath) -> IndexFile | None:
        """Find the wheel that belongs at a path: in what pages are known to say, else on the pages that may list it.

        Raises:
            PytorchOfflineError: a page that may list it cannot be asked for.
        """
        found = await self._threads.run(partial(self._remembered, path))
        failure: PytorchOfflineError | None = None
        for url in () if found is not None else self._indexes.pages_that_may_list(path):
            try:
                known = await self._readings.read(url)
            except PytorchOfflineError as error:
                failure = failure or error
                continue
            found = await self._threads.run(partial(self._listed, path, known.reading))
            if found is not None:
                break
        if found is None and failure is not None:
            raise failure
        return found

    def _remembered(self, path: PurePosixPath) -> IndexFile | None:
        try:
            said = said_of(path, self._catalogue.history(f"/{path}"), self._indexes)
            return said or said_of(path, self._catalogue.sayings_of(path.name), self._indexes)
        finally:
            self._catalogue.close()

    def _listed(self, path: PurePosixPath, reading: PageReading) -> IndexFile | None:
        name = parse_wheel_name(path.name)
        try:
            files = reading.wheels.files(name.project, versions=lambda version: version == name.version)
        finally:
            self._catalogue.close()
        return listed_at(path, files, self._indexes)
