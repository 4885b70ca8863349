"""Requirements files and locks, from disk or from an address."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from pytorch_offline.addresses import redacted
from pytorch_offline.crawler.default_index import SILENT, Reach, configured_http
from pytorch_offline.errors import UpstreamError, UsageError
from pytorch_offline.net import MAX_SMALL_BODY


def read_location(location: str, *, reach: Reach = SILENT) -> bytes:
    """Read a requirements file or a lock.

    Raises:
        UsageError: ``bad-requirements-file``.
        UpstreamError: what ``Http.get`` raises; ``unexpected-status``.
    """
    if not location.lower().startswith(("http:", "https:", "file:")):
        try:
            with Path(location).open("rb") as file:
                body = file.read(MAX_SMALL_BODY + 1)
        except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(
                "bad-requirements-file", f"requirements file {location} cannot be read: {reason}"
            ) from error
        if len(body) > MAX_SMALL_BODY:
            raise UsageError(
                "bad-requirements-file", f"requirements file {location} has more than {MAX_SMALL_BODY} bytes"
            )
        return body
    with configured_http(reach=reach) as http:
        response = http.get(location)
    if response.status != HTTPStatus.OK:
        raise UpstreamError(
            "unexpected-status", f"requirements file {redacted(location)} cannot be had: answer {response.status}"
        )
    return response.body
