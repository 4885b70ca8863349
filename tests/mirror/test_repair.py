"""Repair: what is fetched is what is bad, and nothing else is ever let in."""

from __future__ import annotations

import errno
import io
import os
import random
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytorch_offline.mirror import repair as repair_module
from pytorch_offline.mirror.blocks import BLOCK, Blocks, BlockSums, agreeing, parse_blocks, render_blocks
from pytorch_offline.mirror.repair import RepairReport, plan_partial, repair_mirror
from pytorch_offline.mirror.spans import count
from pytorch_offline.mirror.verify import verify_mirror
from pytorch_offline.net import Http
from pytorch_offline.retries import RetryPolicy
from pytorch_offline.wheels.salvage import sound_spans
from tests.mirror.loopback import Fault, Loopback
from tests.mirror.rot import HARMS, mirror_of, rotting_wheel, rounds
from tests.mirror.wheels import now, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytorch_offline.mirror.store import Mirror

BIG = rotting_wheel("whl/cpu/big-1.0-py3-none-any.whl", 30, 200_000, seed=1)
SMALL = [rotting_wheel(f"whl/cpu/pkg{number}-1.0-py3-none-any.whl", 4, 4_000, seed=number) for number in range(6)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power will fail here, and the disk may be a slow one


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


@pytest.fixture
def mirror(tmp_path: Path, server: Loopback) -> Mirror:
    return mirror_of([BIG], tmp_path / "mirror", server)


def mend(mirror: Mirror, **options: object) -> RepairReport:
    with Http() as http:
        found = verify_mirror(mirror, now=now).findings
        return repair_mirror(mirror, found, http, now=now, **options)  # type: ignore[arg-type]


def overwrite(mirror: Mirror, at: int, body: bytes) -> None:
    with (mirror.root / BIG.path).open("r+b") as file:
        file.seek(at)
        file.write(body)


def flip(mirror: Mirror, at: int) -> None:
    overwrite(mirror, at, bytes([BIG.body[at] ^ 1]))


def test_of_a_flipped_byte_one_block_is_fetched(mirror: Mirror, server: Loopback) -> None:
    before = tree(mirror.root)
    flip(mirror, 3 * BLOCK + 5)
    done = mend(mirror)
    assert tree(mirror.root) == before
    assert done.fetched.bytes_downloaded == BLOCK == done.needed[BIG.path]
    assert [request.range for request in server.requests] == [f"bytes={3 * BLOCK}-{4 * BLOCK - 1}"]
    assert (mirror.rejected / BIG.path.name).stat().st_size == len(BIG.body)
    assert not list(mirror.partial.iterdir())


def test_without_checksums_of_blocks_it_is_one_member_and_the_directory(mirror: Mirror, server: Loopback) -> None:
    before = tree(mirror.root)
    mirror.blocks.keep(())
    with zipfile.ZipFile(io.BytesIO(BIG.body)) as archive:
        member = archive.getinfo("data/7.bin")
        directory = archive.start_dir
    flip(mirror, member.header_offset + 1000)
    done = mend(mirror)
    assert tree(mirror.root) == before
    assert done.fetched.bytes_downloaded < 2 * member.compress_size + len(BIG.body) - directory
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("harm", "most"),
    [
        (lambda body: body[: 2 * BLOCK + 9], len(BIG.body) - 2 * BLOCK),
        (lambda body: body + b"more", len(BIG.body) % BLOCK),
        (lambda body: b"\0" + body[1:], BLOCK),
        (lambda body: body[:-1] + b"\1", len(BIG.body) % BLOCK),
        (lambda body: body[: len(body) // 2] + bytes(len(body) - len(body) // 2), len(BIG.body) // 2 + BLOCK),
        (lambda body: bytes(len(body)), len(BIG.body)),
        (lambda _: b"", len(BIG.body)),
    ],
)
@pytest.mark.parametrize("noted", [True, False])
def test_what_is_fetched_is_what_is_bad(
    mirror: Mirror,
    harm: Callable[[bytes], bytes],
    most: int,
    noted: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    before = tree(mirror.root)
    if not noted:
        mirror.blocks.keep(())
    (mirror.root / BIG.path).write_bytes(harm(BIG.body))
    done = mend(mirror)
    assert tree(mirror.root) == before
    assert done.fetched.bytes_downloaded <= (most if noted else most + 2 * 400_000)


def test_checksums_that_lie_cost_a_download_and_nothing_else(mirror: Mirror) -> None:
    before = tree(mirror.root)
    flip(mirror, 2 * BLOCK)
    flip(mirror, 3 * BLOCK)
    sums = BlockSums()
    sums.update(memoryview((mirror.root / BIG.path).read_bytes()))
    lying = [*sums.blocks.checksums]
    lying[3] ^= 1
    mirror.blocks.note(BIG.sha256, Blocks(size=len(BIG.body), checksums=tuple(lying)))
    done = mend(mirror)
    assert tree(mirror.root) == before
    assert done.fetched.bytes_downloaded == BLOCK + len(BIG.body)


def test_what_could_not_be_had_is_not_served_and_costs_the_next_run_as_little(
    mirror: Mirror, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RetryPolicy, "wait", lambda *_, **__: 0.0)
    before = tree(mirror.root)
    flip(mirror, BLOCK)
    server.always[f"/{BIG.path}"] = Fault(status=503)
    done = mend(mirror)
    assert [path for path, _ in done.failures] == [BIG.path]
    assert not (mirror.root / BIG.path).exists()
    assert (mirror.rejected / BIG.path.name).exists()
    server.always.clear()
    done = mend(mirror)
    assert tree(mirror.root) == before
    assert done.fetched.bytes_downloaded == BLOCK


def test_offline_it_says_what_it_would_need(mirror: Mirror, server: Loopback) -> None:
    flip(mirror, BLOCK)
    done = mend(mirror, online=False)
    assert done.needed == {BIG.path: BLOCK}
    assert [error.code for _, error in done.failures] == ["no-address"]
    assert not server.requests


def test_another_mirror_is_asked_first(mirror: Mirror, server: Loopback, tmp_path: Path) -> None:
    before = tree(mirror.root)
    other = tmp_path / "other place" / BIG.path
    other.parent.mkdir(parents=True)
    other.write_bytes(BIG.body)
    flip(mirror, BLOCK)
    done = mend(mirror, sources=[(tmp_path / "other place").as_uri()], online=False)
    assert tree(mirror.root) == before
    assert done.fetched.bytes_downloaded == BLOCK
    assert not server.requests


def test_another_mirror_that_has_rotted_too_lets_nothing_in(mirror: Mirror, tmp_path: Path) -> None:
    before = tree(mirror.root)
    other = tmp_path / "other" / BIG.path
    other.parent.mkdir(parents=True)
    other.write_bytes(BIG.body[:BLOCK] + b"!!" + BIG.body[BLOCK + 2 :])
    flip(mirror, BLOCK)
    mend(mirror, sources=[(tmp_path / "other").as_uri()])
    assert tree(mirror.root) == before


def test_where_there_is_no_room_for_two_the_bad_file_itself_is_mended(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = tree(mirror.root)
    flip(mirror, 0)
    flip(mirror, 2 * BLOCK)
    monkeypatch.setattr(repair_module, "_copy", full)
    done = mend(mirror)
    assert tree(mirror.root) == before
    assert done.fetched.bytes_downloaded <= 2 * BLOCK
    assert done.set_aside == ()


def test_a_good_twin_is_linked_and_nothing_fetched(tmp_path: Path, server: Loopback) -> None:
    twin = rotting_wheel(f"whl/cu121/{BIG.path.name}", 30, 200_000, seed=1)
    assert twin.body == BIG.body
    mirror = mirror_of([BIG, twin], tmp_path / "mirror", server)
    before = tree(mirror.root)
    body = bytearray(BIG.body)
    body[BLOCK] ^= 1
    (mirror.root / BIG.path).unlink()
    (mirror.root / BIG.path).write_bytes(body)
    done = mend(mirror)
    assert tree(mirror.root) == before
    assert done.needed == {BIG.path: 0}
    assert not server.requests


@pytest.mark.parametrize("noted", [True, False])
def test_a_mirror_that_rots_is_found_out_and_mended(
    tmp_path: Path,
    server: Loopback,
    noted: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    mirror = mirror_of(SMALL, tmp_path / "mirror", server)
    counts = rounds(mirror, server, 12, seed=5, noted=noted)
    assert counts["bad files"] > 12
    assert len([name for name in counts if name.endswith(": files")]) > len(HARMS) // 2


def test_what_is_noted_of_files_that_are_no_longer_held_goes(mirror: Mirror) -> None:
    notes = mirror.state / "blocks"
    (own,) = notes.iterdir()
    mirror.blocks.note("0" * 64, BlockSums().blocks)
    (notes / f"{own.name}.123.new").write_text("cut off")
    mirror.publish()
    assert list(notes.iterdir()) == [own]


# Rules


@settings(max_examples=100, deadline=None)
@given(pieces=st.lists(st.integers(0, 2 * BLOCK), max_size=5), seed=st.integers(0, 9))
def test_the_sums_do_not_depend_on_the_pieces(pieces: list[int], seed: int) -> None:
    body = memoryview(random.Random(seed).randbytes(1) * sum(pieces))
    whole, parts, at = BlockSums(), BlockSums(), 0
    whole.update(body)
    for size in pieces:
        parts.update(body[at : at + size])
        at += size
    assert parts.blocks == whole.blocks
    assert parse_blocks(render_blocks(whole.blocks)) == whole.blocks
    assert agreeing(whole.blocks, parts.blocks) == (((0, len(body)),) if body else ())


@given(data=st.data())
def test_a_record_that_has_rotted_itself_is_not_believed(data: st.DataObject) -> None:
    text = render_blocks(Blocks(size=3 * BLOCK - 1, checksums=(1, 2**32 - 1, 7)))
    at = data.draw(st.integers(0, len(text) - 1))
    rotten = text[:at] + data.draw(st.characters(codec="ascii")) + text[at + 1 :]
    assert parse_blocks(rotten) in {None, Blocks(size=3 * BLOCK - 1, checksums=(1, 2**32 - 1, 7))}


@settings(max_examples=150, deadline=None)
@example(flips=[(68, 4)], missing=0)  # bits that pad the last byte of a deflated member: nothing speaks of them
@given(
    flips=st.lists(st.tuples(st.integers(0, len(SMALL[0].body) - 1), st.integers(1, 255)), min_size=1, max_size=4),
    missing=st.sampled_from([0, 1, len(SMALL[0].body) // 2]),
)
def test_what_counts_as_sound_holds_no_damage_to_what_a_member_says(flips: list[tuple[int, int]], missing: int) -> None:
    good, length = SMALL[0].body, len(SMALL[0].body) - missing
    body = bytearray(good)
    for at, bits in flips:
        body[at] ^= bits
    damaged = {at for at, _ in flips if at < length and body[at] != good[at]}
    spans = sound_spans(io.BytesIO(body[:length]), length)
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        members = archive.infolist()
    for start, stop in spans:
        assert 0 <= start < stop <= length
        if missing and stop == length:
            continue  # of what was cut off nothing says that it is wrong
        for info in members:
            first = info.header_offset + 30 + len(info.filename)
            last = first + info.compress_size
            if any(max(start, first) <= at < min(stop, last) for at in damaged):
                assert _inflated(bytes(body[first:last])) == _inflated(good[first:last])


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data)
    assert inflater.eof
    return inflated


def test_a_plan_begins_with_what_every_wheel_begins_with() -> None:
    row = BIG.row()
    assert plan_partial(row, ()) is None
    partial = plan_partial(row, ((BLOCK, 2 * BLOCK), (3 * BLOCK, len(BIG.body) + 5)))
    assert partial is not None
    assert (partial.completed, partial.ahead) == (4, ((BLOCK, 2 * BLOCK), (3 * BLOCK, len(BIG.body))))
    assert count(partial.ahead) + partial.completed < len(BIG.body)
