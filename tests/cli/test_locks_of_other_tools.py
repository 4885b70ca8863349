"""What uv and pip write down of a resolution is taken as it stands: the same files, for every target."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
import uv

from pytorch_offline.simulator.server import Simulator
from tests.cli.in_process import LINUX, Tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TARGETS = {
    "linux": LINUX,
    "mac": ("--python-version", "3.11", "--platform", "macosx_14_0_arm64"),
    "windows": ("--python-version", "3.11", "--platform", "win_amd64", "--accelerator", "none"),
}
PROJECT = """\
[project]
name = "work"
version = "0"
requires-python = ">=3.10,<3.13"
dependencies = ["torch==2.4.0", "pillow ; sys_platform != 'win32'", "sympy<1.13 ; sys_platform == 'darwin'"]
[tool.uv.sources]
torch = { index = "torch-cpu" }
[[tool.uv.index]]
name = "torch-cpu"
url = "{upstream}/cpu"
explicit = true
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


def run(tool: Tool, *command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
    environment |= {"UV_CACHE_DIR": str(tool.directory / ".uv"), "UV_NO_CONFIG": "1", "UV_PYTHON_DOWNLOADS": "never"}
    environment["PIP_CONFIG_FILE"] = os.devnull
    command = (uv.find_uv_bin(), *command[1:]) if command[0] == "uv" else command
    done = subprocess.run(command, cwd=tool.directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def chosen(tool: Tool, lock: str, target: tuple[str, ...] = LINUX, *options: str) -> set[str]:
    return {file["filename"] for file in tool.json("select", "-r", lock, *target, *options)["files"]}


def locked(path: Path) -> dict[str, set[str]]:
    """The wheels of each package; uv lists all that fit, the best is the installer's choice."""
    packages = tomllib.loads(path.read_text())["packages"]
    return {
        package["name"]: {wheel["url"].rpartition("/")[2].replace("%2B", "+") for wheel in package["wheels"]}
        for package in packages
    }


def is_one_of_each(found: set[str], packages: dict[str, set[str]]) -> bool:
    return len(found) == len(packages) and all(len(found & wheels) == 1 for wheels in packages.values())


def test_uv_pip_compile(upstream: Simulator, tool: Tool) -> None:
    (tool.directory / "in.txt").write_text("torch==2.4.0+cu121\ntorchvision\n")
    indexes = ("--default-index", upstream.default_index_url, "--index", f"{upstream.url}/cu121")
    target = ("--python-version", "3.10", "--python-platform", "x86_64-manylinux_2_28", "--emit-index-url")
    for output in ("requirements.txt", "pylock.toml"):
        run(
            tool, "uv", "pip", "compile", "in.txt", "-o", output, "--generate-hashes", *target, *indexes,
            "--index-strategy", "unsafe-best-match",
        )  # fmt: skip
    of_uv = locked(tool.directory / "pylock.toml")
    assert of_uv["torch"] == {"torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"}
    assert len(of_uv) > 20
    assert is_one_of_each(chosen(tool, "pylock.toml"), of_uv)
    assert chosen(tool, "requirements.txt") == chosen(tool, "pylock.toml")
    tool.run("fetch", "-r", "pylock.toml", *LINUX)
    tool.run("verify", "--deep")


def test_uv_export(upstream: Simulator, tool: Tool) -> None:
    (tool.directory / "pyproject.toml").write_text(PROJECT.replace("{upstream}", upstream.url))
    index = ("--default-index", upstream.default_index_url)
    run(tool, "uv", "lock", *index)
    run(tool, "uv", "export", "--no-emit-project", "-o", "requirements.txt", *index)
    run(tool, "uv", "export", "--no-emit-project", "--format", "pylock.toml", "-o", "pylock.toml", *index)
    indexes = ("--upstream", upstream.url, "--default-index", upstream.default_index_url)
    found = {name: chosen(tool, "pylock.toml", target) for name, target in TARGETS.items()}
    for name, target in TARGETS.items():
        assert chosen(tool, "requirements.txt", target, *indexes) == found[name], name
    assert "torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl" in found["linux"]
    assert "torch-2.4.0-cp311-none-macosx_11_0_arm64.whl" in found["mac"]
    assert "torch-2.4.0+cpu-cp311-cp311-win_amd64.whl" in found["windows"]


def test_pip_lock(upstream: Simulator, tool: Tool) -> None:
    lock = ("lock", "-q", "torch==2.4.0+cpu", "--only-binary=:all:", "-o", "pylock.toml")
    indexes = ("-i", f"{upstream.url}/cpu", "--extra-index-url", upstream.default_index_url)
    run(tool, sys.executable, "-m", "pip", "--disable-pip-version-check", *lock, *indexes)
    assert is_one_of_each(chosen(tool, "pylock.toml", ()), locked(tool.directory / "pylock.toml"))


def test_our_own_lock_and_requirements_come_back(upstream: Simulator, tool: Tool) -> None:
    indexes = ("--upstream", upstream.url, "--default-index", upstream.default_index_url)
    first = {file["filename"] for file in tool.json("fetch", "torch==2.4.0", *LINUX, *indexes)["files"]}
    locks = tool.directory / "cache" / "locks"
    (lock,) = locks.glob("pylock.*.toml")
    (requirements,) = locks.glob("requirements.*.txt")
    # Its paths are relative to the lock, and nothing but the mirror is needed.
    assert chosen(tool, str(lock)) == first
    assert chosen(tool, str(requirements), LINUX, *indexes) == first
    again = tool.json("fetch", "-r", str(lock), *LINUX)
    assert (again["downloaded"], {file["filename"] for file in again["files"]}) == ([], first)


def test_a_lock_for_other_machines_is_refused_with_the_reason(upstream: Simulator, tool: Tool) -> None:
    indexes = ("--upstream", upstream.url, "--default-index", upstream.default_index_url)
    tool.run("select", "filelock", *LINUX, *indexes, "-o", "pylock.toml")
    error = tool.json("select", "-r", "pylock.toml", *TARGETS["mac"], expect=5)["error"]
    assert error["code"] == "lock-does-not-fit"
    assert "linux" in error["facts"]["locked for"]
    error = tool.json("select", "-r", "pylock.toml", "torch", *LINUX, expect=2)["error"]
    assert error["code"] == "lock-and-more"
