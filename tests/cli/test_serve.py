"""What ``serve`` tells whoever starts it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.cli import serve
from pytorch_offline.cli.serve import examples
from pytorch_offline.server.tree.snapshot import Snapshot
from tests.mirror.wheels import craft_wheel

if TYPE_CHECKING:
    import pytest


def snapshot(*paths: str) -> Snapshot:
    return Snapshot(Path("mirror"), [craft_wheel(path).row() for path in paths])


def test_commands_are_for_the_newest_torch() -> None:
    wheels = [
        f"whl/{backend}/torch-2.{minor}.0+{backend}-py3-none-any.whl"
        for backend, minor in (("cpu", 9), ("cu118", 3), ("cu126", 9), ("cu130", 9), ("rocm6.4", 9))
    ]
    lines = examples("https://mirror", snapshot(*wheels, "whl/torch-2.10.0-py3-none-any.whl"))
    assert [line.removeprefix("pip install torch --index-url https://mirror/whl/") for line in lines] == [
        "cu130",
        "cu126",
        "rocm6.4",
        "and 2 more builds of torch; https://mirror/ lists them",
    ]


def test_a_mirror_without_variants_or_without_torch_has_its_commands(tmp_path: Path) -> None:
    assert examples("https://mirror", snapshot("whl/torch-2.10.0-py3-none-any.whl")) == [
        "pip install torch --index-url https://mirror/whl"
    ]
    assert examples("https://mirror", snapshot("whl/numpy-2.0-py3-none-any.whl")) == [
        "pip install PROJECT --index-url https://mirror/simple/"
    ]
    assert "is not there yet" in examples("https://mirror", snapshot())[0]
    assert "is empty" in examples("https://mirror", Snapshot(tmp_path))[0]


def test_a_gateway_that_holds_nothing_yet_says_how_to_fill_it(tmp_path: Path) -> None:
    assert examples("http://gateway:8080", Snapshot(tmp_path), upstream="https://upstream.example/whl") == [
        "pip install torch --index-url http://gateway:8080/whl/cpu --trusted-host gateway"
    ]


def test_pip_is_told_to_take_plain_http_from_another_machine() -> None:
    files = snapshot("whl/cpu/torch-2.10.0+cpu-py3-none-any.whl")
    assert examples("http://mirror:8080", files) == [
        "pip install torch --index-url http://mirror:8080/whl/cpu --trusted-host mirror"
    ]
    for url in ("http://127.0.0.1:8080", "http://[::1]:8080", "https://mirror"):
        assert examples(url, files) == [f"pip install torch --index-url {url}/whl/cpu"]
    assert examples("http://[fd00::1]:8080", snapshot("whl/numpy-2.0-py3-none-any.whl")) == [
        "pip install PROJECT --index-url http://[fd00::1]:8080/simple/ --trusted-host fd00::1"
    ]


def test_what_follows_the_mirror_is_begun_again_whatever_befell_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_AGAIN_SECONDS", 0.0)
    said: list[str] = []
    begun: list[int] = []
    third = asyncio.Event()

    async def follow() -> None:
        begun.append(len(begun))
        if len(begun) < 3:
            raise ValueError("never seen before")
        third.set()
        await asyncio.Event().wait()

    async def live() -> None:
        async with serve._living(follow, said.append):
            await asyncio.wait_for(third.wait(), 10)

    asyncio.run(live())
    assert len(said) == 2
    assert "never seen before" in said[0]
