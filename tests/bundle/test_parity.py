from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch_offline.bundle.format.model import BundleFile, Piece
from pytorch_offline.bundle.reading.parity import (
    CHECKSUM_BYTES,
    DATA_ROWS,
    ParityShape,
    carried_stream,
    combine_rows,
    parity_map,
    parity_shape,
    parts_to_bring,
    row_coefficients,
    slice_checksum,
    slices_lost_at_worst,
)
from pytorch_offline.bundle.writing.parity import (
    StreamRun,
    parity_encoder,
    parity_row_files,
    parse_percent,
    render_promise,
    write_parity,
)
from pytorch_offline.errors import IntegrityError, UsageError
from tests.bundle.crafted_manifests import bundle_file, manifest
from tests.bundle.crafted_parity import write_files_with_parity

if TYPE_CHECKING:
    from pathlib import Path


zfec = pytest.importorskip("zfec")


@given(st.data())
@settings(max_examples=60)
def test_what_zfec_writes_is_mended_from_any_rows_that_suffice(data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, 60), label="needed")
    rows = data.draw(st.integers(needed + 1, min(255, needed + 40)), label="rows")
    size = data.draw(st.integers(1, 300), label="size")
    random_bytes = random.Random(data.draw(st.integers(0, 2**32), label="seed"))
    slices = [random_bytes.randbytes(size) for _ in range(needed)]
    slices += zfec.Encoder(needed, rows).encode(slices, range(needed, rows))
    known = random_bytes.sample(range(rows), needed)
    lost = [row for row in range(rows) if row not in known]

    assert combine_rows([slices[row] for row in known], row_coefficients(known, lost)) == [slices[row] for row in lost]


@given(st.data())
@settings(max_examples=30)
def test_what_the_standard_library_computes_zfec_mends(data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, 40), label="needed")
    rows = data.draw(st.integers(needed + 1, needed + 20), label="rows")
    random_bytes = random.Random(data.draw(st.integers(0, 2**32), label="seed"))
    slices = [random_bytes.randbytes(50) for _ in range(needed)]
    slices += combine_rows(slices, row_coefficients(range(needed), range(needed, rows)))
    known = random_bytes.sample(range(rows), needed)

    assert zfec.Decoder(needed, rows).decode([slices[row] for row in known], known) == slices[:needed]


def test_slices_longer_than_what_is_multiplied_at_once_are_combined_whole() -> None:
    slices = [random.Random(row).randbytes((64 << 10) * 2 + 7) for row in range(5)]

    assert combine_rows(slices, row_coefficients(range(5), [5, 6])) == list(zfec.Encoder(5, 7).encode(slices, [5, 6]))


@given(st.integers(1, 2**45), st.integers(1, 100))
def test_a_stream_is_cut_into_a_hundred_rows_with_little_added(total: int, percent: int) -> None:
    shape = parity_shape(total, percent)

    assert shape.row_size * DATA_ROWS >= total
    assert shape.row_size * DATA_ROWS < total + DATA_ROWS * (shape.stripes + 1)
    assert shape.slice_size <= 512 << 10 or shape.stripes == 1
    assert [row.size for row in parity_row_files(total, percent)] == [shape.row_size] * percent


@given(st.integers(1, 10**6), st.data())
def test_a_lost_run_takes_no_more_from_a_stripe_than_is_said(total: int, data: st.DataObject) -> None:
    shape = parity_shape(total, 10)
    start = data.draw(st.integers(0, total - 1))
    size = data.draw(st.integers(1, total - start))
    lost = shape.slices_of(start, size)
    by_stripe = [sum(1 for number in lost if number % shape.stripes == stripe) for stripe in range(shape.stripes)]

    assert max(by_stripe) <= slices_lost_at_worst(shape, size)


@pytest.mark.parametrize("text", ["", "0", "101", "ten", "5.5%", "-3", "10 20", "٣%"])
def test_an_amount_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not an amount of parity"):
        parse_percent(text)


def test_amounts_are_read_with_and_without_the_sign() -> None:
    assert [parse_percent(text) for text in ("10%", "7", " 100 % ")] == [10, 7, 100]


def test_without_zfec_the_command_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zfec", None)
    with pytest.raises(UsageError) as refused:
        parity_encoder(10)
    assert refused.value.code == "parity-needs-zfec"
    assert "pip install 'pytorch-offline[bundle]'" in str(refused.value.hint)


def test_written_parity_is_read_back_and_every_slice_has_its_checksum(tmp_path: Path) -> None:
    seeded = random.Random(7)
    bodies = {"install.py": b"x" * 999, "whl/a.whl": seeded.randbytes(30_000_000), "whl/b.whl": b"", "whl/c.whl": b"c"}
    made, parity = write_files_with_parity(tmp_path, bodies, 3)
    found = parity_map(made)

    assert found.shape == parity_shape(30_001_000, 3)
    assert found.shape.stripes > 1
    joined = b"".join(bodies[path] for path in sorted(bodies)).ljust(100 * found.shape.row_size, b"\0")
    rows = [(tmp_path / row.path).read_bytes() for row in parity.rows]
    joined += b"".join(rows)
    size = found.shape.slice_size
    assert [slice_checksum(joined[at : at + size]) for at in range(0, len(joined), size)] == list(found.checksums)
    assert [part.path for part in found.parts][-3:] == ["parity/row-101", "parity/row-102", "parity/row-103"]
    assert (
        zfec.Encoder(100, 103).encode(
            [joined[row * len(rows[0]) : (row + 1) * len(rows[0])] for row in range(100)], [100, 101, 102]
        )
        == rows
    )


def test_parity_is_the_same_every_time(tmp_path: Path) -> None:
    bodies = {"install.py": b"y" * 50_000, "whl/a.whl": random.Random(1).randbytes(9_000_000)}
    first = write_files_with_parity(tmp_path / "one", bodies, 2)[0]
    assert write_files_with_parity(tmp_path / "two", bodies, 2)[0] == first


def test_a_file_that_shrinks_while_it_is_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"short")
    with pytest.raises(IntegrityError, match="became shorter"):
        write_parity([StreamRun(path=tmp_path / "a", offset=0, size=900)], 2, tmp_path)


def test_in_volumes_what_lies_in_one_volume_is_one_run() -> None:
    def row(path: str, *pieces: Piece) -> BundleFile:
        return bundle_file(path, pieces=pieces)

    early, middle, late = (Piece(volume, f"data/{volume}", 10, "0" * 64) for volume in (1, 2, 3))
    made = manifest(
        files=[
            bundle_file("install.py"),
            row("whl/a.whl", late),
            row("whl/b.whl", early, middle),
            row("whl/same.whl", early, middle),
            row("parity/row-101", middle),
            bundle_file("whl/c.whl", carried=False),
        ],
        targets=(),
        volume_size=1000,
        volumes=3,
    )
    assert carried_stream(made) == [("whl/b.whl", early), ("whl/b.whl", middle), ("whl/a.whl", late)]


@pytest.mark.parametrize(
    "change",
    [
        {"code": "other"},
        {"total": 5},
        {"total": True},
        {"stripes": 0},
        {"stripes": "1"},
        {"slice_size": 1},
        {"slice_size": 10**30},
        {"rows": []},
        {"rows": ["parity/row-9"]},
        {"rows": None},
        {"checksums": []},
        {"checksums": ["zz"] * 102},
        {"checksums": ["00"] * 102},
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    made, _ = write_files_with_parity(tmp_path, {"install.py": b"z" * 5000}, 2)
    parity_map(made)
    with pytest.raises(IntegrityError) as refused:
        parity_map(made._replace(parity={**(made.parity or {}), **change}))
    assert refused.value.code == "parity-unreadable"


def test_a_manifest_without_parity_says_so() -> None:
    with pytest.raises(IntegrityError) as refused:
        parity_map(manifest())
    assert refused.value.facts["reason"] == "it has no parity"


def test_the_promise_says_whether_a_volume_may_be_lost() -> None:
    shape = parity_shape(1_000_000_000, 30)
    assert render_promise(shape).startswith("30 of 130 slices of each stripe may be bad, so 29")
    assert render_promise(shape, [280_000_000] * 3).endswith("any one whole volume may be lost")
    assert render_promise(shape, [330_000_000] * 3).endswith("may not be lost (--parity 34% would allow it)")
    assert slices_lost_at_worst(shape, 290_000_000) == 30


def test_what_must_be_brought_again_is_no_more_than_needed() -> None:
    def brought(parity_rows: int, **bad: list[int]) -> tuple[tuple[str, ...], tuple[str, ...], int]:
        return parts_to_bring(bad, ParityShape(10, parity_rows, 2, 10))

    many: dict[str, list[int]] = {"a": [0, 2, 4, 1], "b": [6], "c": [8], "d": [3]}
    assert brought(5, **many) == ((), (), 0)
    assert brought(4, **many) == (("a",), ("a", "b", "c"), 1)
    assert brought(2, **many) == (("a",), ("a", "b", "c"), 2 + 1)
    assert brought(2, a=[0], b=[2], c=[4], d=[6], e=[8]) == (("a", "b", "c"), ("a", "b", "c", "d", "e"), 3)
    assert brought(1, a=[0], b=[0], c=[0]) == ((), (), 0)  # one slice, in which three small files lie
    assert brought(1, a=[0], b=[0], c=[0, 2]) == (("c",), ("a", "b", "c"), 3)


@given(st.lists(st.lists(st.integers(0, 59), unique=True, max_size=12), max_size=7), st.integers(1, 6))
def test_what_must_be_brought_again_suffices(bad: list[list[int]], parity_rows: int) -> None:
    shape = ParityShape(10, parity_rows, 4, 10)
    names = {str(number): slices for number, slices in enumerate(bad)}
    wanted = parts_to_bring(names, shape)

    def mended(brought: tuple[str, ...]) -> bool:
        lost = {number for name, slices in names.items() if name not in brought for number in slices}
        return all(sum(number % 4 == stripe for number in lost) <= parity_rows for stripe in range(4))

    assert mended(wanted.chosen)
    assert not any(mended(tuple(name for name in wanted.chosen if name != left)) for left in wanted.chosen)
    assert all(mended(some) for some in itertools.combinations(wanted.instead_of, wanted.any_of_them))


def test_a_checksum_is_cut_from_sha256() -> None:
    assert slice_checksum(b"").hex() == "e3b0c44298fc1c149afbf4c8"
    assert len(slice_checksum(b"")) == CHECKSUM_BYTES
