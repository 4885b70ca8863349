"""Requirements files and locks, from disk or from an address."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from pytorch_offline.addresses import redacted
from pytorch_offline.crawler.default_index import configured_http
from pytorch_offline.errors import UpstreamError, UsageError


def read_location(location: str) -> bytes:
    """Read a requirements file or a lock.

    Raises:
        UsageError: ``bad-requirements-file``.
        UpstreamError: what ``Http.get`` raises; ``unexpected-status``.
    """
    if not location.lower().startswith(("http:", "https:", "file:")):
        try:
            return Path(location).read_bytes()
        except OSError as error:
            raise UsageError(
                "bad-requirements-file", f"requirements file {location} cannot be read: {error.strerror}"
            ) from error
    with configured_http() as http:
        response = http.get(location)
    if response.status != HTTPStatus.OK:
        raise UpstreamError(
            "unexpected-status", f"requirements file {redacted(location)} cannot be had: answer {response.status}"
        )
    return response.body
