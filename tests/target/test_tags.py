"""Tags of machines that are not here, against ``packaging`` told of the same machine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging import _manylinux, _musllinux
from packaging import tags as packaging_tags

from pytorch_offline.target import probe
from pytorch_offline.target.platforms import parse_platform
from pytorch_offline.target.tags import cpython_target_tags, platforms_of

if TYPE_CHECKING:
    from collections.abc import Callable


def unique(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


@given(minor=st.integers(6, 16), free=st.booleans(), debug=st.booleans())
def test_a_cpythons_tags_are_those_of_packagings_generators(*, minor: int, free: bool, debug: bool) -> None:
    version = (3, minor)
    flags = ("t" if free and minor >= 13 else "") + ("d" if debug else "") + ("m" if minor < 8 else "")
    abi = f"cp3{minor}{flags}"
    abis = [abi, abi.replace("d", "")] if debug and minor >= 8 else [abi]
    platforms = ["linux_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"]
    expected = [
        *packaging_tags.cpython_tags(version, abis, platforms),
        *packaging_tags.compatible_tags(version, f"cp3{minor}", platforms),
    ]
    assert list(cpython_target_tags(version, abi, platforms)) == list(dict.fromkeys(expected))
    assert platforms_of(expected) == tuple(platforms)


@given(version=st.tuples(st.integers(11, 27), st.integers(0, 7)), arch=st.sampled_from(["arm64", "x86_64"]))
def test_macos_platforms_since_11_are_packagings(version: tuple[int, int], arch: str) -> None:
    assert probe.mac_platforms(version, arch) == list(packaging_tags.mac_platforms(version, arch))


@given(minor=st.integers(4, 16))
def test_macos_platforms_before_11_are_packagings(minor: int) -> None:
    assert probe.mac_platforms((10, minor), "x86_64") == list(packaging_tags.mac_platforms((10, minor), "x86_64"))


class Machine:
    """A machine that is not here: one set of facts for the probe and for packaging."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def become(
        self,
        *,
        version: tuple[int, int] = (3, 11),
        name: str = "cpython",
        platform: str = "linux-x86_64",
        system: str = "Linux",
        config: dict[str, Any] | None = None,
        suffixes: tuple[str, ...] = (".so",),
        glibc: tuple[int, int] | None = (2, 31),
        musl: tuple[int, int] | None = None,
        mac_ver: tuple[str, str] = ("", ""),
    ) -> None:
        set_ = self.monkeypatch.setattr
        values = {"WITH_PYMALLOC": 1, "EXT_SUFFIX": ".so"} | (config or {})
        fake_sys = SimpleNamespace(
            version_info=version, implementation=SimpleNamespace(name=name), maxunicode=0x10FFFF, executable="/none"
        )
        fake_platform = SimpleNamespace(system=lambda: system, mac_ver=lambda: (mac_ver[0], ("", "", ""), mac_ver[1]))
        fake_sysconfig = SimpleNamespace(get_platform=lambda: platform, get_config_var=values.get)
        for module in (probe, packaging_tags):
            set_(module, "sys", fake_sys)
            set_(module, "platform", fake_platform)
            set_(module, "sysconfig", fake_sysconfig)
        set_(packaging_tags, "EXTENSION_SUFFIXES", list(suffixes))
        set_(probe, "_extension_suffixes", lambda: suffixes)
        set_(probe, "read_glibc", lambda: glibc)
        set_(_manylinux, "_get_glibc_version", lambda: _manylinux._GLibCVersion(*(glibc or (-1, -1))))
        set_(probe, "read_musl", lambda _: musl)
        set_(_musllinux, "_get_musl_version", lambda _: _musllinux._MuslVersion(*musl) if musl else None)

    def ours(self) -> list[str]:
        return unique(probe.read_tags(probe.read_platforms()[0]))

    def theirs(self) -> list[str]:
        return unique([str(tag) for tag in packaging_tags.sys_tags()])  # noqa: TID251  (the oracle, told of a machine)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.mark.parametrize(
    "facts",
    [
        {"version": (3, 13), "config": {"Py_GIL_DISABLED": 1}},
        {"version": (3, 15), "config": {"Py_GIL_DISABLED": 1, "Py_DEBUG": 1}},
        {"version": (3, 12), "config": {"Py_GIL_DISABLED": 1}},
        {"version": (3, 7), "config": {"Py_DEBUG": 1}},
        {"version": (3, 7), "config": {"WITH_PYMALLOC": 0}},
        {"version": (3, 10), "config": {"Py_DEBUG": 1}},
        {"platform": "linux-aarch64", "glibc": (2, 17)},
        {"platform": "linux-x86_64", "glibc": (2, 4)},
        {"platform": "linux-ppc64le"},
        {"platform": "linux-mips64"},
        {"platform": "linux-x86_64", "glibc": None, "musl": (1, 2)},
        {"platform": "linux-x86_64", "glibc": None},
        {"platform": "win-amd64", "system": "Windows", "config": {"WITH_PYMALLOC": None}, "glibc": None},
        {"platform": "win-arm64", "system": "Windows", "version": (3, 13), "glibc": None},
        {"platform": "win32", "system": "Windows", "version": (3, 7), "glibc": None, "suffixes": ("_d.pyd", ".pyd")},
        {"platform": "macosx-11.0-arm64", "system": "Darwin", "mac_ver": ("14.5", "arm64"), "glibc": None},
        {"platform": "macosx-10.9-x86_64", "system": "Darwin", "mac_ver": ("10.15.7", "x86_64"), "glibc": None},
        {"platform": "macosx-10.9-universal2", "system": "Darwin", "mac_ver": ("13.6.1", "x86_64"), "glibc": None},
        {"name": "pypy", "version": (3, 10), "config": {"EXT_SUFFIX": ".pypy310-pp73-x86_64-linux-gnu.so"}},
        {
            "name": "graalpy",
            "version": (3, 11),
            "config": {"EXT_SUFFIX": ".graalpy-241-native-x86_64-linux.so", "py_version_nodot": "311"},
        },
        {"name": "rustpython", "version": (3, 12), "config": {"EXT_SUFFIX": ".rustpython-312.so"}},
    ],
    ids=str,
)
def test_the_probe_says_what_packaging_says_of_a_machine_that_is_not_here(
    machine: Machine, facts: dict[str, Any]
) -> None:
    machine.become(**facts)
    assert machine.ours() == machine.theirs()


@pytest.mark.parametrize(
    "module",
    [
        {"manylinux_compatible": lambda major, minor, arch: (major, minor) <= (2, 17) and arch == "x86_64"},
        {"manylinux_compatible": lambda *_: None},
        {"manylinux1_compatible": False},
        {"manylinux2014_compatible": False, "manylinux2010_compatible": True},
    ],
)
def test_a_distributors_veto_is_heard(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, module: dict[str, Callable[..., Any]]
) -> None:
    fake = SimpleNamespace(**module)
    monkeypatch.setattr(_manylinux, "_get_manylinux_module", lambda: fake)
    monkeypatch.setitem(__import__("sys").modules, "_manylinux", fake)
    machine.become()
    assert machine.ours() == machine.theirs()


@pytest.mark.parametrize("platform", ["linux-i686", "linux-armv7l"])
def test_32_bit_linux_gets_manylinux_tags_by_its_executable(machine: Machine, platform: str) -> None:
    machine.become(platform=platform)
    assert not any("manylinux" in tag for tag in machine.ours())
    assert machine.ours() == machine.theirs()
    good = probe.Elf(1, 1, 3 if platform == "linux-i686" else 40, 0x05000400, "/lib/ld.so")
    machine.monkeypatch.setattr(probe, "read_elf", lambda _: good)
    machine.monkeypatch.setattr(_manylinux, "_have_compatible_abi", lambda *_: True)
    assert any("manylinux_2_17" in tag for tag in machine.ours())
    assert machine.ours() == machine.theirs()


def test_the_described_ladder_is_the_captured_one(machine: Machine) -> None:
    for platform, text in (("linux-x86_64", "manylinux_2_31_x86_64"), ("linux-aarch64", "manylinux_2_31_aarch64")):
        machine.become(platform=platform)
        assert list(parse_platform(text).tags()) == probe.read_platforms()[0]
    machine.become(platform="linux-x86_64", glibc=None, musl=(1, 2))
    assert list(parse_platform("musllinux_1_2_x86_64").tags()) == probe.read_platforms()[0]


def test_the_elf_header_of_a_real_executable_is_read_as_packaging_reads_it() -> None:
    import sys

    from packaging._elffile import ELFFile

    elf = probe.read_elf(sys.executable)
    with open(sys.executable, "rb") as file:  # noqa: PTH123  (packaging wants a file object)
        theirs = ELFFile(file)
        assert elf == (theirs.capacity, theirs.encoding, theirs.machine, theirs.flags, theirs.interpreter)


@given(body=st.binary(max_size=200))
def test_no_bytes_break_the_elf_reader(body: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "executable"
    path.write_bytes(b"\x7fELF\x02\x01" + body)
    probe.read_elf(str(path))
