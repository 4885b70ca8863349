"""Which indexes a requirements file means, and what the command line makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytorch_offline.errors import UsageError
from pytorch_offline.selector.asking.index_options import IndexOptions, TorchIndex, moved, torch_index
from pytorch_offline.selector.indexes.plan import NamedIndexes, plan_indexes
from pytorch_offline.wheels.backend import CPU, parse_backend
from tests.selector.asking import ask

CU121 = parse_backend("cu121")


def options(text: str) -> IndexOptions:
    return ask({"r.txt": f"{text}\ntorch"}).options


@pytest.mark.parametrize(
    ("url", "root", "channel", "backend"),
    [
        ("https://download.pytorch.org/whl/cu121", "https://download.pytorch.org/whl", "stable", "cu121"),
        ("https://download.pytorch.org/whl/cu121/", "https://download.pytorch.org/whl", "stable", "cu121"),
        ("https://download.pytorch.org/whl/nightly/cpu", "https://download.pytorch.org/whl", "nightly", "cpu"),
        ("https://download.pytorch.org/whl", "https://download.pytorch.org/whl", "stable", None),
        ("https://download.pytorch.org/whl/test/", "https://download.pytorch.org/whl", "test", None),
        ("http://u:p@mirror:8080/a/pytorch/rocm6.4", "http://u:p@mirror:8080/a/pytorch", "stable", "rocm6.4"),
    ],
)
def test_an_index_of_upstreams_layout_is_known_by_its_address(
    url: str, root: str, channel: str, backend: str | None
) -> None:
    named = None if backend is None else parse_backend(backend)
    assert torch_index(url) == TorchIndex(root=root, channel=channel, backend=named)


@pytest.mark.parametrize(
    "url", ["https://h/simple", "https://h/", "https://h/cu121_full", "https://h/nightly", "https://h/whl/x"]
)
def test_other_indexes_are_none(url: str) -> None:
    assert torch_index(url) is None


def test_pips_order_of_indexes() -> None:
    assert options("").indexes == (None,)
    assert options("--extra-index-url https://a").indexes == (None, "https://a")
    dropped = options("--extra-index-url https://u:p@a\n-i https://b\n--extra-index-url https://c")
    assert dropped.indexes == ("https://b", "https://c")
    assert dropped.warnings == (
        "r.txt, line 2: --index-url replaces https://***@a, which was named before it, as with pip",
    )
    assert options("-i https://b\n--no-index\n-i https://c").indexes == ()


def test_flat_pages_of_upstream_and_others() -> None:
    found = options("-f https://h/whl/cu113/torch_stable.html\n-f https://h/wheels.html")
    (flat,) = found.torch_indexes
    assert (flat.flat, flat.backend) == (True, parse_backend("cu113"))
    assert found.find_links == ("https://h/wheels.html",)
    assert options("-f file:///d/wheels").find_links == (Path("/d/wheels"),)


def test_files_force_a_backend_and_the_command_line_goes_before_them() -> None:
    found = options(
        "--extra-index-url https://download.pytorch.org/whl/nightly/cu121\n--extra-index-url https://b/simple"
    )
    plan = plan_indexes(found, NamedIndexes())
    assert (plan.backend, plan.as_configured, plan.extra_indexes) == (CU121, True, ("https://b/simple",))
    assert [one.channel for one in plan.upstreams] == ["nightly"]
    here = plan_indexes(found, NamedIndexes(upstreams=("http://m/whl",), default_index="http://m/simple", backend=CPU))
    assert [(one.root, one.channel) for one in here.upstreams] == [("http://m/whl", "nightly")]
    assert (here.backend, here.default_index, here.stand_in) == (CPU, "http://m/simple", "http://m/whl")
    assert len(here.warnings) == 2


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("--no-index\n-f .", NamedIndexes(upstreams=("http://m/whl",))),
        ("--no-index\n-f .", NamedIndexes(default_index="http://m/simple")),
        ("-i https://h/simple", NamedIndexes(use_default_index=False)),
        ("-i https://h/whl/cu121", NamedIndexes(channel="nightly")),
        ("-i https://h/whl/cu121\n--extra-index-url https://h/whl/cpu", NamedIndexes()),
        ("--no-index", NamedIndexes()),
    ],
)
def test_what_cannot_both_hold_is_an_error(text: str, named: NamedIndexes) -> None:
    with pytest.raises(UsageError) as caught:
        plan_indexes(options(text), named)
    assert caught.value.code == "contradiction"


def test_pytorchs_own_addresses_move_to_the_upstream_that_stands_in() -> None:
    assert moved("https://download.pytorch.org/whl/cu121/x.whl", "http://m/whl/") == "http://m/whl/cu121/x.whl"
    assert (
        moved("https://elsewhere.invalid/whl/cu121/x.whl", "http://m/whl")
        == "https://elsewhere.invalid/whl/cu121/x.whl"
    )


def test_pips_options_on_the_command_line_come_before_those_of_files() -> None:
    lines = [("--index-url", "https://download.pytorch.org/whl/cu121"), ("--find-links", "https://h/wheels.html")]
    asked = ask({"r.txt": "--extra-index-url https://extra\n"}, "torch", index_options=tuple(lines)).options
    assert asked.backend == CU121
    assert asked.indexes == ("https://extra",)
    assert asked.find_links == ("https://h/wheels.html",)
    replaced = ask({"r.txt": "-i https://b\n"}, "torch", index_options=tuple(lines)).options
    assert replaced.backend is None
    assert "command line" not in str(replaced.torch_indexes)


def test_two_backends_are_both_named() -> None:
    both = "-i https://download.pytorch.org/whl/cu118\n--extra-index-url https://download.pytorch.org/whl/cu121"
    with pytest.raises(UsageError) as caught:
        _ = options(both).backend
    assert caught.value.facts == {
        "cu118": "r.txt, line 1: https://download.pytorch.org/whl",
        "cu121": "r.txt, line 2: https://download.pytorch.org/whl",
    }


def test_condas_channels_are_no_constraints() -> None:
    with pytest.raises(UsageError) as caught:
        ask({}, "torch", r=(), c=("pytorch", "nvidia"))
    assert "leave out -c pytorch" in str(caught.value.hint)
