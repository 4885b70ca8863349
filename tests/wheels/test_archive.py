from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch_offline.errors import IntegrityError
from pytorch_offline.wheels import zip_format
from pytorch_offline.wheels.archive import ArchiveReport, check_archive
from pytorch_offline.wheels.archive_rules import check_wheel_file, unsafe_name
from pytorch_offline.wheels.filename import parse_wheel_name
from pytorch_offline.wheels.metadata import parse_metadata
from tests.wheels.wheel_builder import (
    DIST_INFO,
    METADATA,
    NAME,
    SAFE_NAMES,
    UNSAFE_NAMES,
    build,
    contents,
    entry,
    good_wheel,
    record,
    record_row,
    wheel_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

REAL_WHEELS = sorted(Path("/opt/wheels").glob("*.whl"))


def check(archive: bytes, filename: str = NAME, *, deep: bool = True) -> ArchiveReport:
    return check_archive(io.BytesIO(archive), wheel_name(filename), deep=deep)


def codes(archive: bytes, filename: str = NAME, *, deep: bool = True) -> set[str]:
    return {problem.code for problem in check(archive, filename, deep=deep).problems}


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_both_inflaters_say_the_same_of_any_damage(data: st.DataObject) -> None:
    """What the extra ``fast`` installs is quicker, and neither kinder nor stricter."""
    isal_zlib = pytest.importorskip("isal.isal_zlib")
    archive = bytearray(good_wheel())
    for _ in range(data.draw(st.integers(0, 3))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    found = []
    for inflation in (zlib, isal_zlib):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(zip_format, "_inflation", inflation)
            patch.setattr(zip_format, "_inflate_errors", (zlib.error, isal_zlib.error))
            report = check(bytes(archive))
        found.append(([(problem.code, problem.member) for problem in report.problems], report.metadata))
    assert found[0] == found[1]


@pytest.mark.parametrize("deep", [True, False])
def test_a_good_wheel_has_no_problem_and_gives_its_metadata(deep: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    report = check(good_wheel(), deep=deep)
    assert report.problems == ()
    assert report.metadata == METADATA


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_the_pass_sees_all_bytes_in_order_whatever_is_wrong(data: st.DataObject) -> None:
    archive = bytearray(good_wheel())
    for _ in range(data.draw(st.integers(0, 3))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    archive = archive[: data.draw(st.sampled_from([len(archive), len(archive) // 2, 1, 0]))]
    seen = bytearray()
    report = check_archive(io.BytesIO(archive), wheel_name(), seen=seen.extend)
    assert seen == archive
    assert report == check(bytes(archive))


def test_a_good_wheel_on_disk(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(good_wheel())
    assert check_archive(path, wheel_name()).problems == ()


def test_a_file_that_cannot_be_read_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError) as caught:
        check_archive(tmp_path / "absent.whl", wheel_name())
    assert caught.value.code == "unreadable-file"


def test_directory_members_and_signatures_need_no_record() -> None:
    members = {"demo_pkg/": b"", **contents(), f"{DIST_INFO}/RECORD.jws": b"{}", f"{DIST_INFO}/RECORD.p7s": b"."}
    listed = {name: data for name, data in members.items() if "RECORD." not in name}
    assert codes(build(members, record(listed))) == set()


def test_a_streamed_archive_with_data_descriptors_is_good() -> None:
    file = io.BytesIO()

    class Unseekable(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            return file.write(data)  # type: ignore[arg-type]  # bytes or a view of them

    with zipfile.ZipFile(Unseekable(), "w") as archive:
        for name, data in {**contents(), f"{DIST_INFO}/RECORD": record(contents())}.items():
            archive.writestr(entry(name), data)
    assert b"PK\x07\x08" in file.getvalue()
    assert codes(file.getvalue()) == set()
    assert codes(file.getvalue().replace(b"PK\x07\x08", b"PK\x07\x09", 1)) == {"bad-archive"}


def test_zip64_headers_are_read() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in {**contents(), f"{DIST_INFO}/RECORD": record(contents())}.items():
            with archive.open(entry(name), "w", force_zip64=True) as member:
                member.write(data)
    assert codes(file.getvalue()) == set()


def zip64_end(archive: bytes) -> bytes:
    """Give an archive the end records of one that is too large for the old one."""
    *_, count, size, offset, _ = struct.unpack("<4s4H2LH", archive[-22:])
    at = offset + size
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return archive[:at] + wide + locator + end


def test_a_zip64_end_record_is_read_and_must_be_in_its_place() -> None:
    archive = zip64_end(good_wheel())
    assert codes(archive) == set()
    at = archive.rindex(b"PK\x06\x06")
    assert codes(archive[:at] + b"\0" + archive[at:]) == {"bad-archive"}
    assert codes(archive[:at] + archive[at + 56 :]) == {"bad-archive"}
    assert codes(archive[: at + 56] + archive[at + 76 :]) == {"bad-archive"}
    assert codes(archive.replace(struct.pack("<QQ", 5, 5), struct.pack("<QQ", 5, 6))) == {"bad-archive"}


# --- the archive itself ---


def with_comment(archive: bytes, comment: bytes) -> bytes:
    return archive[:-2] + struct.pack("<H", len(comment)) + comment


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda archive: b"", id="empty"),  # noqa: ARG005  (one shape for all)
        pytest.param(lambda archive: b"<html>" + b" " * len(archive), id="a web page"),
        pytest.param(lambda archive: archive[:-1], id="cut at the end"),
        pytest.param(lambda archive: archive[: len(archive) // 2], id="cut in the middle"),
        pytest.param(lambda archive: archive + b"\0", id="a byte after the end"),
        pytest.param(lambda archive: archive + archive, id="two archives"),
        pytest.param(lambda archive: b"#!/bin/sh\n" + archive, id="something before the first member"),
        pytest.param(lambda archive: with_comment(archive, archive[-22:]), id="a second end record as comment"),
        pytest.param(lambda archive: archive[:-18] + b"\x01\0\x01\0" + archive[-14:], id="one of several disks"),
        pytest.param(lambda archive: archive[:-14] + b"\x04\0\x04\0" + archive[-10:], id="a member not counted"),
        pytest.param(lambda archive: archive[:-14] + b"\x06\0\x06\0" + archive[-10:], id="a member too many"),
        pytest.param(lambda archive: archive.replace(b"PK\x03\x04", b"PK\x03\x05", 1), id="no local header"),
        pytest.param(lambda archive: archive.replace(b"PK\x01\x02", b"PK\x01\x03", 1), id="no directory entry"),
    ],
)
def test_archives_that_readers_would_not_read_alike(damage: Callable[[bytes], bytes]) -> None:
    assert codes(damage(good_wheel())) == {"bad-archive"}


def test_a_comment_is_no_defect() -> None:
    assert codes(with_comment(good_wheel(), b"built by a comment")) == set()


def moved_directory(archive: bytes, hidden: bytes) -> bytes:
    """Hide bytes between the last member and the directory, with the end record corrected."""
    size, offset = struct.unpack("<2L", archive[-10:-2])
    moved = struct.pack("<2L", size, offset + len(hidden))
    return archive[:offset] + hidden + archive[offset:-10] + moved + archive[-2:]


def test_hidden_bytes_between_the_members_and_the_directory() -> None:
    assert codes(moved_directory(good_wheel(), b"hidden")) == {"bad-archive"}


def test_overlapping_members() -> None:
    archive = good_wheel()
    second = archive.index(b"PK\x01\x02", archive.index(b"PK\x01\x02") + 4)
    overlapping = archive[: second + 42] + struct.pack("<L", 0) + archive[second + 46 :]
    assert codes(overlapping) == {"bad-archive"}


def test_the_local_header_has_another_name() -> None:
    archive = good_wheel().replace(b"demo_pkg/__init__.py", b"demo_pkg/__evil__.py", 1)
    assert codes(archive) == {"header-mismatch"}


def test_the_local_header_has_another_size() -> None:
    archive = bytearray(good_wheel())
    struct.pack_into("<L", archive, 22, 7)
    assert codes(bytes(archive)) == {"header-mismatch"}


def test_two_members_of_one_name() -> None:
    file = io.BytesIO(good_wheel())
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(entry("demo_pkg/__init__.py"), b"answer = 41\n")
    assert "duplicate-name" in codes(file.getvalue())


def test_a_file_that_is_a_directory_too() -> None:
    assert "duplicate-name" in codes(build({"demo_pkg": b"", **contents()}))


def test_names_that_differ_in_case_clash_unless_the_wheel_is_for_linux() -> None:
    members = {**contents(), "demo_pkg/Data.bin": b"other"}
    assert codes(build(members)) == {"case-clash"}
    assert codes(build(members), "demo_pkg-1.0+cpu-py3-none-manylinux_2_28_x86_64.whl") == set()


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_unsafe_names(name: str) -> None:
    assert unsafe_name(name)
    assert "unsafe-name" in codes(build({**contents(), name: b"x"}))


def test_a_name_with_a_nul_byte() -> None:
    archive = good_wheel().replace(b"demo_pkg/data.bin", b"demo_pkg/dat\0.bin")
    assert "unsafe-name" in codes(archive)


def test_a_name_in_no_known_encoding() -> None:
    assert codes(good_wheel().replace(b"demo_pkg/data.bin", b"demo_pkg/dat\xe4.bin")) == {"bad-archive"}


@pytest.mark.parametrize("name", SAFE_NAMES)
def test_safe_names(name: str) -> None:
    assert unsafe_name(name) is None


@pytest.mark.parametrize(
    "mode", [0o120777, 0o010644, 0o060644, 0o040755], ids=["symlink", "fifo", "device", "directory"]
)
def test_special_files(mode: int) -> None:
    file = io.BytesIO(good_wheel())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(entry("demo_pkg/link", mode=mode), b"/etc/passwd")
    assert "special-file" in codes(file.getvalue())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_not_every_installer_has(method: int) -> None:
    file = io.BytesIO(good_wheel())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(entry("demo_pkg/odd", method=method), b"odd")
    assert "unsupported-compression" in codes(file.getvalue())


@pytest.mark.parametrize(("offset", "value"), [(6, 64), (8, 0x20)], ids=["newer version", "patched data"])
def test_members_that_not_every_installer_opens(offset: int, value: int) -> None:
    archive = bytearray(good_wheel())
    archive[archive.index(b"PK\x01\x02") + offset] = value
    assert "unsupported-compression" in codes(bytes(archive))


def test_an_encrypted_member() -> None:
    archive = bytearray(good_wheel())
    central = archive.index(b"PK\x01\x02")
    archive[6] |= 1
    archive[central + 8] |= 1
    assert "encrypted" in codes(bytes(archive))


def test_a_bomb_is_stopped_at_its_declared_size() -> None:
    members = {**contents(), "demo_pkg/zeros": bytes(4_000_000)}
    archive = build(members)
    bomb = archive.replace(struct.pack("<L", 4_000_000), struct.pack("<L", 1000))
    report = check(bomb)
    assert {problem.code for problem in report.problems} == {"bad-member", "record-mismatch"}
    assert "longer than the 1000 bytes" in str(report.problems)


def test_a_member_that_declares_too_much() -> None:
    archive = build({**contents(), "demo_pkg/zeros": bytes(4_000_000)})
    declared = archive.replace(struct.pack("<L", 4_000_000), struct.pack("<L", 5_000_000))
    assert "bad-member" in codes(declared)


# --- RECORD ---


def test_changed_bytes_with_a_right_checksum_are_a_record_mismatch() -> None:
    members = {**contents(), "demo_pkg/__init__.py": b"answer = 43\n"}
    report = check(build(members, record(contents())))
    assert [(problem.code, problem.member) for problem in report.problems] == [
        ("record-mismatch", "demo_pkg/__init__.py")
    ]
    assert codes(build(members, record(contents())), deep=False) == set()


def test_a_changed_size_shows_without_reading_everything() -> None:
    members = {**contents(), "demo_pkg/__init__.py": b"answer = 1042\n"}
    assert codes(build(members, record(contents())), deep=False) == {"record-mismatch"}


def test_a_member_that_record_does_not_list() -> None:
    report = check(build({**contents(), "demo_pkg/added.py": b""}, record(contents())))
    assert [(problem.code, problem.member) for problem in report.problems] == [("not-in-record", "demo_pkg/added.py")]


def test_a_file_that_only_record_lists() -> None:
    report = check(build(contents(), record({**contents(), "demo_pkg/gone.py": b""})))
    assert [(problem.code, problem.member) for problem in report.problems] == [("missing-member", "demo_pkg/gone.py")]


def test_an_entry_without_a_hash() -> None:
    listed = record(contents()).replace(
        record_row("demo_pkg/__init__.py", b"answer = 42\n").encode(), b"demo_pkg/__init__.py,,"
    )
    assert codes(build(contents(), listed)) == {"record-no-hash"}


def test_an_entry_with_a_weak_hash() -> None:
    strong, weak = (record_row("demo_pkg/__init__.py", b"answer = 42\n", kind) for kind in ("sha256", "md5"))
    assert codes(build(contents(), record(contents()).replace(strong.encode(), weak.encode()))) == {"record-weak-hash"}


def test_an_entry_with_a_longer_hash_is_checked_with_it() -> None:
    strong, longer = (record_row("demo_pkg/__init__.py", b"answer = 42\n", kind) for kind in ("sha256", "sha512"))
    assert codes(build(contents(), record(contents()).replace(strong.encode(), longer.encode()))) == set()


@pytest.mark.parametrize(
    "body",
    [b"one,two\n", b"\xff,,\n", b'"open\n', b"demo_pkg/data.bin,what,1\n", b"a,sha256=x,many\n", b",,\n", b"\0"],
    ids=["two fields", "no text", "open quote", "no hash", "no size", "no path", "nul"],
)
def test_an_unreadable_record(body: bytes) -> None:
    assert {"bad-record", "not-in-record"} & codes(build(contents(), body))


def test_a_member_that_record_lists_twice() -> None:
    twice = record_row("demo_pkg/__init__.py", b"answer = 42\n").encode() + b"\n" + record(contents())
    assert codes(build(contents(), twice)) == {"bad-record"}


def test_a_quoted_path_is_read() -> None:
    members = {**contents(), 'demo_pkg/a,"b".txt': b"quoted"}
    row = record_row("demo_pkg/plain", b"quoted").replace("demo_pkg/plain", '"demo_pkg/a,""b"".txt"')
    assert codes(build(members, record(contents()) + row.encode() + b"\r\n")) == set()


@pytest.mark.parametrize("missing", ["METADATA", "WHEEL"])
def test_a_wheel_lacks_a_file_that_it_needs(missing: str) -> None:
    members = {name: data for name, data in contents().items() if not name.endswith(missing)}
    assert codes(build(members)) == {{"METADATA": "bad-metadata", "WHEEL": "bad-wheel-file"}[missing]}


def test_a_wheel_lacks_record() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in contents().items():
            archive.writestr(entry(name), data)
    assert codes(file.getvalue()) == {"bad-record"}


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (b"Wheel-Version: 1.0\n", True),
        (b"Wheel-Version: 1.9\r\n", True),
        (b"Wheel-Version: 2.0\n", False),
        (b"", False),
        (b"Wheel-Version: 1.0\nWheel-Version: 2.0\n", False),
        (b"wheel-version: 1.0\n", False),
        (b"Generator: test\n\nWheel-Version: 1.0\n", False),
        (b"a line that is no header\nWheel-Version: 1.0\n", False),
        (b"Wheel-Version: 1.0\nGenerator: \xf6\n", False),
        ("Wheel-Version: 1.\u0660\n".encode(), False),
    ],
)
def test_the_version_of_the_format(text: bytes, good: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    assert (not list(check_wheel_file(text))) is good


# --- names ---


@pytest.mark.parametrize("dist_info", ["demo_pkg-1.0+cpu.dist-info", "Demo.Pkg-1.0.0+CPU.dist-info"])
def test_the_dist_info_directory_may_be_spelt_otherwise(dist_info: str) -> None:
    assert codes(build(contents(dist_info), dist_info=dist_info)) == set()


def test_installers_do_not_look_for_another_case() -> None:
    dist_info = DIST_INFO.replace("dist-info", "DIST-INFO")
    assert codes(build(contents(dist_info), dist_info=dist_info)) == {"bad-dist-info"}


@pytest.mark.parametrize(
    "dist_info", ["other-1.0+cpu.dist-info", "demo_pkg-1.0.dist-info", "demo_pkg.dist-info", "demo"]
)
def test_another_wheels_dist_info(dist_info: str) -> None:
    assert codes(build(contents(dist_info), dist_info=dist_info)) == {"bad-dist-info"}


def test_two_dist_info_directories() -> None:
    assert codes(build({**contents(), "other-1.dist-info/METADATA": METADATA})) == {"bad-dist-info"}


@pytest.mark.parametrize(
    "filename",
    ["demo_pkg-1.0+cu121-py3-none-any.whl", "demo_pkg-1.0-py3-none-any.whl", "demo-1.0+cpu-py3-none-any.whl"],
)
def test_a_renamed_wheel(filename: str) -> None:
    assert codes(good_wheel(), filename) == {"bad-dist-info"}


def test_metadata_of_another_version() -> None:
    members = {**contents(), f"{DIST_INFO}/METADATA": METADATA.replace(b"1.0+cpu", b"1.0+cu121")}
    assert codes(build(members)) == {"metadata-mismatch"}


def test_unreadable_metadata() -> None:
    assert codes(build({**contents(), f"{DIST_INFO}/METADATA": b"hello"})) == {"bad-metadata"}


def test_metadata_in_another_encoding() -> None:
    latin = METADATA.replace(b"\n\n", "\nAuthor: Jörg\n\n".encode("latin-1"))
    assert codes(build({**contents(), f"{DIST_INFO}/METADATA": latin})) == {"bad-metadata"}


# --- what installers do with it ---

DATA = "demo_pkg-1.0+cpu.data"


@pytest.mark.parametrize(
    ("member", "code"),
    [
        (f"{DATA}/purelib/other.py", None),
        (f"{DATA}/scripts/demo_pkg/__init__.py", None),
        (f"{DATA}/data/share/demo", None),
        (f"{DATA}/headers/demo.h", None),
        (f"{DATA}/elsewhere/x", "bad-data-directory"),
        (f"{DATA}/x", "bad-data-directory"),
        ("other-1.0.data/purelib/x.py", "bad-data-directory"),
        (f"{DATA}/purelib/demo_pkg/__init__.py", "duplicate-name"),
        (f"{DATA}/platlib/{DIST_INFO}/METADATA", "duplicate-name"),
    ],
)
def test_what_is_moved_out_of_the_data_directory(member: str, code: str | None) -> None:
    assert codes(build({**contents(), member: b"x"})) == ({code} if code else set())


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (b"[console_scripts]\ndemo = demo_pkg:main\n# a/comment = x\n[other]\na/b = c:d\n", True),
        (b"[console_scripts]\n../../evil = demo_pkg:main\n", False),
        (b"[gui_scripts]\n/bin/evil = demo_pkg:main\n", False),
        (b"[ console_scripts ]\n.. = demo_pkg:main\n", False),
        (b"[console_scripts]\na\\b = demo_pkg:main\n", False),
        (b"\xff\xfe[[[", False),
    ],
)
def test_commands_stay_where_commands_belong(text: bytes, good: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    found = codes(build({**contents(), f"{DIST_INFO}/entry_points.txt": text}))
    assert found == (set() if good else {"bad-entry-points"})


@pytest.mark.parametrize("spoil", [(b",12\n", b",1_2\n"), (b",12\n", ",١٢\n".encode()), (b",12\n", b",12\n\n")])
def test_a_record_that_only_some_installers_read(spoil: tuple[bytes, bytes]) -> None:
    body = record(contents())
    assert body.count(spoil[0]) == 1
    assert codes(build(contents(), body.replace(*spoil))) == {"bad-record"}


# --- in general ---


def assert_noticed_or_meaningless(changed: bytes) -> None:
    """Either the gate objects, or another reader still sees the very wheel that was built (a time stamp changed)."""
    if not check(changed).problems:
        with zipfile.ZipFile(io.BytesIO(changed)) as archive:
            seen = {name: archive.read(name) for name in archive.namelist()}
        assert seen == {**contents(), f"{DIST_INFO}/RECORD": record(contents())}


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_flipped_byte_is_noticed(data: st.DataObject) -> None:
    archive = bytearray(good_wheel())
    at = data.draw(st.integers(0, len(archive) - 1))
    archive[at] ^= data.draw(st.integers(1, 255))
    assert_noticed_or_meaningless(bytes(archive))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_replaced_piece_is_noticed(data: st.DataObject) -> None:
    archive = good_wheel()
    start, stop = sorted(data.draw(st.tuples(st.integers(0, len(archive)), st.integers(0, len(archive)))))
    assert_noticed_or_meaningless(archive[:start] + data.draw(st.binary(max_size=60)) + archive[stop:])


@given(st.binary(max_size=400))
def test_noise_is_no_wheel(noise: bytes) -> None:
    assert codes(noise) == {"bad-archive"}
    assert check(noise + good_wheel()[-22:]).problems


@pytest.mark.slow
@pytest.mark.parametrize("path", REAL_WHEELS, ids=lambda path: path.name)
def test_a_real_torch_wheel_is_good(path: Path) -> None:
    name = parse_wheel_name(path.name)
    report = check_archive(path, name)
    assert report.problems == ()
    assert parse_metadata(report.metadata).version == name.version
