"""A bundle is found in whatever directories it came in, and nothing else is taken for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.bundle.format.manifest import render_manifest
from pytorch_offline.bundle.reading.opening import media_beside, media_of_program, open_source
from pytorch_offline.errors import IntegrityError, UsageError
from tests.bundle.crafted_manifests import PYLOCK, TORCH, bundle_file, manifest
from tests.bundle.crafted_media import NUMPY, bodies, write, write_plain, write_volumes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytorch_offline.bundle.reading.sources import Source


def contents(source: Source) -> dict[str, bytes]:
    return {file.path: b"".join(source.read_file(file.path)) for file in source.manifest.files}


def gathered(out: Path) -> list[Path]:
    together = out.parent / "together"
    for volume in sorted(out.iterdir(), reverse=True):
        shutil.copytree(volume, together, dirs_exist_ok=True)
    return [together]


def loose(out: Path) -> list[Path]:
    heap = out.parent / "heap"
    shutil.copytree(out / "volume-001", heap)
    for part in out.glob("*/data/*"):
        shutil.copy(part, heap / part.name)
    shutil.rmtree(heap / "data")
    return [heap]


def two_places(out: Path) -> list[Path]:
    disk = out.parent / "disk"
    disk.mkdir()
    shutil.move(out / "volume-002", disk / "a copy of the second")
    return [disk, out]


def shouted(out: Path) -> list[Path]:
    for path in sorted(out.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.upper()))
    return [out]


def versioned(out: Path) -> list[Path]:
    for path in [path for path in out.rglob("*") if path.is_file()]:
        path.rename(path.with_name(path.name.upper() + ";1"))
    return [out]


@pytest.mark.parametrize(
    "laid_out",
    [
        lambda out: [out],
        lambda out: sorted(out.iterdir(), reverse=True),
        lambda out: [*out.iterdir(), out, *out.iterdir()],
        gathered,
        loose,
        two_places,
        shouted,
        versioned,
    ],
    ids=["above", "reversed", "again", "gathered", "loose", "two-places", "shouted", "versioned"],
)
def test_volumes_are_read_from_wherever_they_lie(tmp_path: Path, laid_out: Callable[[Path], list[Path]]) -> None:
    made = write_volumes(tmp_path / "out")
    source = open_source([str(path) for path in laid_out(tmp_path / "out")])
    assert source.manifest == made
    assert contents(source) == bodies()
    assert source.strays == ()


@pytest.mark.parametrize("plus", ["+", "%2B", "%2b", " ", "_", "%252B"])
def test_a_mangled_plus_is_understood(tmp_path: Path, plus: str) -> None:
    write_plain(tmp_path / "bundle")
    (tmp_path / "bundle" / TORCH).rename(tmp_path / "bundle" / TORCH.replace("+", plus))
    source = open_source([str(tmp_path)])
    assert contents(source) == bodies()
    assert source.strays == ()


def test_a_file_is_read_from_any_place_of_it(tmp_path: Path) -> None:
    write_volumes(tmp_path, limit=7_001)
    with open_source([str(tmp_path)]).open_file(TORCH) as file:
        assert file.seek(0, os.SEEK_END) == 100_000
        file.seek(-20_000, os.SEEK_CUR)
        assert file.read(9_000) == bodies()[TORCH][80_000:89_000]
        file.seek(3)
        assert file.read() == bodies()[TORCH][3:]
        assert file.read() == b""


def test_whole_files_are_given_by_path_and_others_are_not(tmp_path: Path) -> None:
    write_volumes(tmp_path, limit=40_000)
    source = open_source([str(tmp_path)])
    whole = source.whole(NUMPY)
    assert whole is not None
    assert Path(whole).read_bytes() == bodies()[NUMPY]
    assert source.whole(TORCH) is None


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    made = write_volumes(tmp_path)
    shutil.rmtree(tmp_path / "volume-003")
    source = open_source([str(tmp_path)])
    location = source.locate(made.file_at(TORCH))
    lost = location.missing or source.locate(made.file_at(NUMPY)).missing
    assert [piece.volume for piece in lost] == [3]
    with pytest.raises(IntegrityError) as failure:
        contents(source)
    assert failure.value.code == "part-missing"


def test_a_damaged_manifest_is_outvoted(tmp_path: Path) -> None:
    made = write_volumes(tmp_path)
    (tmp_path / "volume-001" / "manifest.json").write_bytes(b"\x00" * 4096)
    changed = bytearray((tmp_path / "volume-002" / "manifest.json").read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / "volume-002" / "manifest.json").write_bytes(changed)
    source = open_source([str(tmp_path)])
    assert source.manifest == made
    assert [root.manifest for root in source.roots][:3] == ["damaged", "damaged", "sound"]


def test_without_a_sound_manifest_nothing_is_read(tmp_path: Path) -> None:
    write_plain(tmp_path)
    with (tmp_path / "manifest.json").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(IntegrityError) as failure:
        open_source([str(tmp_path)])
    assert failure.value.code == "bad-manifest"


def test_volumes_of_two_bundles_are_told_apart(tmp_path: Path) -> None:
    first = write_volumes(tmp_path / "one")
    second = write_volumes(tmp_path / "two", bodies(2))
    with pytest.raises(IntegrityError) as failure:
        open_source([str(tmp_path / "one" / "volume-001"), str(tmp_path / "two" / "volume-002")])
    assert failure.value.code == "mixed-bundles"
    facts = {Path(place).name: str(fact) for place, fact in failure.value.facts.items()}
    assert first.id[:12] in facts["volume-001"]
    assert second.id[:12] in facts["volume-002"]


def test_a_delta_is_read_beside_its_base_in_any_packing(tmp_path: Path) -> None:
    base = write_volumes(tmp_path / "base")
    held = {**bodies(), NUMPY: b"newer" * 1000}
    files = [bundle_file(path, body, carried=path in {NUMPY, "install.py"}) for path, body in held.items()]
    delta = manifest(files=files, base=base.id)
    for path in (NUMPY, "install.py"):
        write(tmp_path / "delta" / path, held[path])
    write(tmp_path / "delta" / "manifest.json", render_manifest(delta))
    for order in (["base", "delta"], ["delta", "base"]):
        source = open_source([str(tmp_path / name) for name in order])
        assert source.manifest == delta
        assert b"".join(source.read_file(TORCH)) == held[TORCH]
        assert b"".join(source.read_file(NUMPY)) == held[NUMPY]
        assert b"".join(source.read_file(PYLOCK)) == held[PYLOCK]


def test_an_unfinished_bundle_is_known(tmp_path: Path) -> None:
    write_volumes(tmp_path / "out")
    (tmp_path / "out" / "volume-002" / "UNFINISHED").touch()
    with pytest.raises(IntegrityError) as failure:
        open_source([str(tmp_path / "out")])
    assert failure.value.code == "bundle-unfinished"
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "UNFINISHED").touch()
    with pytest.raises(IntegrityError) as failure:
        open_source([str(tmp_path / "begun")])
    assert failure.value.code == "bundle-unfinished"


def test_no_bundle_is_an_error_of_use(tmp_path: Path) -> None:
    for places in ([tmp_path], [tmp_path / "nowhere"]):
        with pytest.raises(UsageError) as failure:
            open_source([str(place) for place in places])
        assert failure.value.code == "no-bundle"


def test_links_and_special_files_are_not_followed_out(tmp_path: Path) -> None:
    made = write_plain(tmp_path / "bundle")
    torch, numpy, lock = (tmp_path / "bundle" / path for path in (TORCH, NUMPY, PYLOCK))
    (tmp_path / "away.whl").write_bytes(torch.read_bytes())
    torch.unlink()
    torch.symlink_to(tmp_path / "away.whl")
    numpy.rename(tmp_path / "bundle" / "inside.whl")
    numpy.symlink_to(tmp_path / "bundle" / "inside.whl")
    lock.unlink()
    os.mkfifo(lock)
    source = open_source([str(tmp_path / "bundle")])
    assert source.find(source.pieces_of(made.file_at(TORCH))[0]) == ()
    assert source.find(source.pieces_of(made.file_at(PYLOCK))[0]) == ()
    assert b"".join(source.read_file(NUMPY)) == bodies()[NUMPY]
    assert sorted((met.name, met.kind) for met in source.refused) == [
        (lock.name, "special"),
        (torch.name, "link"),
    ]


def test_what_file_managers_leave_is_no_stray_and_the_rest_is(tmp_path: Path) -> None:
    write_plain(tmp_path)
    for name in (
        ".DS_Store",
        "whl/._torch.whl",
        "whl/Thumbs.db",
        "System Volume Information/x",
        ".Trash-0/y",
        "notes.txt",
    ):
        write(tmp_path / name, b"x")
    write(tmp_path / "whl/cpu/evil-1.0-py3-none-any.whl", b"x")
    write(tmp_path / "locks/deep/er/evil.toml", b"x")
    assert [Path(path).name for path in open_source([str(tmp_path)]).strays] == [
        "evil.toml",
        "evil-1.0-py3-none-any.whl",
    ]


def test_other_volumes_are_found_beside_the_one_that_is_started_from(tmp_path: Path) -> None:
    write_volumes(tmp_path / "out")
    write_volumes(tmp_path / "out" / "other", bodies(2))
    found = media_beside(str(tmp_path / "out" / "volume-002"))
    assert sorted(Path(path).name for path in found) == sorted(
        path.name for path in (tmp_path / "out").glob("volume-*")
    )
    shutil.move(tmp_path / "out" / "volume-003", tmp_path / "out" / "CDROM")
    assert str(tmp_path / "out" / "CDROM") in media_beside(str(tmp_path / "out" / "volume-001"))
    (tmp_path / "out" / "volume-001" / "manifest.json").rename(tmp_path / "out" / "volume-001" / "MANIFEST.JSON")
    assert str(tmp_path / "out" / "CDROM") in media_beside(str(tmp_path / "out" / "volume-001"))
    (tmp_path / "out" / "volume-001" / "MANIFEST.JSON").write_bytes(b"{")
    assert str(tmp_path / "out" / "volume-002") in media_beside(str(tmp_path / "out" / "volume-001"))
    write_plain(tmp_path / "plain" / "a")
    assert media_beside(str(tmp_path / "plain" / "a")) == (str(tmp_path / "plain" / "a"),)


def test_a_program_that_lies_alone_takes_nobody_elses_bundle(tmp_path: Path) -> None:
    write_plain(tmp_path / "somebody's")
    write_plain(tmp_path / "deeper" / "down")
    write_plain(tmp_path / "here" / "whl")
    for place in (tmp_path, tmp_path / "deeper", tmp_path / "here"):
        assert media_of_program(str(place)) == (str(place),)
        with pytest.raises(UsageError) as failure:
            open_source(media_of_program(str(place)), deep=False)
        assert failure.value.code == "no-bundle"
        assert str(place) in failure.value.message
        assert "nothing deeper" in str(failure.value.facts["looked at"])
        assert "--from" in str(failure.value.hint)


@pytest.mark.parametrize("spelling", ["volume-{}", "VOLUME-{}", "Volume-{}"])
def test_a_program_above_volumes_takes_them_and_no_other_neighbour(spelling: str, tmp_path: Path) -> None:
    write_volumes(tmp_path / "out")
    for volume in sorted((tmp_path / "out").iterdir()):
        volume.rename(volume.with_name(spelling.format(volume.name[-3:])))
    volumes = {str(path) for path in (tmp_path / "out").iterdir()}
    write_plain(tmp_path / "out" / "other", bodies(2))
    assert set(media_of_program(str(tmp_path / "out"))) == volumes
    source = open_source(media_of_program(str(tmp_path / "out")), deep=False)
    assert contents(source) == bodies()
    beside = open_source(media_of_program(sorted(volumes)[1]), deep=False)
    assert contents(beside) == bodies()


def test_a_program_in_its_bundle_takes_the_copy_that_parity_keeps_of_the_manifest(tmp_path: Path) -> None:
    write_plain(tmp_path)
    (tmp_path / "Parity").mkdir()
    (tmp_path / "manifest.json").rename(tmp_path / "Parity" / "MANIFEST.JSON")
    source = open_source(media_of_program(str(tmp_path)), deep=False)
    assert [(root.directory, root.manifest) for root in source.roots] == [(str(tmp_path), "missing")]
    assert contents(source) == bodies()


def test_a_mirror_is_read_with_the_manifest_that_was_made_for_it(tmp_path: Path) -> None:
    made = write_plain(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 1, "files": []}', encoding="utf-8")
    with pytest.raises(UsageError):
        open_source([str(tmp_path)])
    source = open_source([str(tmp_path)], made)
    assert contents(source) == bodies()
    assert source.strays == ()


def test_what_became_a_pipe_or_a_link_is_not_waited_for_nor_followed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    program = "import sys; from pytorch_offline.bundle.reading.media import open_regular; open_regular(sys.argv[1])"
    for name in ("pipe", "link"):
        command = [sys.executable, "-c", program, str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert "OSError" in done.stderr
