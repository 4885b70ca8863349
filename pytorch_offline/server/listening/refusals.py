"""Answers that are one sentence: to what makes no sense, is too much, or went wrong here."""

from __future__ import annotations

import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import hdrs
from aiohttp.http_exceptions import LineTooLong

from pytorch_offline import __version__
from pytorch_offline.mirror.served_as import REVALIDATED, TEXT_TYPE
from pytorch_offline.server.repeats import Repeatable

if TYPE_CHECKING:
    from aiohttp.http_exceptions import BadHttpMessage

    from pytorch_offline.server.listening.limits import Limits

SERVER = (hdrs.SERVER, f"pytorch-offline/{__version__}")
_FIELDS = {
    hdrs.CONTENT_TYPE: TEXT_TYPE,
    hdrs.CACHE_CONTROL: REVALIDATED,
    "X-Content-Type-Options": "nosniff",
}


def plain(status: HTTPStatus, *fields: tuple[str, str], sentence: str | None = None) -> Repeatable:
    """Make a response that is one sentence for people, the status's own if there is no better one.

    ``fields`` are sent beside the usual ones, or in their place.
    """
    return Repeatable(
        status=status,
        body=f"{sentence or status.phrase}\n".encode("utf-8", "backslashreplace"),
        headers=[*(_FIELDS | dict(fields)).items(), SERVER],
    )


def status_of(error: BadHttpMessage, limits: Limits) -> HTTPStatus:
    """Say which status fits what the parser refused (RFC 9110, 15.5.15; RFC 6585, 5)."""
    if isinstance(error, LineTooLong):
        of_target = error.args[1] == limits.line_bytes
        return HTTPStatus.REQUEST_URI_TOO_LONG if of_target else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    if error.message.startswith("Too many headers"):
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    return HTTPStatus.BAD_REQUEST


def told(fault: BaseException) -> str:
    """Tell of a fault in a line: what, and where it arose."""
    frames = traceback.extract_tb(fault.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(fault).__name__}: {' '.join(str(fault).split())[:300]}{where}"
