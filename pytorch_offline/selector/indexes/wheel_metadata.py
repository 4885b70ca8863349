"""Get the METADATA of one exact wheel, by the cheapest way that can be trusted.

In order: what the catalogue already holds; the sidecar file that the page advertises (PEP 658), if its hash agrees; the
wheel's own zip directory by range requests; the whole wheel. METADATA differs between files of one version
(research/selectors.md, section 4), so it is never taken from a sibling.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytorch_offline.addresses import redacted
from pytorch_offline.crawler.hosts import at_one_of
from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.errors import IntegrityError, UpstreamError
from pytorch_offline.wheels.other_bodies import LOGIN_HINT, describe_body, is_page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.crawler.hosts import Hosts
    from pytorch_offline.crawler.model import IndexFile, Link
    from pytorch_offline.net import Http

# No METADATA seen upstream is above 100 KB; PyPI's own limit for the field set is of this order.
MAX_METADATA = 8 * 1024 * 1024
_OK = 200


def fetch_wheel_metadata(
    file: IndexFile,
    *,
    http: Http,
    catalogue: Catalogue,
    scratch: Path | None,
    offline: bool,
    urls: Sequence[str],
    hosts: Hosts,
) -> bytes:
    """Return the wheel's METADATA, and remember it in the catalogue.

    Args:
        file: the wheel.
        http: the network.
        catalogue: what is known, and where to write it down.
        scratch: a directory for a whole wheel, where nothing less will do; None to do without.
        offline: ask nobody.
        urls: where the wheel may be had, its own address first.
        hosts: which hosts are out of order.

    Raises:
        UpstreamError: ``not-in-catalogue`` when offline and unknown; else what the last way said.
        IntegrityError: the wheel is broken, or its bytes disagree with the published hash.
    """
    link = file.link
    known = catalogue.metadata(link)
    if known is not None:
        return known
    if offline:
        raise UpstreamError(
            "not-in-catalogue",
            f"the METADATA of {link.filename} is not in the catalogue",
            hint="run the same command once without --offline",
        )
    body, source = at_one_of(urls, http, hosts, lambda client, url: _had_at(url, file, client, scratch))
    catalogue.store_metadata(link, body, source)
    return body


def _had_at(url: str, file: IndexFile, http: Http, scratch: Path | None) -> tuple[bytes, str]:
    """Get the METADATA from one address, and say by which way."""
    there = replace(file, link=replace(file.link, url=url))
    body = _sidecar(there.link, http)
    if body is not None:
        return body, "sidecar"
    from pytorch_offline.wheels.remote_zip import fetch_metadata_by_ranges  # noqa: PLC0415  (first readings alone)

    try:
        return fetch_metadata_by_ranges(http, url, file.name, expected_size=file.link.size), "ranges"
    except UpstreamError as error:
        if error.code != "ranges-not-served" or scratch is None:
            raise
    with disk_errors(scratch, called="directory"):
        return _from_whole_wheel(there, http, scratch), "wheel"


def _sidecar(link: Link, http: Http) -> bytes | None:
    """Fetch ``<wheel>.metadata``; None if it is not there or not what the page says (pytorch#197552)."""
    if not link.has_metadata:
        return None
    try:
        address = urlsplit(link.url)
        response = http.get(address._replace(path=f"{address.path}.metadata").geturl(), max_bytes=MAX_METADATA)
    except UpstreamError as error:
        if error.code in {"unreachable", "bad-proxy", "proxy-refused"}:
            raise
        return None
    if response.status != _OK:
        return None
    if link.metadata_sha256 is not None and hashlib.sha256(response.body).hexdigest() != link.metadata_sha256:
        return None
    if not response.body.lower().startswith(b"metadata-version:") and link.metadata_sha256 is None:
        return None  # a login or challenge page with status 200
    return response.body


def _from_whole_wheel(file: IndexFile, http: Http, scratch: Path) -> bytes:
    """Download the wheel into ``scratch``, check it, read its METADATA, and remove it again."""
    # The last resort, for servers without ranges.
    import tempfile  # noqa: PLC0415

    from pytorch_offline.wheels.archive import check_archive  # noqa: PLC0415

    scratch.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    # It has no name, or loses it when it is closed: a killed run leaves nothing.
    with tempfile.TemporaryFile(dir=scratch) as sink, http.stream(file.link.url) as stream:
        if stream.status != _OK:
            raise UpstreamError(
                "file-absent",
                f"{file.link.filename} is listed, but its address answers {stream.status}",
                facts={"url": redacted(file.link.url)},
            )
        for chunk in stream.iter_chunks():
            digest.update(chunk)
            sink.write(chunk)
        sink.flush()
        sink.seek(0)
        first = sink.read(4096)
        if is_page(first):
            kind = stream.headers.get("Content-Type")
            raise UpstreamError(
                "not-a-wheel-body",
                f"{redacted(file.link.url)} gave no wheel but {describe_body(first, kind)}",
                facts={"file": file.link.filename, "url": redacted(stream.url)},
                hint=LOGIN_HINT,
            )
        if file.link.sha256 is not None and digest.hexdigest() != file.link.sha256:
            raise IntegrityError(
                "hash-mismatch",
                f"{file.link.filename} does not have the hash that its page publishes",
                facts={
                    "url": redacted(file.link.url),
                    "published": file.link.sha256,
                    "received": digest.hexdigest(),
                },
            )
        sink.seek(0)
        report = check_archive(sink, file.name, deep=False)
        if report.problems:
            raise IntegrityError(
                "bad-archive",
                f"{file.link.filename} is not a sound wheel",
                facts={"url": redacted(file.link.url)} | {p.code: f"{p.member}: {p.detail}" for p in report.problems},
            )
        return report.metadata
