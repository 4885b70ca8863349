"""Answers that are one sentence: to what makes no sense, is too much, or went wrong here."""

from __future__ import annotations

import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong

from pytorch_offline import __version__

if TYPE_CHECKING:
    from aiohttp.http_exceptions import BadHttpMessage

    from pytorch_offline.server.listening.limits import Limits

_SERVER = {hdrs.SERVER: f"pytorch-offline/{__version__}"}


def plain(status: HTTPStatus, sentence: str | None = None, **headers: str) -> web.Response:
    """Make a response that is one sentence; ``Retry_After`` is the header ``Retry-After``."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, text=f"{sentence or status.phrase}\n", headers=_SERVER | fields)


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
