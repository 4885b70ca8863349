"""When a request is tried again, and after how long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from pytorch_offline.addresses import redacted_text
from pytorch_offline.moments import parse_http_date

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pytorch_offline.errors import UpstreamError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When to try again, and after how many seconds.

    A failure to connect is tried ``connect_tries`` times: a refused name does not get better by waiting. Resets, cut
    bodies, 429 and 5xx are tried ``tries`` times. The waits between them double from ``first_wait`` to ``longest_wait``
    (which also bounds what ``Retry-After`` may ask for), less up to half at random so that many clients do not return
    together, and together stay within ``budget``.
    """

    tries: int = 6
    connect_tries: int = 3
    first_wait: float = 0.5
    longest_wait: float = 30.0
    budget: float = 90.0

    def wait(self, failures: int, *, chance: float, asked: float | None = None) -> float:
        """Say how long to wait after so many failures; ``chance`` is in [0, 1), ``asked`` the server's own wish."""
        if asked is not None:
            return min(max(asked, 0.0), self.longest_wait)
        doubled = self.first_wait * 2.0 ** min(failures - 1, 30)
        return min(doubled, self.longest_wait) * (1.0 - chance / 2.0)


class Failure(Exception):  # noqa: N818  (it becomes an UpstreamError, or another try)
    """One try failed, and another may succeed."""

    def __init__(self, error: UpstreamError, *, connecting: bool = False, retry_after: str | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.connecting = connecting
        self.retry_after = retry_after


def seconds_until(value: str | None, now: Callable[[], datetime]) -> float | None:
    """Read a ``Retry-After`` header as seconds from now (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    moment = parse_http_date(value)
    return None if moment is None else (moment.replace(tzinfo=moment.tzinfo or UTC) - now()).total_seconds()


def reason_of(error: BaseException) -> str:
    """Say the innermost reason: the outer errors repeat the URL, with its password, and name our libraries."""
    error = innermost(error)
    return redacted_text(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def innermost(error: BaseException) -> BaseException:
    """Give the error that all others were raised from."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error
