"""A wheel on its way, driven by hand: what its clients are given, and when they are given no more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import IntegrityError, UpstreamError
from pytorch_offline.server.gateway.arrival import HELD_BACK, LAST, Arrival, Sending
from pytorch_offline.server.gateway.threads import Threads

if TYPE_CHECKING:
    from pathlib import Path

BODY = bytes(range(256)) * 4096  # a mebibyte


class Coming:
    """A file that the test lets come, as a download's thread would."""

    def __init__(self, directory: Path) -> None:
        self.part = directory / "x.part"
        self.place = directory / "x.whl"
        self.threads = Threads()
        self.arrival = Arrival(self.part, etag='"x"', threads=self.threads)
        self.part.write_bytes(b"")

    def come(self, position: int, body: bytes = BODY) -> None:
        with self.part.open("r+b") as file:
            file.write(body[:position])
        self.arrival.watched(position, len(body))

    async def begun(self) -> Sending:
        return await asyncio.wait_for(self.arrival.begun(), 10)


async def taken(sending: Sending, start: int, stop: int) -> bytes:
    return b"".join([piece async for piece in sending.read(start, stop)])


def test_only_what_is_in_hand_is_given_and_the_end_when_it_is_proved(tmp_path: Path) -> None:
    async def story() -> None:
        coming = Coming(tmp_path)
        coming.come(600_000)
        sending = await coming.begun()
        assert sending.size == len(BODY)
        assert await taken(sending, 0, 600_000) == BODY[:600_000]
        rest = asyncio.create_task(taken(sending, 600_000, len(BODY)))
        part = asyncio.create_task(taken(await coming.begun(), 700_000, 700_100))
        coming.come(len(BODY))
        assert await asyncio.wait_for(part, 10) == BODY[700_000:700_100]
        await asyncio.sleep(0.1)
        assert not rest.done()  # the last bytes wait, although they are in hand
        coming.part.rename(coming.place)
        coming.arrival.arrived(coming.place, len(BODY))
        assert await asyncio.wait_for(rest, 10) == BODY[600_000:]
        late = await coming.begun()
        assert await taken(late, 5, len(BODY)) == BODY[5:]
        assert coming.arrival.followers == 0
        coming.threads.close()

    asyncio.run(story())


def test_the_parts_of_one_answer_are_of_one_attempt(tmp_path: Path) -> None:
    async def story() -> None:
        coming = Coming(tmp_path)
        coming.come(600_000)
        before, waiting = await coming.begun(), await coming.begun()
        assert await taken(before, 0, 10) == BODY[:10]
        coming.arrival.watched(0, None)
        coming.come(600_000, BODY[::-1])
        with pytest.raises(UpstreamError, match="begin again"):
            await taken(before, 100, 110)
        assert await taken(waiting, 0, 10) == BODY[::-1][:10]  # it was given nothing of the first
        coming.arrival.watched(0, None)
        coming.arrival.watched(10, len(BODY) + 1)
        with pytest.raises(UpstreamError, match="begin again"):
            await taken(Sending(coming.arrival, len(BODY)), 0, 10)  # it was told another length
        coming.threads.close()

    asyncio.run(story())


def test_who_waits_is_told_why_nothing_comes(tmp_path: Path) -> None:
    async def story() -> None:
        coming = Coming(tmp_path)
        coming.come(600_000)
        waiting = asyncio.create_task(taken(await coming.begun(), 0, len(BODY)))
        await asyncio.sleep(0.05)
        coming.arrival.failed(IntegrityError("hash-mismatch", "other bytes"))
        with pytest.raises(IntegrityError, match="other bytes"):
            await asyncio.wait_for(waiting, 10)
        assert isinstance((await coming.arrival.over()).error, IntegrityError)
        assert coming.arrival.at_once() is None
        coming.threads.close()

    asyncio.run(story())


def test_the_constants_leave_room_for_ten_minutes_of_waiting() -> None:
    assert HELD_BACK - LAST >= 150 * 1024  # a kilobyte every four seconds
