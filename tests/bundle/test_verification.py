"""A bundle that is intact is found so; whatever else happened to it is named, with what mends it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.bundle.reading.findings import damaged_bundle, render_bundle_finding
from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.bundle.reading.verification import Verification, verify_source
from tests.bundle.crafted_manifests import PIP, PYLOCK, TORCH
from tests.bundle.crafted_media import INSTALLER, NUMPY, bodies, flip, piece_of, write, write_plain, write_volumes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytorch_offline.bundle.reading.findings import BundleFinding


def verify(*places: Path) -> Verification:
    return verify_source(open_source([str(place) for place in places]))


def only(verification: Verification) -> BundleFinding:
    assert len(verification.findings) == 1, verification.findings
    return verification.findings[0]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def remove(path: Path) -> None:
    path.unlink()


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


HARM: dict[Callable[[Path], None], str] = {
    flip: "damaged",
    cut: "truncated",
    emptied: "truncated",
    lengthen: "damaged",
    remove: "missing",
    replace_by_directory: "missing",
}


@pytest.mark.parametrize("lay_out", [write_plain, write_volumes])
def test_no_false_alarm(tmp_path: Path, lay_out: Callable[[Path], object]) -> None:
    lay_out(tmp_path)
    found = verify(tmp_path)
    assert found.findings == ()
    assert found.files == len(bodies())
    assert found.size == sum(map(len, bodies().values()))
    for left in (".DS_Store", "whl/.DS_Store", "data/Thumbs.db", "tools/desktop.ini", "whl/._torch.whl", "autorun.inf"):
        write(tmp_path / left, b"\x00")
    assert verify(tmp_path).findings == ()
    for path in tmp_path.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert verify(tmp_path, tmp_path).findings == ()


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("path", [TORCH, NUMPY, PYLOCK, PIP, "install.py", "CONTENTS.txt"])
def test_harm_to_a_file_is_named(tmp_path: Path, path: str, harm: Callable[[Path], None]) -> None:
    write_plain(tmp_path)
    harm(tmp_path / path)
    finding = only(verify(tmp_path))
    assert (finding.path, finding.problem, finding.volume) == (path, HARM[harm], None)
    assert finding.bring.startswith(f"bring {path} (")


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_harm_to_any_file_of_any_volume_is_named(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    made = write_volumes(tmp_path / "sound")
    owners = {piece.name: file.path for file in made.files for piece in file.pieces}
    for path in sorted(
        path.relative_to(tmp_path / "sound") for path in (tmp_path / "sound").rglob("*") if path.is_file()
    ):
        out = shutil.copytree(tmp_path / "sound", tmp_path / "hurt")
        harm(out / path)
        number = int(path.parts[0][-3:])
        name = "/".join(path.parts[1:])
        finding = only(verify(out))
        assert finding.path == owners.get(name, name)
        assert finding.volume == number
        expected = HARM[harm]
        if name in {"manifest.json", "VOLUME.txt"} and expected == "truncated":
            expected = "damaged"
        assert finding.problem == expected
        assert "volume" in finding.bring
        assert name in finding.bring
        shutil.rmtree(out)


def test_a_truncated_file_says_how_much_there_is(tmp_path: Path) -> None:
    write_plain(tmp_path)
    os.truncate(tmp_path / TORCH, 1234)
    assert only(verify(tmp_path)).detail == "it has 1234 of 100000 bytes"


def test_a_lost_volume_is_one_finding(tmp_path: Path) -> None:
    made = write_volumes(tmp_path)
    shutil.rmtree(tmp_path / "volume-002")
    shutil.rmtree(tmp_path / "volume-004")
    found = verify(tmp_path).findings
    assert [(finding.problem, finding.bring) for finding in found] == [
        ("missing", f"bring volume 2 of {made.volumes}"),
        ("missing", f"bring volume 4 of {made.volumes}"),
    ]
    assert TORCH.rsplit("/", 1)[-1] in found[0].detail


def test_a_source_that_is_verified_twice_says_the_same(tmp_path: Path) -> None:
    made = write_volumes(tmp_path)
    assert made.volumes > 3
    source = open_source([str(tmp_path)])
    assert [verify_source(source).findings for _ in range(2)] == [(), ()]
    flip(tmp_path / "volume-002" / INSTALLER)
    shutil.rmtree(tmp_path / "volume-003")
    source = open_source([str(tmp_path)])
    first = verify_source(source).findings
    assert sorted((finding.path, finding.volume) for finding in first) == [(INSTALLER, 2), ("volume-003", 3)]
    assert verify_source(source).findings == first


def test_a_lost_part_says_which_volume_and_which_file(tmp_path: Path) -> None:
    made = write_volumes(tmp_path)
    piece = made.file_at(TORCH).pieces[1]
    (tmp_path / f"volume-{piece.volume:03d}" / piece.name).unlink()
    finding = only(verify(tmp_path))
    name = TORCH.rsplit("/", 1)[-1]
    assert finding.bring == (
        f"bring volume {piece.volume} of {made.volumes}, or its file {piece.name}: 40.0 kB of {name}"
    )
    assert verify(tmp_path).bad == ((piece, None),)


def test_a_renamed_file_is_said_where_it_lies(tmp_path: Path) -> None:
    write_plain(tmp_path)
    (tmp_path / TORCH).rename(tmp_path / "whl" / "other.whl")
    finding = only(verify(tmp_path))
    assert (finding.path, finding.problem) == (TORCH, "renamed")
    assert finding.bring.startswith(f"rename {tmp_path / 'whl' / 'other.whl'} to {TORCH}")


def test_swapped_files_are_told_as_such(tmp_path: Path) -> None:
    write_plain(tmp_path)
    first, second = (tmp_path / path for path in (TORCH, NUMPY))
    first.rename(tmp_path / "aside")
    second.rename(first)
    (tmp_path / "aside").rename(second)
    found = verify(tmp_path).findings
    assert {(finding.path, finding.problem) for finding in found} == {(TORCH, "swapped"), (NUMPY, "swapped")}


def test_a_file_over_another_is_a_duplicate(tmp_path: Path) -> None:
    write_plain(tmp_path)
    shutil.copy(tmp_path / TORCH, tmp_path / NUMPY)
    finding = only(verify(tmp_path))
    assert (finding.path, finding.problem) == (NUMPY, "duplicated")
    assert TORCH in finding.detail
    assert NUMPY in finding.bring


def test_a_copy_under_a_new_name_is_a_duplicate_and_other_bytes_are_unexpected(tmp_path: Path) -> None:
    write_plain(tmp_path)
    shutil.copy(tmp_path / NUMPY, tmp_path / "whl" / "numpy (copy).whl")
    write(tmp_path / "locks" / "pylock.evil.toml", b"# evil")
    found = {Path(finding.path).name: finding.problem for finding in verify(tmp_path).findings}
    assert found == {"numpy (copy).whl": "duplicated", "pylock.evil.toml": "unexpected"}


def test_swapped_labels_are_told_and_swapped_directories_are_no_matter(tmp_path: Path) -> None:
    write_volumes(tmp_path)
    one, two = (tmp_path / "volume-001", tmp_path / "volume-002")
    one.rename(tmp_path / "x")
    two.rename(one)
    (tmp_path / "x").rename(two)
    assert verify(tmp_path).findings == ()
    (one / "VOLUME.txt").rename(tmp_path / "y")
    (two / "VOLUME.txt").rename(one / "VOLUME.txt")
    (tmp_path / "y").rename(two / "VOLUME.txt")
    found = verify(tmp_path).findings
    assert [(finding.path, finding.problem, finding.volume) for finding in found] == [
        ("VOLUME.txt", "swapped", 2),
        ("VOLUME.txt", "swapped", 1),
    ]


def test_a_sound_copy_makes_up_for_a_damaged_one_in_whichever_order(tmp_path: Path) -> None:
    made = write_volumes(tmp_path / "usb")
    piece = made.file_at(TORCH).pieces[0]
    volume = tmp_path / "usb" / f"volume-{piece.volume:03d}"
    write(tmp_path / "disk" / piece.name, (volume / piece.name).read_bytes())
    flip(volume / piece.name)
    for places in (("usb", "disk"), ("disk", "usb")):
        source = open_source([str(tmp_path / place) for place in places])
        assert verify_source(source).findings == ()
        assert b"".join(source.read_file(TORCH)) == bodies()[TORCH]


def test_what_was_read_is_not_read_again_unless_it_may_have_changed(tmp_path: Path) -> None:
    made = write_plain(tmp_path)
    source = open_source([str(tmp_path)])
    assert verify_source(source).bytes_read == sum(map(len, bodies().values()))
    wheels = [file for file in made.files if file.path.startswith("whl/")]
    assert verify_source(source, wheels).bytes_read == 0
    assert verify_source(source, wheels, again=True).bytes_read == sum(file.size for file in wheels)
    os.utime(tmp_path / NUMPY, ns=(0, 0))
    assert verify_source(source, wheels).bytes_read == len(bodies()[NUMPY])
    flip(tmp_path / TORCH)
    assert only(verify_source(source, wheels)).path == TORCH


def test_only_what_is_needed_is_read_when_files_are_named(tmp_path: Path) -> None:
    made = write_plain(tmp_path)
    flip(tmp_path / NUMPY)
    write(tmp_path / "whl" / "stray.whl", b"x")
    source = open_source([str(tmp_path)])
    assert verify_source(source, [made.file_at(TORCH)]).findings == ()
    assert NUMPY in [finding.path for finding in verify_source(source).hindering]


def test_damaged_parity_is_told_and_hinders_nothing(tmp_path: Path) -> None:
    held = {**bodies(), "parity/row-101": b"r" * 1000}
    write_plain(tmp_path, held)
    flip(tmp_path / "parity" / "row-101")
    verification = verify_source(open_source([str(tmp_path)]))
    assert only(verification).path == "parity/row-101"
    assert verification.hindering == ()


def test_a_pipe_and_a_link_are_not_read(tmp_path: Path) -> None:
    write_plain(tmp_path / "bundle")
    write(tmp_path / "elsewhere", bodies()[NUMPY])
    (tmp_path / "bundle" / NUMPY).unlink()
    (tmp_path / "bundle" / NUMPY).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "bundle" / PIP).unlink()
    os.mkfifo(tmp_path / "bundle" / PIP)
    found = {finding.path: (finding.problem, finding.detail) for finding in verify(tmp_path / "bundle").findings}
    assert found[NUMPY][0] == found[PIP][0] == "unreadable"
    assert "a link" in found[NUMPY][1]


def test_every_finding_is_said_with_what_to_do(tmp_path: Path) -> None:
    write_volumes(tmp_path)
    for path in (tmp_path / "volume-002").rglob("*.*of*"):
        flip(path)
    findings = verify(tmp_path).findings
    assert [line for finding in findings for line in render_bundle_finding(finding)][1].startswith(
        "  bring volume 2 of "
    )
    assert "bring volume 2" in str(damaged_bundle(findings).hint)


def test_the_same_bytes_in_two_files_are_one_part(tmp_path: Path) -> None:
    held = {**bodies(), "whl/cu121/" + NUMPY.rsplit("/", 1)[-1]: bodies()[NUMPY]}
    made = write_volumes(tmp_path, held)
    assert verify(tmp_path).findings == ()
    piece = made.file_at(NUMPY).pieces[0]
    assert piece.name == piece_of(1, bodies()[NUMPY], "whl").name
