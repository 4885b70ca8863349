"""The real CPU build of torch, through the faithful upstream, into an environment that has no network. Run by hand.

Torch needs its real dependencies to be imported, which come from the index that pip is configured for.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec
from tests.bundle.media_images import fat32
from tests.e2e.tool import can_unshare, run_json, run_tool
from tests.interpreters import interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.network, pytest.mark.slow]

WHEEL = "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
PROGRAM = """
import torch
assert torch.__version__ == "2.13.0+cpu", torch.__version__
a = torch.arange(6, dtype=torch.float32).reshape(2, 3)
assert (a @ a.T).tolist() == [[5.0, 14.0], [14.0, 50.0]]
"""


def find_wheel() -> Path | None:
    """Find the wheel in the directories that pip is configured to look in."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    for line in listing.stdout.splitlines():
        name, _, value = line.partition("=")
        if name.rpartition(".")[2] == "find-links":
            for place in ast.literal_eval(value).split():
                if (wheel := Path(place) / WHEEL).is_file():
                    return wheel
    return None


@pytest.fixture(scope="module")
def upstream() -> Iterator[Simulator]:
    wheel = find_wheel()
    if wheel is None:
        pytest.skip(f"{WHEEL} is not among pip's find-links")
    spec = Spec.default()
    spec.add_wheel("cpu", WHEEL, body=wheel)
    with Simulator(spec) as simulator:
        yield simulator


def test_crawl_select_fetch_verify_install_import(upstream: Simulator, tmp_path: Path) -> None:
    python = interpreter("3.11")
    if not can_unshare():
        pytest.skip("this process may not make a network namespace")
    indexes = ("--upstream", upstream.url)
    run_tool("detect", "--python", python, "-o", "far.json", cwd=tmp_path)
    run_tool("crawl", "--upstream", upstream.url, "--backend", "cpu", "--project", "torch", cwd=tmp_path)
    selection = run_json("select", "torch==2.13.0", "--target", "far.json", *indexes, cwd=tmp_path)
    assert WHEEL in [file["filename"] for file in selection["files"]]
    fetched = run_json("fetch", "torch==2.13.0", "--target", "far.json", *indexes, cwd=tmp_path)
    assert f"whl/cpu/{WHEEL}" in fetched["downloaded"]
    again = run_json("fetch", "torch==2.13.0", "--target", "far.json", *indexes, cwd=tmp_path)
    assert (again["downloaded"], again["bytes_downloaded"]) == ([], 0)
    run_tool("verify", "--deep", cwd=tmp_path)
    run_tool("install", "--from", "cache", "--venv", "env", "--python", python, cwd=tmp_path, without_network=True)
    evidence = json.loads(
        (tmp_path / "env" / "share" / "pytorch-offline" / "evidence.json").read_text(encoding="utf-8")
    )
    steps = {step["name"]: step for step in evidence["torch"]["steps"]}
    assert {"import", "cpu product", "cpu linear", "cpu convolution", "cpu threads"} <= set(steps)
    assert not any(step["error"] for step in steps.values())
    assert evidence["checked"]["files"] > 10_000
    run_tool("install", "--from", "cache", "--venv", "env", "--prove-only", cwd=tmp_path, without_network=True)
    subprocess.run(["unshare", "-n", tmp_path / "env" / "bin" / "python", "-W", "ignore", "-c", PROGRAM], check=True)


@pytest.mark.parametrize(("size", "image"), [("700MB", 700_000_000), ("100MB", 100_000_000)])
def test_volumes_on_fat32_are_installed_from_without_network(
    upstream: Simulator, tmp_path: Path, size: str, image: int
) -> None:
    """In volumes of 100 MB torch itself lies in pieces; the images are mounted read-only."""
    python = interpreter("3.11")
    if not can_unshare():
        pytest.skip("this process may not make a network namespace")
    run_tool("detect", "--python", python, "-o", "far.json", cwd=tmp_path)
    run_tool("fetch", "torch==2.13.0", "--target", "far.json", "--upstream", upstream.url, cwd=tmp_path)
    run_tool("bundle", "-o", "out", "--volume-size", size, cwd=tmp_path)
    with ExitStack() as stack:
        places = [
            stack.enter_context(fat32(volume, tmp_path, image)) for volume in sorted((tmp_path / "out").iterdir())
        ]
        installer = next(path for path in places[-1].iterdir() if path.name.lower() == "install.py")
        sources = [argument for place in places for argument in ("--from", place)]
        command = ["unshare", "-n", python, installer, "--venv", tmp_path / "env", *sources]
        subprocess.run(command, check=True, capture_output=True)
    subprocess.run(["unshare", "-n", tmp_path / "env" / "bin" / "python", "-W", "ignore", "-c", PROGRAM], check=True)
