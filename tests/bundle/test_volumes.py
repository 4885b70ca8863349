"""Files are packed into volumes that fit, in the same way every time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.bundle.format.model import BundleFile
from pytorch_offline.bundle.writing.volumes import (
    LARGEST_PIECE,
    cluster_bytes,
    hash_runs,
    lay_out,
    plan_volumes,
    room_in_volume,
    split_files,
    with_pieces,
)
from pytorch_offline.cli.rates import parse_volume_size
from pytorch_offline.errors import UsageError
from tests.bundle.crafted_manifests import manifest

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.bundle.writing.volumes import PlannedPiece

MB, GB = 10**6, 10**9


def row(path: str, size: int) -> BundleFile:
    return BundleFile(path=path, size=size, sha256=hashlib.sha256(path.encode()).hexdigest())


def packed(files: list[BundleFile], limit: int) -> tuple[PlannedPiece, ...]:
    return plan_volumes(files, limit=limit, room=room_in_volume(limit, [300_000, 100_000]))


SIZES = st.lists(st.integers(min_value=0, max_value=40 * MB), max_size=30)


@given(SIZES, st.integers(min_value=4 * MB, max_value=100 * MB))
def test_every_byte_is_packed_once_and_every_volume_fits(sizes: list[int], limit: int) -> None:
    files = [row(f"whl/{number}.whl", size) for number, size in enumerate(sizes)]
    room, cluster = room_in_volume(limit, [300_000, 100_000]), cluster_bytes(limit)
    plan = packed(files, limit)
    assert sorted(plan, key=str) == sorted(packed(files[::-1], limit), key=str)
    for file in files:
        runs = [run for run in plan if run.file == file]
        assert [run.number for run in runs] == list(range(1, len(runs) + 1))
        assert {run.count for run in runs} == {len(runs)}
        assert sum(run.size for run in runs) == file.size
        assert [run.offset for run in runs] == [sum(run.size for run in runs[:index]) for index in range(len(runs))]
        assert len(runs) == 1 or file.size > room - 2 * cluster
    volumes = sorted({run.volume for run in plan})
    assert volumes == list(range(1, len(volumes) + 1))
    for volume in volumes:
        assert sum(-(-run.size // cluster) * cluster for run in plan if run.volume == volume) <= room


def test_whole_files_share_volumes_and_a_large_one_is_cut() -> None:
    files = [row("whl/torch.whl", 900 * MB), *(row(f"whl/{number}.whl", 150 * MB) for number in range(4))]
    plan = packed(files, 700 * MB)
    assert split_files(plan).keys() == {"whl/torch.whl"}
    assert max(run.volume for run in plan) == 3
    assert all(run.count == 1 for run in plan if run.file.path != "whl/torch.whl")


def test_no_part_is_too_long_for_fat32_on_whatever_medium() -> None:
    plan = packed([row("whl/torch.whl", 9 * GB)], 32 * GB)
    assert [run.size <= LARGEST_PIECE for run in plan] == [True] * 3
    assert {run.volume for run in plan} == {1}


def test_the_same_bytes_are_packed_once() -> None:
    one = row("whl/a.whl", 10 * MB)
    files = [one, one._replace(path="whl/cpu/a.whl")]
    rows = with_pieces(files, packed(files, 100 * MB), {})
    assert rows[0].pieces == rows[1].pieces
    made = manifest(files=rows, targets=(), volume_size=100 * MB)
    assert [part.file.path for part in lay_out(made)] == [f"volume-001/{rows[0].pieces[0].name}"]


def test_names_of_parts_survive_every_medium() -> None:
    files = [
        row("whl/cpu/torch-2.4.0+cpu-cp311-cp311-linux_x86_64.whl", 300 * MB),
        row("locks/pylock.GPU Node.toml", 5_000),
        row("locks/target.json", 5_000),
        row("whl/numpy.whl.metadata", 5_000),
        row("tools/strange.", 10),
        row("tools/UPPER", 10),
    ]
    plan = packed(files, 100 * MB)
    digests = {path: ["0" * 64] * len(sizes) for path, sizes in split_files(plan).items()}
    names = [piece.name.removeprefix("data/") for file in with_pieces(files, plan, digests) for piece in file.pieces]
    for name in names:
        assert len(name) <= 64
        assert name == name.lower()
        assert set(name) <= set("0123456789abcdefghijklmnopqrstuvwxyz.")
        assert name.count(".") == 1
        assert not name.endswith(".")
    assert [name.partition(".")[2] for name in names] == [
        *(f"{number}of{len(digests[files[0].path])}" for number in range(1, len(digests[files[0].path]) + 1)),
        "toml",
        "json",
        "metadata",
        "part",
        "part",
    ]


def test_a_volume_without_room_is_refused() -> None:
    with pytest.raises(UsageError) as failure:
        room_in_volume(400_000, [300_000, 100_000])
    assert failure.value.code == "volume-too-small"
    with pytest.raises(UsageError) as failure:
        plan_volumes([row("whl/a.whl", 10**12)], limit=2 * MB, room=room_in_volume(2 * MB, [300_000]))
    assert failure.value.code == "volume-too-small"


def test_runs_are_hashed_and_the_whole_is_compared(tmp_path: Path) -> None:
    body = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(body)
    sha256, sizes = hashlib.sha256(body).hexdigest(), (1_000_000, 1_000_000, 560_000)
    assert hash_runs(tmp_path / "file", sizes, sha256) == tuple(
        hashlib.sha256(body[start : start + 1_000_000]).hexdigest() for start in range(0, len(body), 1_000_000)
    )
    assert "instead of" in str(hash_runs(tmp_path / "file", sizes, "0" * 64))
    assert "more than" in str(hash_runs(tmp_path / "file", sizes[:2], sha256))
    assert "or fewer" in str(hash_runs(tmp_path / "file", (*sizes, 1), sha256))
    assert hash_runs(tmp_path / "none", sizes, sha256) == "is missing"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("700MB", 700 * MB),
        ("4.7GB", 4_700 * MB),
        ("2GiB", 2 << 30),
        ("4GiB-1", (4 << 30) - 1),
        ("fat32", (4 << 30) - 1),
        ("DVD", 4_700 * MB),
        ("cd", 734_003_200),
        ("bd", 25 * GB),
        ("0", None),
        ("-1", None),
        ("1k-1000", None),
        ("4GiB-x", None),
        ("floppy", None),
    ],
)
def test_sizes_of_media_are_read(text: str, size: int | None) -> None:
    assert parse_volume_size(text) == size
