"""Sets of bytes of a file, and which connection fetches which: values and rules, without a network or a disk.

A file that comes over several connections is in hand as a *prefix* (the bytes from its start, which are hashed as they
come) and as spans *ahead* of it. A ``Plan`` lends what nobody has or fetches in blocks, the lowest first, so that the
prefix is never far behind. No byte is lent twice: leases, prefix and spans never overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# From a byte to before another; sorted, and neither overlapping nor touching.
Spans = tuple[tuple[int, int], ...]

MIB = 1024 * 1024
# A block is long against the round trip that asks for it (50 ms at 20 MB/s are 1 MB) ...
SHORTEST_BLOCK = 4 * MIB
# ... and short against a file, so that the prefix, and with it the hash, is never far behind what came.
LONGEST_BLOCK = 16 * MIB
# A file with less than this to come is over before a second connection has paid for itself.
WORTH_HELPING = 2 * SHORTEST_BLOCK
# What is left of a block at the end of a file is shared as long as both halves are worth a request.
WORTH_SHARING = 1 * MIB


def joined(spans: Iterable[tuple[int, int]]) -> Spans:
    """Sort spans and merge those that overlap or touch; empty ones go."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if stop <= start:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], stop)
        else:
            merged.append((start, stop))
    return tuple(merged)


def count(spans: Spans) -> int:
    """Count the bytes."""
    return sum(stop - start for start, stop in spans)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What one connection fetches: the bytes from ``position`` to before ``stop`` are wanted of it.

    Its answer goes up to ``asked``: a lease may be cut while it is out, and extended again (``Plan.extended``).
    """

    position: int
    stop: int
    asked: int

    @property
    def room(self) -> int:
        """How many bytes are still wanted."""
        return self.stop - self.position


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which bytes of a file are in hand, which are lent, which nobody has.

    Args:
        length: of the file.
        prefix: how many bytes from the start are in hand.
        ahead: what is in hand beyond the prefix, never touching it.
        leases: what is being fetched, by the number of the connection.
    """

    length: int
    prefix: int = 0
    ahead: Spans = ()
    leases: Mapping[int, Lease] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether all bytes are in hand."""
        return self.prefix == self.length

    @property
    def in_hand(self) -> int:
        """Count the bytes that are here."""
        return self.prefix + count(self.ahead)

    def streamed(self, number: int) -> Plan:
        """Note a connection whose answer goes on from the prefix to the file's end; the first of all."""
        stop = self.ahead[0][0] if self.ahead else self.length
        return self._with(number, Lease(position=self.prefix, stop=stop, asked=self.length))

    def lent(self, number: int, connections: int) -> Plan:
        """Lend the lowest bytes that nobody has or fetches; else what the largest lease is in no hurry to come to.

        The plan is unchanged where nothing is left that is worth a request. ``number`` must have no lease.
        """
        block = self._block(connections)
        taken = sorted(self._taken())
        start = 0
        for first, stop in joined(taken):
            if first > start:
                break
            start = stop
        if start < self.length:
            following = [first for first, _ in taken if first > start]
            stop = min([start + block, self.length, *following])
            return self._with(number, Lease(position=start, stop=stop, asked=stop))
        if not self.leases:
            return self
        largest = max(self.leases, key=lambda key: self.leases[key].room)
        lease = self.leases[largest]
        if lease.room < 2 * WORTH_SHARING:
            return self
        # A first answer that would go on to the end keeps more than a block: it runs already, who is new must begin.
        share = max(block, min(2 * LONGEST_BLOCK, lease.room // max(1, connections)))
        cut = lease.position + min(max(lease.room // 2, WORTH_SHARING), share)
        new = Lease(position=cut, stop=min(cut + block, lease.stop), asked=min(cut + block, lease.stop))
        return replace(self, leases={**self.leases, largest: replace(lease, stop=cut), number: new})

    def came(self, number: int, size: int) -> Plan:
        """Note that the next ``size`` bytes of a lease are written, no more than its ``room``."""
        lease = self.leases[number]
        start, stop = lease.position, lease.position + size
        spans = joined(((0, self.prefix), *self.ahead, (start, stop)))
        prefix = spans[0][1] if spans and spans[0][0] == 0 else 0
        leases = {**self.leases, number: replace(lease, position=stop)}
        return replace(self, prefix=prefix, ahead=spans[1:] if prefix else spans, leases=leases)

    def extended(self, number: int) -> Plan:
        """Let a connection go on into what it has asked for and nobody else has or fetches."""
        lease = self.leases[number]
        following = [start for start, stop in self._taken() if stop > max(start, lease.stop)]
        stop = max(lease.stop, min([lease.asked, *following]))
        return self._with(number, replace(lease, stop=stop))

    def returned(self, number: int) -> Plan:
        """End a lease; what did not come is anybody's."""
        return replace(self, leases={key: lease for key, lease in self.leases.items() if key != number})

    def _block(self, connections: int) -> int:
        """Say how long the blocks are: several turns for each connection in what is left, within bounds."""
        return max(SHORTEST_BLOCK, min(LONGEST_BLOCK, (self.length - self.in_hand) // (4 * max(1, connections))))

    def _taken(self) -> Iterable[tuple[int, int]]:
        return (0, self.prefix), *self.ahead, *((lease.position, lease.stop) for lease in self.leases.values())

    def _with(self, number: int, lease: Lease) -> Plan:
        return replace(self, leases={**self.leases, number: lease})
