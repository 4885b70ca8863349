"""Many clients at one server, as a discrete-event simulation: connections, shared capacities, patience (``scale.py``).

What is shared is shared max-min fairly, as TCP and a fair server nearly do: nobody gets more while somebody could have
as much by it (Bertsekas and Gallager, Data Networks, 6.5.2). Between two events all rates are constant. All clients in
the same phase with the same limit of their own have the same rate, so that a clock for each such class is enough:
10,000 clients take a second to simulate.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# pip 26: a read that gives nothing for 15 s fails; five retries, the first at once, then after 0.5, 1, 2 and 4 s
# (urllib3's backoff of 0.25 doubled each time). An answer of 503 is tried again when its Retry-After says so.
READ_TIMEOUT_S = 15.0
RETRIES_AFTER_S = (0.0, 0.5, 1.0, 2.0, 4.0)
# What is nearer than this is now: floating point knows no shorter time after a week.
_INSTANT_S = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Flows:
    """Equal users of shared capacities.

    Args:
        number: how many there are.
        most: what each could take alone, per second.
        uses: the names of the capacities that each takes its rate from.
    """

    number: int
    most: float
    uses: frozenset[str]


def share(flows: Sequence[Flows], capacities: Mapping[str, float]) -> list[float]:
    """Give the max-min fair rate of one of each: all grow alike until a capacity, or their own limit, is used up."""
    rates = [0.0] * len(flows)
    left = dict(capacities)
    growing = {index for index, one in enumerate(flows) if one.number}
    while growing:
        users = {name: sum(flows[index].number for index in growing if name in flows[index].uses) for name in left}
        step = min(
            [flows[index].most - rates[index] for index in growing]
            + [left[name] / number for name, number in users.items() if number]
        )
        for index in growing:
            rates[index] += step
        for name, number in users.items():
            left[name] -= step * number
        full = {name for name, number in users.items() if number and left[name] <= capacities[name] * 1e-9}
        growing -= {
            index for index in growing if flows[index].uses & full or rates[index] >= flows[index].most * (1 - 1e-9)
        }
    return rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a mirror can do; bytes and requests per second.

    Args:
        network: its interface.
        requests: how many small answers it gives.
        processor: how many bytes it sends with all its cores, infinite where that is far above the network.
        disk: how many bytes it reads, where they do not come from memory.
        connections: how many it serves at once, None for all.
        retry_after: the seconds after which those above are told to come again, by a 503; None if nobody tells them,
            and they wait until they are let in or give up.
    """

    network: float
    requests: float
    processor: float = math.inf
    disk: float = math.inf
    connections: int | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What an installer does, one thing after the other over one connection.

    Args:
        network: bytes per second of its interface.
        requests: how many small answers it asks for first: pages and metadata.
        thinking: seconds that it needs for each of them itself.
        size: bytes of the pages and of the closure.
        unpacking: seconds from the last byte to the end.
    """

    network: float
    requests: int
    thinking: float
    size: float
    unpacking: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it went.

    Args:
        loaded: when each had its last byte, in order, of those that came through.
        finished: when each had unpacked it, in order.
        gave_up: how many ran out of retries.
        retries: how many attempts failed.
        slowest: the least bytes per second that anybody ever had while the closure came.
        longest_answer: the most seconds that anybody waited for a small answer.
    """

    loaded: tuple[float, ...]
    finished: tuple[float, ...]
    gave_up: int
    retries: int
    slowest: float
    longest_answer: float

    @property
    def starves(self) -> bool:
        """Whether somebody would have had less than a byte, or no answer, in the time that a read may take."""
        return self.slowest * READ_TIMEOUT_S < 1 or self.longest_answer > READ_TIMEOUT_S


_Class: TypeAlias = "tuple[str, int]"  # the phase, and which kind of client


@dataclass(slots=True)
class _Phase:
    """Clients in one phase with one limit: ``clock`` is what each of them has had since the beginning."""

    flows: Flows
    clock: float = 0.0
    rate: float = 0.0
    ends: list[tuple[float, int]] = field(default_factory=list)  # the clock at which each is done, and who


def simulate(server: Server, clients: Sequence[tuple[float, Client]]) -> Outcome:
    """Let each client begin at its moment, in seconds, and give what became of all."""
    return _Simulation(server, clients).run()


class _Simulation:
    """The state between two events."""

    def __init__(self, server: Server, clients: Sequence[tuple[float, Client]]) -> None:
        self._server = server
        self._clients = [client for _, client in clients]
        self._capacities = {
            name: value
            for name, value in (
                ("network", server.network),
                ("processor", server.processor),
                ("disk", server.disk),
                ("requests", server.requests),
            )
            if value < math.inf
        }
        self._now = 0.0
        # What happens at a known moment: an attempt begins, or one that waits to be let in has waited too long.
        self._timed: list[tuple[float, int, str, int]] = []
        self._attempt = [0] * len(clients)
        self._waiting: deque[tuple[int, int]] = deque()
        self._connected = 0
        self._phases: dict[_Class, _Phase] = {}
        self._kinds = {client: number for number, client in enumerate(dict.fromkeys(self._clients))}
        self._loaded: list[float] = []
        self._finished: list[float] = []
        self._gave_up = self._retries = 0
        self._slowest = math.inf
        self._longest_answer = 0.0
        for number, (start, _) in enumerate(clients):
            self._at(start, "begin", number)

    def run(self) -> Outcome:
        while True:
            upcoming = min((self._end_of(phase) for phase in self._phases.values()), default=math.inf)
            moment = min(upcoming, self._timed[0][0] if self._timed else math.inf)
            if moment == math.inf:
                break
            for phase in self._phases.values():
                phase.clock += phase.rate * (moment - self._now)
            self._now = moment
            self._end_phases()
            self._do_what_is_due()
            self._let_in()
            self._set_rates()
        return Outcome(
            loaded=tuple(self._loaded),
            finished=tuple(sorted(self._finished)),
            gave_up=self._gave_up,
            retries=self._retries,
            slowest=self._slowest,
            longest_answer=self._longest_answer,
        )

    def _at(self, moment: float, what: str, number: int) -> None:
        heapq.heappush(self._timed, (moment, self._attempt[number], what, number))

    def _end_of(self, phase: _Phase) -> float:
        if not phase.ends or phase.rate == 0:
            return math.inf
        return self._now + (phase.ends[0][0] - phase.clock) / phase.rate

    def _end_phases(self) -> None:
        for (name, _), phase in list(self._phases.items()):
            while self._end_of(phase) <= self._now + _INSTANT_S:
                _, number = heapq.heappop(phase.ends)
                if name == "pages":
                    self._enter("files", number)
                else:
                    self._connected -= 1
                    self._loaded.append(self._now)
                    self._finished.append(self._now + self._clients[number].unpacking)

    def _do_what_is_due(self) -> None:
        while self._timed and self._timed[0][0] <= self._now:
            _, attempt, what, number = heapq.heappop(self._timed)
            if attempt != self._attempt[number]:
                continue  # it was let in meanwhile
            if what == "timeout":
                self._fail(number)
            elif self._server.connections is None or self._connected < self._server.connections:
                self._connect(number)
            elif self._server.retry_after is not None:
                self._fail(number, again_after=self._server.retry_after)
            else:
                self._waiting.append((attempt, number))
                self._at(self._now + READ_TIMEOUT_S, "timeout", number)

    def _fail(self, number: int, *, again_after: float | None = None) -> None:
        attempt = self._attempt[number]
        self._attempt[number] += 1  # whatever else was to happen to this attempt will not
        self._retries += 1
        if attempt == len(RETRIES_AFTER_S):
            self._gave_up += 1
        else:
            wait = RETRIES_AFTER_S[attempt] if again_after is None else again_after
            self._at(self._now + wait, "begin", number)

    def _let_in(self) -> None:
        while self._waiting and self._server.connections is not None and self._connected < self._server.connections:
            attempt, number = self._waiting.popleft()
            if attempt == self._attempt[number]:
                self._connect(number)

    def _connect(self, number: int) -> None:
        self._attempt[number] = -1
        self._connected += 1
        self._enter("pages" if self._clients[number].requests else "files", number)

    def _enter(self, name: str, number: int) -> None:
        client = self._clients[number]
        key = (name, self._kinds[client])
        if key not in self._phases:
            most = 1 / client.thinking if name == "pages" else client.network
            uses = {"requests"} if name == "pages" else {"network", "processor", "disk"}
            self._phases[key] = _Phase(Flows(number=0, most=most, uses=frozenset(uses & self._capacities.keys())))
        phase = self._phases[key]
        heapq.heappush(phase.ends, (phase.clock + (client.requests if name == "pages" else client.size), number))

    def _set_rates(self) -> None:
        phases = list(self._phases.values())
        flows = [Flows(number=len(one.ends), most=one.flows.most, uses=one.flows.uses) for one in phases]
        for (name, _), phase, rate in zip(self._phases, phases, share(flows, self._capacities), strict=True):
            phase.rate = rate
            if name == "files" and phase.ends:
                self._slowest = min(self._slowest, rate)
            elif phase.ends:
                self._longest_answer = max(self._longest_answer, 1 / rate)
