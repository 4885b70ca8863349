"""What a wheel would write is looked at before an installer sees it, by the rules of the mirror's gate."""

import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch_offline.bundle.reading.wheel_contents import MAX_WHEEL_DIRECTORY, unsafe_member, wheel_problems
from tests.wheels.test_archive import REAL_WHEELS, zip64_end
from tests.wheels.wheel_builder import DIST_INFO, NAME, SAFE_NAMES, UNSAFE_NAMES, build, contents, entry, good_wheel

DATA = DIST_INFO.replace(".dist-info", ".data")


def problems(archive: bytes, *, installed_bytes: int = 0, folds_case: bool = False) -> tuple[str, ...]:
    return wheel_problems(io.BytesIO(archive), f"whl/cpu/{NAME}", installed_bytes, folds_case=folds_case)


def test_a_good_wheel_has_no_problem() -> None:
    for archive in (good_wheel(), zip64_end(good_wheel())):
        assert problems(archive, installed_bytes=100_000, folds_case=True) == ()


@pytest.mark.parametrize("path", REAL_WHEELS, ids=lambda path: path.name)
def test_a_real_torch_wheel_is_good(path: Path) -> None:
    with path.open("rb") as file:
        assert wheel_problems(file, path.name) == ()


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_unsafe_names(name: str) -> None:
    assert unsafe_member(name)
    assert problems(build({**contents(), name: b"x"}))


@pytest.mark.parametrize("name", SAFE_NAMES)
def test_safe_names(name: str) -> None:
    assert unsafe_member(name) is None


def test_a_name_that_is_cut_at_a_nul_byte() -> None:
    assert problems(good_wheel().replace(b"demo_pkg/data.bin", b"demo_pkg/d\0ta.bin"))


@pytest.mark.parametrize("mode", [0o120777, 0o010644, 0o060644, 0o040755])
def test_links_and_special_files(mode: int) -> None:
    file = io.BytesIO(good_wheel())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(entry("demo_pkg/link", mode=mode), b"/etc/passwd")
    assert "special file" in problems(file.getvalue())[0]


@pytest.mark.parametrize(
    "members",
    [
        {"demo_pkg": b""},
        {f"{DATA}/elsewhere/x": b"x"},
        {f"{DATA}/x": b"x"},
        {"other-1.0.data/purelib/x.py": b"x"},
        {f"{DATA}/purelib/demo_pkg/__init__.py": b"x"},
        {f"{DATA}/platlib/{DIST_INFO}/METADATA": b"x"},
        {f"{DATA}/scripts/../../../evil": b"x"},
        {f"{DIST_INFO}/entry_points.txt": b"[console_scripts]\n../../evil = demo_pkg:main\n"},
        {f"{DIST_INFO}/entry_points.txt": b"[gui_scripts]\n/bin/evil = demo_pkg:main\n"},
        {f"{DIST_INFO}/entry_points.txt": b"\xff\xfe[[["},
    ],
)
def test_members_that_would_land_where_they_must_not(members: dict[str, bytes]) -> None:
    assert problems(build({**contents(), **members}))


def test_names_that_differ_in_case_clash_where_the_destination_folds_it() -> None:
    archive = build({**contents(), "demo_pkg/Data.bin": b"other"})
    assert problems(archive) == ()
    assert problems(archive, folds_case=True)


def test_a_bomb_takes_no_more_than_the_manifest_says() -> None:
    bomb = build({**contents(), "demo_pkg/zeros": bytes(4_000_000)})
    assert len(bomb) < 20_000
    assert "unpacks to" in problems(bomb, installed_bytes=100_000)[0]
    assert problems(bomb, installed_bytes=5_000_000) == ()


def test_a_directory_without_bound_is_not_read() -> None:
    archive = good_wheel()
    huge = struct.pack("<L", MAX_WHEEL_DIRECTORY + 1)
    assert "claims" in problems(archive[:-10] + huge + archive[-6:])[0]
    wide = zip64_end(archive)
    at = wide.rindex(b"PK\x06\x06")
    assert "claims" in problems(wide[: at + 40] + struct.pack("<Q", 2**62) + wide[at + 48 :])[0]


def test_a_text_without_bound_is_not_read() -> None:
    # The claim alone is enough: nobody has to write so many bytes.
    name = f"{DIST_INFO}/METADATA".encode()
    archive = bytearray(good_wheel())
    at = archive.rindex(name) - 46
    struct.pack_into("<L", archive, at + 24, 2**31)
    assert any("claims" in problem for problem in problems(bytes(archive)))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_is_told_and_never_a_traceback(data: st.DataObject) -> None:
    archive = bytearray(good_wheel())
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    cut = archive[: data.draw(st.sampled_from([len(archive), len(archive) // 2, 30, 0]))]
    assert all(problem.isascii() for problem in problems(bytes(cut)))
