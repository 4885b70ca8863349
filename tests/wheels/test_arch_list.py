from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.simulator.libraries import build_dll, build_elf
from pytorch_offline.wheels.arch_list import ArchListFinder, find_arch_list

TURING_ON = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
LIST = " ".join(TURING_ON)


def test_in_libraries_of_both_systems() -> None:
    texts = ["no kernel image is available", LIST, "gfx950-style 32x8 swizzle"]
    assert find_arch_list([build_elf("x86_64", texts=texts)]) == TURING_ON
    assert find_arch_list([build_dll(texts)]) == TURING_ON


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("sm_50 sm_60 compute_60", ("sm_50", "sm_60", "compute_60")),
        ("sm_90a sm_100f compute_100a", ("sm_90a", "sm_100f", "compute_100a")),
        ("gfx900 gfx90a gfx1030 gfx942", ("gfx900", "gfx90a", "gfx1030", "gfx942")),
        ("gfx906:xnack- gfx90a:sramecc+:xnack+", ("gfx906:xnack-", "gfx90a:sramecc+:xnack+")),
        ("sm_90", ("sm_90",)),  # aarch64 builds of 2.4 had one alone
        ("sm_75 sm_80 ", None),
        ("built for sm_75 sm_80", None),
        ("sm_75  sm_80", None),
        ("sm_75,sm_80", None),
        ("sm_7", None),
        ("sm_75x", None),
        ("arch=compute_75,code=sm_75", None),
        ("gfx950-style 32x8 swizzle (hipBLASLt BLK32_UE8M0_32_8)", None),
    ],
)
def test_only_names_and_nothing_else(text: str, names: tuple[str, ...] | None) -> None:
    assert find_arch_list([b"one\0" + text.encode() + b"\0two\0"]) == names


def test_a_constant_without_an_end_may_stand_before_it() -> None:
    # Measured in 2.8.0 and 2.9.1.
    data = b"from_ipc_handle(Device device, std::string ipc_h" + LIST.encode() + b"\0"
    assert find_arch_list([data]) == TURING_ON


def test_single_names_may_be_words_of_the_code() -> None:
    assert find_arch_list([b"\0gfx942\0gfx90a\0"]) is None
    assert find_arch_list([b"\0gfx942\0...\0gfx942\0"]) == ("gfx942",)
    assert find_arch_list([b"\0sm_90\0", LIST.encode(), b"\0"]) == TURING_ON
    assert find_arch_list([b"\0a constantsm_90\0"]) is None


def test_no_more_is_read_than_needed() -> None:
    taken = []

    def pieces() -> object:
        for number, piece in enumerate([b"\0" * 100, LIST.encode(), b"\0", b"never"]):
            taken.append(number)
            yield piece

    assert find_arch_list(pieces()) == TURING_ON  # type: ignore[arg-type]
    assert taken == [0, 1, 2]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(borders)]


_WORDS = st.sampled_from(
    [b"\0", b" ", b"sm_", b"sm_70", b"sm_90a", b"compute_90", b"gfx90a", b"gfx90a:xnack-", b"x", LIST.encode(), b"\xff"]
)


@given(st.lists(_WORDS, max_size=40), st.lists(st.integers(0, 10_000), max_size=12), st.integers(0, 3000))
def test_where_pieces_end_does_not_matter(words: list[bytes], places: list[int], filling: int) -> None:
    data = b"".join(words)[:60] + b"\0" * filling + b"".join(words)
    whole = find_arch_list([data])
    assert find_arch_list(cut(data, places)) == whole
    assert find_arch_list(data[at : at + 1] for at in range(len(data))) == whole


@given(st.binary(max_size=300))
def test_garbage_holds_no_list(data: bytes) -> None:
    finder = ArchListFinder()
    finder.feed(data)
    assert finder.found is None or all(name.encode() in data for name in finder.found)


def test_the_longest_list_survives_any_border() -> None:
    text = b" ".join([b"gfx90a:sramecc+:xnack+"] * 64)
    data = b"\0" + text + b"\0"
    for at in range(0, len(data), 7):
        found = find_arch_list([b"\0" * 9000 + data[:at], data[at:] + b"x" * 9000])
        assert found is not None
        assert len(found) == 64
