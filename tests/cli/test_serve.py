"""What ``serve`` tells whoever starts it."""

from __future__ import annotations

from pathlib import Path

from pytorch_offline.cli.serve import examples
from pytorch_offline.server.snapshot import Snapshot
from tests.mirror.wheels import craft_wheel


def snapshot(*paths: str) -> Snapshot:
    return Snapshot(Path("mirror"), [craft_wheel(path).row() for path in paths])


def test_commands_are_for_the_newest_torch() -> None:
    wheels = [
        f"whl/{backend}/torch-2.{minor}.0+{backend}-py3-none-any.whl"
        for backend, minor in (("cpu", 9), ("cu118", 3), ("cu126", 9), ("cu130", 9), ("rocm6.4", 9))
    ]
    lines = examples("http://mirror", snapshot(*wheels, "whl/torch-2.10.0-py3-none-any.whl"))
    assert [line.removeprefix("pip install torch --index-url http://mirror/whl/") for line in lines] == [
        "cu130",
        "cu126",
        "rocm6.4",
        "and 2 more builds of torch; http://mirror/ lists them",
    ]


def test_a_mirror_without_variants_or_without_torch_has_its_commands() -> None:
    assert examples("http://mirror", snapshot("whl/torch-2.10.0-py3-none-any.whl")) == [
        "pip install torch --index-url http://mirror/whl"
    ]
    assert examples("http://mirror", snapshot("whl/numpy-2.0-py3-none-any.whl")) == [
        "pip install PROJECT --index-url http://mirror/simple/"
    ]
    assert "empty" in examples("http://mirror", snapshot())[0]
