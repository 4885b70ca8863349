"""The generated site: from a specification and an era to what lies at each address of the two hosts."""

from __future__ import annotations

import hashlib
import re
import threading
from typing import TYPE_CHECKING

from pytorch_offline.simulator import eras
from pytorch_offline.simulator.answers import Host
from pytorch_offline.simulator.bodies import FILE_TYPE, PAGE_TYPE, Body, MemoryBody, Page, Resource
from pytorch_offline.simulator.neighbours import JSON_TYPE, DefaultIndex, render_listing
from pytorch_offline.simulator.pages import escape_key
from pytorch_offline.simulator.upstream_pages import UpstreamPages

if TYPE_CHECKING:
    from pytorch_offline.simulator.eras import Era
    from pytorch_offline.simulator.offers import Offer
    from pytorch_offline.simulator.spec import Spec

LIBTORCH = re.compile(r"/libtorch/.+\.zip")


class GeneratedSite:
    """What a specification looks like in an era; pages are made when they are asked for, and kept until it changes.

    Args:
        spec: the wheels.
        era: the date.
        second_url: the second host, without a path; it also serves the default index and the listings.
    """

    def __init__(self, spec: Spec, era: Era, *, second_url: str) -> None:
        self._spec = spec
        self._era = era
        self._second_url = second_url
        self._default_index = DefaultIndex(spec, era.time, second_url)
        self._upstream = UpstreamPages(spec, era, second_url=second_url, origin=self._default_index)
        self._pages: dict[tuple[Host, str, bool], Page | None] = {}
        self._generation = spec.generation
        self._lock = threading.Lock()

    def find(self, host: Host, path: str, *, accept: str) -> Resource | None:
        """Look an address up; ``path`` is decoded and starts with a slash."""
        if host is Host.SECOND and path.startswith("/nvidia/"):
            # NVIDIA's own index, where the link pages of its projects point.
            path = f"/packages/{path.rpartition('/')[2]}"
        if path.startswith("/packages/") and host is Host.FIRST:
            return None
        if host is Host.FIRST and LIBTORCH.fullmatch(path) and self._era.has(eras.LIBTORCH_REDIRECTED):
            return self._redirect(self._second_url + escape_key(path))
        found = self._file(host, path)
        if found is not None:
            return found
        wants_json = JSON_TYPE in accept
        page = self._page(host, path, wants_json=wants_json)
        if page is None:
            return None
        return Resource(
            body=MemoryBody(page.text),
            content_type=page.content_type,
            etag=f'"{hashlib.sha256(page.text).hexdigest()[:32]}"',
            last_modified=self._era.time,
            cache_control=page.cache_control,
        )

    def _redirect(self, url: str) -> Resource:
        return Resource(
            body=MemoryBody(b""), content_type=PAGE_TYPE, etag='""', last_modified=self._era.time, location=url
        )

    def replace(self, path: str, body: bytes) -> None:
        """Put other bytes under a wheel's address, from now on."""
        self._spec.replace_body(path, body)

    # Files

    def _file(self, host: Host, path: str) -> Resource | None:
        if path.startswith("/listing/whl/"):  # a public copy: the same files below another address, without sidecars
            offer = self._spec.find(path.removeprefix("/listing"))
            return None if offer is None else self._resource(host, offer, self._spec.body(offer))
        offer = self._spec.find(path)
        if offer is not None:
            return self._resource(host, offer, self._spec.body(offer))
        owner = self._spec.find(path.removesuffix(".metadata")) if path.endswith(".metadata") else None
        sidecar = None if owner is None else self._spec.sidecar(owner)
        if owner is None or sidecar is None:
            return None
        return self._resource(host, owner, MemoryBody(sidecar))

    def _resource(self, host: Host, offer: Offer, body: Body) -> Resource:
        # An etag is not the same on both hosts (S3's is none of the content, for a file uploaded in parts).
        etag = f'"{body.sha256[:32]}-{1 if host is Host.FIRST else 2}"'
        return Resource(body=body, content_type=FILE_TYPE, etag=etag, last_modified=offer.published)

    # Pages

    def _page(self, host: Host, path: str, *, wants_json: bool) -> Page | None:
        with self._lock:
            if self._generation != self._spec.generation:
                self._pages.clear()
                self._generation = self._spec.generation
            key = (host, path, wants_json)
            if key not in self._pages:
                self._pages[key] = self._render(host, path, wants_json=wants_json)
            return self._pages[key]

    def _render(self, host: Host, path: str, *, wants_json: bool) -> Page | None:
        if host is Host.FIRST:
            return self._upstream.render(path)
        if path.startswith("/simple/"):
            return self._default_index.render(path, wants_json=wants_json)
        if path.startswith("/listing/whl/") and path.endswith("/"):
            return render_listing(self._spec, self._era.time, path)
        return None
