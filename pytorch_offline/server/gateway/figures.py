"""What a gateway counts, for whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(slots=True, kw_only=True)
class Upstream:
    """How upstream answered last.

    Args:
        newest_success: when it last gave what was asked.
        newest_failure: when it last did not.
        failure_code: why.
    """

    newest_success: datetime | None = None
    newest_failure: datetime | None = None
    failure_code: str | None = None

    @property
    def answers(self) -> bool | None:
        """Whether the newest that is known of upstream is that it answered; None if it was not asked yet."""
        if self.newest_failure is None:
            return None if self.newest_success is None else True
        return self.newest_success is not None and self.newest_success > self.newest_failure


@dataclass(slots=True, kw_only=True)
class Figures:
    """Counts since the start. Written by the event loop and by downloads' threads, read by anybody.

    Args:
        hits: requests for wheels that the mirror held.
        misses: requests for wheels that had to come.
        upstream_bytes: of wheels, as they came.
        upstream_errors: pages, METADATA and wheels that could not be had.
        evictions: wheels removed to keep to a size.
        evicted_bytes: theirs.
        transfers: wheels that are coming now.
        upstream: how it answered last.
    """

    hits: int = 0
    misses: int = 0
    upstream_bytes: int = 0
    upstream_errors: int = 0
    evictions: int = 0
    evicted_bytes: int = 0
    transfers: int = 0
    upstream: Upstream = field(default_factory=Upstream)
