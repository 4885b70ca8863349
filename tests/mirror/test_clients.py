"""The tree serves the real clients without us: pip of many years and uv, from files and from any static web server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from functools import cache
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.mirror.store import Mirror
from tests.interpreters import find_interpreter, name_of
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA, craft_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

# pip 18.1, 22.0.4, 23.0.1 and 24.2 came with these: without JSON pages, without sidecars, with the first of both.
OLD_INTERPRETERS = ("3.6", "3.7", "3.10", "3.13")


def interpreters() -> list[Path]:
    """The interpreter that runs the tests, and those with older pips."""
    return [Path(sys.executable), *filter(None, map(find_interpreter, OLD_INTERPRETERS))]


def label(interpreter: Path) -> str:
    return "this" if interpreter == Path(sys.executable) else name_of(interpreter)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror below a directory whose name needs escaping."""
    mirror = Mirror(tmp_path_factory.mktemp("clients") / "my mirror+1")
    too_new = craft_wheel("whl/sympy-3.0-py3-none-any.whl", requires_python=">=3.99")
    with mirror.lock():
        for wheel in (TORCH_CPU, TORCH_CUDA, SYMPY, too_new):
            wheel.admit(mirror)
        mirror.publish()
    return mirror.root


class StaticHandler(SimpleHTTPRequestHandler):
    """What ``python -m http.server`` runs, noting what was asked and answered."""

    answered: list[tuple[int, str]]

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del size
        self.answered.append((int(code), self.path))

    def log_message(self, *_: Any) -> None:  # noqa: ANN401
        """Stay quiet."""


@pytest.fixture
def server(root: Path) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    class Handler(StaticHandler):
        answered: list[tuple[int, str]] = []  # noqa: RUF012  (one list for one server, which is the point)

        def __init__(self, *args: Any) -> None:  # noqa: ANN401
            super().__init__(*args, directory=str(root))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}", Handler.answered
        finally:
            running.shutdown()
            thread.join()


@cache
def without_network() -> tuple[str, ...]:
    """The command that runs another one with no network at all, where this machine can."""
    command = ("unshare", "--map-root-user", "--net")
    if shutil.which(command[0]) is None:
        return ()
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if tried.returncode == 0 else ()


def run(command: list[str], tmp_path: Path, *, offline: bool) -> subprocess.CompletedProcess[str]:
    """Run a client with no settings but those on its command line."""
    # NO_PROXY as well: it makes pip 18.1 fail on file: URLs, whose host is none.
    foreign = ("PIP_", "UV_", "PYTHON", "VIRTUAL_ENV", "HTTP_", "HTTPS_", "ALL_PROXY", "NO_PROXY")
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(foreign)}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "HOME": str(tmp_path)}
    return subprocess.run(
        [*(without_network() if offline else ()), *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def pip_command(interpreter: Path, target: Path, *options: str) -> list[str]:
    line = ["-m", "pip", "install", "--isolated", "--disable-pip-version-check", "--no-cache-dir", "--target"]
    return [str(interpreter), *line, str(target), *options]


def uv_command(target: Path, *options: str) -> list[str]:
    line = ["-m", "uv", "pip", "install", "--no-config", "--no-cache", "--python"]
    return [sys.executable, *line, sys.executable, "--target", str(target), *options]


def installed(target: Path) -> dict[str, str]:
    """The version that each installed package says it has."""
    return {module.parent.name: module.read_text().split('"')[1] for module in target.glob("*/__init__.py")}


def check(result: subprocess.CompletedProcess[str], target: Path, *, local: str = "cpu") -> None:
    assert result.returncode == 0, result.stderr
    # And not the sympy that wants a later Python.
    assert installed(target) == {"torch": f"1.0+{local}", "sympy": "1.2"}


@pytest.mark.parametrize("interpreter", interpreters(), ids=label)
@pytest.mark.parametrize("way", ["flat", "index"])
def test_pip_installs_from_the_directory(root: Path, tmp_path: Path, interpreter: Path, way: str) -> None:
    ways = {
        "flat": ["--no-index", "--find-links", str(root / "whl/cpu/torch_stable.html")],
        "index": ["--index-url", (root / "whl/cpu").as_uri()],
    }
    target = tmp_path / "target"
    check(run(pip_command(interpreter, target, *ways[way], "torch"), tmp_path, offline=True), target)


@pytest.mark.parametrize("interpreter", interpreters(), ids=label)
def test_pip_installs_from_a_static_web_server(
    server: tuple[str, list[tuple[int, str]]], tmp_path: Path, interpreter: Path
) -> None:
    url, answered = server
    target = tmp_path / "target"
    check(
        run(pip_command(interpreter, target, "--index-url", f"{url}/whl/cpu", "torch"), tmp_path, offline=False), target
    )
    assert {code for code, _ in answered} == {200}, answered


@pytest.mark.parametrize("way", ["flat", "index"])
def test_uv_installs_from_the_directory(root: Path, tmp_path: Path, way: str) -> None:
    ways = {
        "flat": ["--no-index", "--find-links", (root / "whl/cpu/torch_stable.html").as_uri()],
        "index": ["--index-url", (root / "whl/cpu").as_uri()],
    }
    target = tmp_path / "target"
    check(run(uv_command(target, "--offline", *ways[way], "torch"), tmp_path, offline=True), target)


def test_uv_installs_from_a_static_web_server(server: tuple[str, list[tuple[int, str]]], tmp_path: Path) -> None:
    url, answered = server
    target = tmp_path / "target"
    check(run(uv_command(target, "--index-url", f"{url}/whl/cpu", "torch"), tmp_path, offline=False), target)
    assert {code for code, _ in answered} <= {200, 501}, answered  # 501: SimpleHTTPRequestHandler knows no ranges


def test_resolving_needs_the_sidecars_alone(server: tuple[str, list[tuple[int, str]]], tmp_path: Path) -> None:
    url, answered = server
    (tmp_path / "requirements.in").write_text("torch\n")
    line = ["-m", "uv", "pip", "compile", "--no-config", "--no-cache", "--index-url"]
    result = run([sys.executable, *line, f"{url}/whl/cpu", "requirements.in"], tmp_path, offline=False)
    assert result.returncode == 0, result.stderr
    assert "torch==1.0+cpu" in result.stdout
    assert not [path for _, path in answered if path.endswith(".whl")]
    assert len([path for _, path in answered if path.endswith(".whl.metadata")]) == 2


@pytest.mark.parametrize("client", ["pip", "uv"])
def test_a_yanked_release_is_not_chosen(tmp_path: Path, client: str) -> None:
    mirror = Mirror(tmp_path / "mirror")
    with mirror.lock():
        SYMPY.admit(mirror)
        craft_wheel("whl/sympy-9.9-py3-none-any.whl").admit(mirror, yanked="does not work")
        mirror.publish()
    target = tmp_path / "target"
    options = ("--index-url", (mirror.root / "whl").as_uri(), "sympy")
    command = pip_command(Path(sys.executable), target, *options) if client == "pip" else uv_command(target, *options)
    result = run(command, tmp_path, offline=True)
    assert result.returncode == 0, result.stderr
    assert installed(target) == {"sympy": "1.2"}


def test_the_root_index_serves_every_backend_by_its_local_version(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    options = ["--index-url", (root / "whl").as_uri(), "torch==1.0+cu121"]
    check(run(pip_command(Path(sys.executable), target, *options), tmp_path, offline=True), target, local="cu121")


@pytest.mark.parametrize("interpreter", interpreters(), ids=label)
def test_pip_refuses_a_wheel_that_was_changed_behind_its_page(root: Path, tmp_path: Path, interpreter: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    (copy / TORCH_CPU.path).write_bytes(craft_wheel(str(TORCH_CPU.path), content="import evil").body)
    target = tmp_path / "target"
    options = ["--index-url", (copy / "whl/cpu").as_uri(), "--no-deps", "torch"]
    result = run(pip_command(interpreter, target, *options), tmp_path, offline=True)
    assert result.returncode != 0
    assert "DO NOT MATCH THE HASHES" in result.stderr
    assert TORCH_CPU.sha256 in result.stderr
    assert not target.exists() or installed(target) == {}
