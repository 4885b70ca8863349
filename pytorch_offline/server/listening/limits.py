"""How much a server gives to one client and to all of them, and when it has waited long enough."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

# What a process needs beside its clients: its libraries, logs, the loop's own, the listeners.
_OWN_FILES = 64
# A client that is being served has a socket and a file.
_FILES_PER_CLIENT = 2
# Each idle connection takes some 10 kB here; this many stay far below 200 MB.
MOST_CONNECTIONS = 4096
# Beyond those, so many are told to come again; the ones after them wait in the system's queue.
TURNED_AWAY_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client may take.

    Args:
        connections: how many there are at a time.
        connections_per_client: how many of them one address may have; many machines may share one (NAT, a proxy).
        line_bytes: of a request's target; nginx, too, takes 8 KiB (``large_client_header_buffers``).
        field_bytes: of one header.
        fields: how many headers.
        head_bytes: of all of them that come piece by piece.
        body_bytes: of a body that is read and thrown away; no method here has a use for one.
        head_seconds: from the first byte of a request to the end of its headers.
        idle_seconds: without any request; pip keeps a connection while it unpacks and resolves.
        stall_seconds: in which a client that should read takes not one byte. However slow it is, it may go on.
    """

    connections: int = MOST_CONNECTIONS
    connections_per_client: int = MOST_CONNECTIONS // 2
    line_bytes: int = 8190
    field_bytes: int = 16384
    fields: int = 128
    head_bytes: int = 65536
    body_bytes: int = 65536
    head_seconds: float = 15.0
    idle_seconds: float = 75.0
    stall_seconds: float = 60.0


def connections_within(open_files: int) -> int:
    """Say for how many connections a process has room that can open so many files."""
    return max(1, (open_files - _OWN_FILES - TURNED_AWAY_AT_ONCE) // _FILES_PER_CLIENT)


class Verdict(Enum):
    """What becomes of a connection that was looked at."""

    STAYS = auto()
    IDLE_TOO_LONG = auto()
    HEAD_TOO_SLOW = auto()
    READS_NOTHING = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What can be seen of a connection.

    Args:
        answering: whether it has a request that is not yet answered.
        begun: whether a request has begun to come and is not yet whole.
        since: when it came to stand like this.
        acknowledged: how many bytes the client has taken so far; None where the system does not say.
        waiting_for_client: whether there are bytes that the client has not yet taken.
    """

    answering: bool
    begun: bool
    since: float
    acknowledged: int | None
    waiting_for_client: bool


def standing_since(
    before: Standing | None, now: float, *, answering: bool, begun: bool, taken: int | None, left: bool
) -> Standing:
    """Say how a connection stands now, and since when: what has not moved keeps its time."""
    same = (
        before is not None
        and (before.answering, before.begun, before.waiting_for_client) == (answering, begun, left)
        and before.acknowledged == taken
    )
    since = before.since if same and before is not None else now
    return Standing(answering=answering, begun=begun, since=since, acknowledged=taken, waiting_for_client=left)


def judge(standing: Standing, limits: Limits, now: float) -> Verdict:
    """Say whether a connection has been waited for long enough."""
    waited = now - standing.since
    if standing.answering:
        stalled = standing.waiting_for_client and standing.acknowledged is not None and waited >= limits.stall_seconds
        return Verdict.READS_NOTHING if stalled else Verdict.STAYS
    if standing.begun:
        return Verdict.HEAD_TOO_SLOW if waited >= limits.head_seconds else Verdict.STAYS
    return Verdict.IDLE_TOO_LONG if waited >= limits.idle_seconds else Verdict.STAYS
