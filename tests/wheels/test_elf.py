from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sysconfig
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.simulator.libraries import build_elf
from pytorch_offline.wheels.elf import GlibcNeedFinder, find_glibc_need, hash_of_version

READELF = shutil.which("readelf")
REAL_WHEELS = sorted(Path("/opt/wheels").glob("*.whl"))


def need_by_readelf(library: Path) -> tuple[int, int] | None:
    """What binutils says: the oracle, which follows the sections."""
    said = subprocess.run([str(READELF), "-VW", str(library)], capture_output=True, text=True, check=True).stdout
    needs = said.partition("Version needs section")[2]
    found = {(int(minor)) for minor in re.findall(r"Name: GLIBC_2\.(\d+)", needs)}
    if "GLIBC_ABI_DT_RELR" in needs:
        found.add(36)
    return (2, max(found)) if found else None


def test_the_hash_is_elfs() -> None:
    # Values that readelf and objdump show for every program of x86_64.
    assert hash_of_version("GLIBC_2.2.5") == 0x09691A75
    assert hash_of_version("GLIBC_2.17") == 0x06969197
    assert hash_of_version("GLIBC_2.34") == 0x069691B4


@pytest.mark.skipif(READELF is None, reason="binutils are not installed")
def test_real_libraries_against_readelf() -> None:
    places = [sysconfig.get_config_var("DESTSHARED"), "/usr/lib", "/lib"]
    libraries = {
        path.resolve() for place in places for path in Path(str(place)).rglob("*.so*") if not path.is_symlink()
    }
    compared = needy = 0
    for library in sorted(libraries):
        data = library.read_bytes()
        if not data.startswith(b"\x7fELF") or compared >= 20:
            continue
        expected = need_by_readelf(library)
        assert find_glibc_need([data]) == expected, library
        compared += 1
        needy += expected is not None
    if not needy:
        pytest.skip("no shared libraries with version requirements on this machine")


@pytest.mark.skipif(READELF is None or shutil.which("gcc") is None, reason="no compiler")
def test_a_compiled_library(tmp_path: Path) -> None:
    source = tmp_path / "one.c"
    source.write_text('#include <stdio.h>\n#include <math.h>\ndouble f(double x) { puts("x"); return pow(x, x); }\n')
    library = tmp_path / "one.so"
    done = subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source), "-lm"], check=False)
    if done.returncode:
        pytest.skip("the compiler has no C library")
    assert find_glibc_need([library.read_bytes()]) == need_by_readelf(library) is not None


@pytest.mark.skipif(not REAL_WHEELS, reason="no real wheel on this machine")
@pytest.mark.skipif(READELF is None, reason="binutils are not installed")
def test_libraries_of_a_real_torch(tmp_path: Path) -> None:
    with zipfile.ZipFile(REAL_WHEELS[0]) as wheel:
        for name in ("torch/lib/libc10.so", "torch/lib/libtorch_python.so"):
            path = Path(wheel.extract(name, tmp_path))
            expected = need_by_readelf(path)
            assert expected is not None
            finder = GlibcNeedFinder()
            with path.open("rb") as file:
                while not finder.done and (piece := file.read(65536)):
                    finder.feed(piece)
                assert finder.need == expected
                assert file.tell() < path.stat().st_size  # its beginning was enough


@pytest.mark.parametrize(
    ("needs", "found"),
    [
        (["GLIBC_2.2.5"], (2, 2)),
        (["GLIBC_2.2.5", "GLIBC_2.17", "GLIBC_2.3.4"], (2, 17)),
        (["GLIBC_2.40", "GLIBC_2.9"], (2, 40)),
        (["GLIBC_2.34", "GLIBC_ABI_DT_RELR"], (2, 36)),
        (["GLIBCXX_3.4.30", "CXXABI_1.3"], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_requirements(machine: str, needs: list[str], found: tuple[int, int] | None) -> None:
    library = build_elf(machine, needs=needs, texts=["GLIBC_2.99", "memcpy@GLIBC_2.98"])
    assert find_glibc_need([library]) == found
    for size in (1, 7, 64):
        assert find_glibc_need(library[at : at + size] for at in range(0, len(library), size)) == found


def test_the_beginning_is_enough() -> None:
    finder = GlibcNeedFinder()
    finder.feed(build_elf("x86_64", needs=["GLIBC_2.17"]))
    assert not finder.done
    finder.feed(bytes(20_000))
    assert finder.done
    finder.feed(build_elf("x86_64", needs=["GLIBC_2.34"]))
    assert finder.need == (2, 17)


def test_what_is_no_elf_is_done_at_once() -> None:
    for data in (b"MZ" + bytes(100), b"\x7fELF\x02\x02" + bytes(100), b"!<arch>\n" + bytes(100)):
        finder = GlibcNeedFinder()
        finder.feed(data)
        assert (finder.done, finder.need) == (True, None)


@given(st.binary(max_size=400), st.lists(st.integers(0, 2000), max_size=6))
def test_garbage_in_any_pieces(noise: bytes, places: list[int]) -> None:
    data = build_elf("x86_64", needs=["GLIBC_2.2.5"]) + noise + build_elf("x86_64", needs=["GLIBC_2.17"]) + noise
    borders = [0, *sorted(place % len(data) for place in places), len(data)]
    pieces = [data[start:stop] for start, stop in itertools.pairwise(borders)]
    assert find_glibc_need(pieces) == find_glibc_need([data])


@given(st.binary(max_size=2000))
def test_noise_needs_nothing(noise: bytes) -> None:
    assert find_glibc_need([b"\x7fELF\x02\x01\x01" + bytes(9) + noise]) is None
