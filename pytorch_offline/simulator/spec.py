"""The specification of an upstream: which wheels it offers; tests add their own and change it while it is served."""

from __future__ import annotations

import hashlib
import io
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pytorch_offline.simulator.bodies import Body, FileBody, MemoryBody, read_wheel_metadata
from pytorch_offline.simulator.offers import DEFAULT_INDEX, Offer, core_facts, read_offers
from pytorch_offline.simulator.stand_ins import CoreFacts, build_wheel, stand_in_modules
from pytorch_offline.simulator.torch_libraries import torch_libraries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Wheels that a test adds without a date are on every era's pages.
ALWAYS = datetime(2018, 1, 1, tzinfo=UTC)


class Spec:
    """What an upstream offers; empty at first. Safe from many threads.

    ``generation`` grows with every change, so that pages made from an older one can be thrown away.
    """

    def __init__(self, offers: Iterable[Offer] = ()) -> None:
        self._offers = {offer.path: offer for offer in offers}
        self._bodies: dict[str, Body] = {}
        self._metadata: dict[str, bytes] = {}
        self._lock = threading.RLock()
        self.generation = 0

    @classmethod
    def default(cls) -> Self:
        """Real names and real requirements: torch 1.0 to 2.13, its family, and what they need."""
        return cls(read_offers())

    def add_wheel(
        self,
        directory: str,
        filename: str,
        *,
        requires: Iterable[str] | None = None,
        requires_python: str | None = None,
        extras: Iterable[str] = (),
        body: bytes | Path | None = None,
        modules: Mapping[str, bytes] | None = None,
        padding: int = 0,
        architectures: Iterable[str] | None = None,
        glibc: tuple[int, int] | None = None,
        published: datetime = ALWAYS,
        hash_listed: bool | str = True,
        metadata_sidecar: bool | bytes = True,
        listed: bool = True,
        yanked: str | None = None,
    ) -> Offer:
        """Add a wheel, or replace the one at the same address.

        Args:
            directory: below ``/whl``: ``cu121``, empty for the root, ``nightly/cu126``; ``simple`` for the default
                index.
            filename: the wheel's name, with ``+``.
            requires: Requires-Dist lines; None for those of the real file, where the tables know it.
            requires_python: Requires-Python.
            extras: Provides-Extra.
            body: the wheel itself, or where it lies on disk; None for a stand-in.
            modules: a stand-in's members besides ``.dist-info``.
            padding: bytes that make a stand-in longer.
            architectures: what a stand-in of torch says that it was built for; None for the tables' list.
            glibc: which glibc a stand-in of torch needs; None for the tables' word.
            published: from when on pages show it.
            hash_listed: False where pages give no hash; a hash in hex where they give a wrong one.
            metadata_sidecar: whether there is a ``.metadata`` file; other bytes for one that differs from METADATA.
            listed: False for a file that can be had and that no page shows.
            yanked: PEP 592's reason, on the default index.
        """
        facts = None
        if requires is not None or requires_python is not None:
            facts = CoreFacts(requires=tuple(requires or ()), requires_python=requires_python, extras=tuple(extras))
        made = FileBody(body) if isinstance(body, Path) else None if body is None else MemoryBody(body)
        offer = Offer(
            directory=directory,
            filename=filename,
            published=published,
            facts=facts,
            body=made,
            modules=modules,
            padding=padding,
            architectures=None if architectures is None else tuple(architectures),
            glibc=glibc,
            hash_listed=hash_listed,
            sidecar=metadata_sidecar,
            listed=listed,
            yanked=yanked,
        )
        self._put(offer)
        return offer

    def add_default(self, filename: str, *, requires: Iterable[str] = (), requires_python: str | None = None) -> Offer:
        """Add a stand-in to the default index."""
        return self.add_wheel(DEFAULT_INDEX, filename, requires=requires, requires_python=requires_python)

    def remove(self, path: str) -> None:
        """Take a wheel away, given by its path."""
        with self._lock:
            del self._offers[path]
            self._forget(path)

    def replace_body(self, path: str, body: bytes) -> None:
        """Put other bytes under the same address; pages will show their hash."""
        with self._lock:
            self._put(replace(self._offers[path], body=MemoryBody(body)))

    def change(self, path: str, **changes: object) -> Offer:
        """Change fields of an offer, given by its path, such as ``listed=False``."""
        with self._lock:
            offer: Offer = replace(self._offers[path], **changes)  # type: ignore[arg-type]
            self._put(offer)
            return offer

    def _put(self, offer: Offer) -> None:
        with self._lock:
            self._offers[offer.path] = offer
            self._forget(offer.path)

    def _forget(self, path: str) -> None:
        self._bodies.pop(path, None)
        self._metadata.pop(path, None)
        self.generation += 1

    def offers(self) -> list[Offer]:
        """All offers."""
        with self._lock:
            return list(self._offers.values())

    def shown(self, moment: datetime) -> list[Offer]:
        """The offers that pages of a moment show."""
        return [offer for offer in self.offers() if offer.listed and offer.published <= moment]

    def find(self, path: str) -> Offer | None:
        """The offer at a path."""
        with self._lock:
            return self._offers.get(path)

    def body(self, offer: Offer) -> Body:
        """The wheel itself, built the first time that it is asked for."""
        if offer.body is not None:
            return offer.body
        with self._lock:
            known = self._bodies.get(offer.path)
            if known is None:
                facts = offer.facts or core_facts(offer.directory, offer.filename)
                modules = _torch_members(offer) if offer.project == "torch" else offer.modules
                data = build_wheel(offer.filename, facts, modules=modules, padding=offer.padding)
                known = self._bodies[offer.path] = MemoryBody(data)
            return known

    def metadata(self, offer: Offer) -> bytes:
        """The wheel's own METADATA.

        Raises:
            IntegrityError: ``bad-wheel`` if the body given is no wheel.
        """
        with self._lock:
            known = self._metadata.get(offer.path)
            if known is None:
                body = self.body(offer)
                if isinstance(body, FileBody):
                    with body.path.open("rb") as file:
                        known = read_wheel_metadata(file)
                else:
                    known = read_wheel_metadata(io.BytesIO(body.read(0, body.size)))
                self._metadata[offer.path] = known
            return known

    def sidecar(self, offer: Offer) -> bytes | None:
        """The ``.metadata`` file beside a wheel, where there is one."""
        if isinstance(offer.sidecar, bytes):
            return offer.sidecar
        return self.metadata(offer) if offer.sidecar else None

    def metadata_hash(self, offer: Offer) -> str | None:
        """The hash that pages state of METADATA as it was uploaded; a sidecar of other bytes does not agree with it."""
        return None if offer.sidecar is False else hashlib.sha256(self.metadata(offer)).hexdigest()


def _torch_members(offer: Offer) -> Mapping[str, bytes]:
    """Make a stand-in's members: those given, or the default ones with the libraries that tell the facts of a build."""
    if offer.modules is not None and offer.architectures is None and offer.glibc is None:
        return offer.modules
    distribution, version = offer.filename.split("-")[:2]
    modules = stand_in_modules(distribution, version) if offer.modules is None else offer.modules
    libraries = torch_libraries(
        offer.directory,
        offer.filename,
        by_backend=offer.directory != DEFAULT_INDEX,
        architectures=offer.architectures,
        glibc=offer.glibc,
    )
    return {**modules, **libraries}
