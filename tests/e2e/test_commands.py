"""The commands as a user types them, against the faithful upstream: what comes out, and what stays on disk."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.simulator.faults import Challenge, Reset, Status, WrongBytes
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec
from tests.e2e.tool import run_json, run_tool
from tests.mounts import resize, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINUX = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "--accelerator", "none")
PROJECT_LIST = '<!DOCTYPE html><html><body><a href="torch/">torch</a></body></html>'
TORCH = "torch-2.4.0+cpu-cp311-cp311-linux_x86_64.whl"


@pytest.fixture
def spec() -> Spec:
    spec = Spec()
    spec.add_wheel("cpu", TORCH, requires=["filelock", "numpy>=1; extra == 'fast'"], extras=["fast"], padding=300_000)
    spec.add_default("filelock-3.0-py3-none-any.whl")
    spec.add_default("numpy-2.0-cp311-cp311-manylinux_2_17_x86_64.whl")
    return spec


@pytest.fixture
def upstream(spec: Spec) -> Iterator[Simulator]:
    with Simulator(spec) as simulator:
        yield simulator


def indexes(upstream: Simulator) -> tuple[str, ...]:
    return ("--upstream", upstream.url, "--default-index", upstream.default_index_url)


def on_disk(directory: Path) -> dict[str, bytes]:
    """All files that a user or an installer sees; what is private to the tool is left out."""
    files = (path for path in directory.rglob("*") if path.is_file() and ".state" not in path.parts)
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_fetch_fills_the_mirror_and_a_second_fetch_downloads_nothing(upstream: Simulator, tmp_path: Path) -> None:
    first = run_json("fetch", "torch", *LINUX, *indexes(upstream), cwd=tmp_path)
    assert sorted(first["downloaded"]) == [f"whl/cpu/{TORCH}", "whl/filelock-3.0-py3-none-any.whl"]
    before = on_disk(tmp_path / "cache")
    upstream.requests.clear()
    second = run_json("fetch", "torch", *LINUX, *indexes(upstream), cwd=tmp_path)
    assert (second["downloaded"], second["bytes_downloaded"]) == ([], 0)
    assert not [request.path for request in upstream.requests if ".whl" in request.path]
    assert on_disk(tmp_path / "cache") == before
    run_tool("verify", "--deep", cwd=tmp_path)


def test_extras_and_requirements_files(upstream: Simulator, tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("# what we need\ntorch[fast]==2.4.0\n-c c.txt\n")
    (tmp_path / "c.txt").write_text("numpy<3\n")
    fetched = run_json("fetch", "-r", "r.txt", *LINUX, *indexes(upstream), cwd=tmp_path)
    assert [file["project"] for file in fetched["files"]] == ["filelock", "numpy", "torch"]
    lock = (tmp_path / "cache" / "locks" / f"requirements.{fetched['target']}.txt").read_text()
    assert "torch==2.4.0+cpu --hash=sha256:" in lock


def test_several_targets_give_their_locks_and_one_mirror(upstream: Simulator, spec: Spec, tmp_path: Path) -> None:
    spec.add_wheel("cpu", "torch-2.4.0-cp311-none-macosx_11_0_arm64.whl", requires=["filelock"])
    for name, platform in (("linux", "manylinux_2_28_x86_64"), ("mac", "macosx_14_0_arm64")):
        run_tool("detect", "--python-version", "3.11", "--platform", platform, "-o", f"{name}.json", cwd=tmp_path)
    targets = ("--target", "linux.json", "--target", "mac.json")
    fetched = run_json("fetch", "torch", *targets, *indexes(upstream), cwd=tmp_path)
    assert [document["target"] for document in fetched["targets"]] == ["linux", "mac"]
    assert len(fetched["files"]) == 3
    assert {path.name for path in (tmp_path / "cache" / "locks").iterdir()} >= {"pylock.linux.toml", "pylock.mac.toml"}


@pytest.mark.parametrize(
    "fault", [Reset(offset=100_000), Status(code=503), WrongBytes(positions=(150_000,)), Challenge()], ids=repr
)
def test_a_fault_in_the_middle_loses_nothing(upstream: Simulator, tmp_path: Path, fault: object) -> None:
    upstream.faults.add("*.whl", fault, times=1, skip=2)  # type: ignore[arg-type]
    true = {body.read(0, body.size) for body in map(upstream.spec.body, upstream.spec.offers())}
    codes: list[int] = []
    while 0 not in codes and len(codes) < 3:
        codes.append(run_tool("fetch", "torch", *LINUX, *indexes(upstream), cwd=tmp_path, expect=None).returncode)
        assert {body for name, body in on_disk(tmp_path).items() if name.endswith(".whl")} <= true
    assert codes[-1] == 0
    run_tool("verify", "--deep", cwd=tmp_path)


def test_wrong_metadata_beside_a_wheel_is_found_out_and_then_corrected(spec: Spec, tmp_path: Path) -> None:
    # A page that says that there is a sidecar, but not with which hash: its lie is believed until the wheel comes.
    lie = b"Metadata-Version: 2.1\nName: torch\nVersion: 2.4.0+cpu\n"
    offer = next(one for one in spec.offers() if one.filename == TORCH)
    body = spec.body(offer)
    tree = tmp_path / "upstream" / "whl" / "cpu"
    (tree / "torch").mkdir(parents=True)
    (tree / TORCH).write_bytes(body.read(0, body.size))
    (tree / f"{TORCH}.metadata").write_bytes(lie)
    (tree / "index.html").write_text(PROJECT_LIST)
    (tree / "torch" / "index.html").write_text(
        "<!DOCTYPE html><html><body><h1>Links for torch</h1>"
        f'<a href="../{TORCH.replace("+", "%2B")}" data-core-metadata="true">{TORCH}</a></body></html>'
    )
    with Simulator(spec) as simulator, served(tmp_path / "upstream") as address:
        ask = ("fetch", "torch", *LINUX, "--upstream", f"{address}/whl", "--default-index", simulator.default_index_url)
        failed = run_json(*ask, cwd=tmp_path, expect=4)
        assert failed["error"]["code"] == "metadata-mismatch"
        fetched = run_json(*ask, cwd=tmp_path)
    assert [file["project"] for file in fetched["files"]] == ["filelock", "torch"]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["fetch", "torhc"], 5, "torhc"),
        (["fetch", "torch==99"], 5, "2.4.0"),
        (["fetch", "torch=="], 2, "not a requirement"),
        (["fetch"], 2, "nothing was asked for"),
        (["fetch", "torch", "--target", "absent.json"], 2, "absent.json"),
        (["fetch", "torch", "--backend", "cuda12"], 2, "cuda12"),
        (["fetch", "-r", "absent.txt"], 2, "absent.txt"),
        (["select", "torch", "-o", "pylock.a.b.toml"], 2, "pylock.a.b.toml"),
        (["install", "--from", "absent", "--venv", "env"], 2, "absent"),
        (["verify"], 2, "manifest.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_sentence_and_changes_nothing(
    upstream: Simulator, tmp_path: Path, *, arguments: list[str], code: int, word: str
) -> None:
    asks = indexes(upstream) if arguments[0] in {"fetch", "select"} else ()
    target = LINUX if arguments[0] in {"fetch", "select"} and "--target" not in arguments else ()
    done = run_tool(*arguments, *target, *asks, cwd=tmp_path, expect=code)
    assert word in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stdout == ""
    assert on_disk(tmp_path) == {}


def test_silent_upstream(tmp_path: Path) -> None:
    done = run_tool("fetch", "torch", *LINUX, "--upstream", "http://127.0.0.1:9/whl", cwd=tmp_path, expect=3)
    assert "cannot be reached" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_error_as_json(upstream: Simulator, tmp_path: Path) -> None:
    document = run_json("fetch", "torch==99", *LINUX, *indexes(upstream), cwd=tmp_path, expect=5)
    assert document["error"]["family"] == "unsatisfiable"
    assert document["error"]["code"] == "no-wheel"
    assert document["error"]["hint"]


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Any static web server: the standard library's."""
    handler = functools.partial(_QuietHandler, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        pass


@pytest.mark.parametrize(
    ("href", "reason"),
    [
        ("file:///etc/torch-1.0-py3-none-any.whl", "unsafe-href"),
        ("../../../../../../etc/torch-1.0-py3-none-any.whl", "unsafe-href"),
        ("/whl/cpu/..%2f..%2ftorch-1.0-py3-none-any.whl", "unsafe-href"),
        ("/whl/cpu/torch-1.0%00-py3-none-any.whl", "unsafe-href"),
        (f"/whl/cpu/torch-1.0+{'a' * 300}-py3-none-any.whl", "unsafe-href"),
        ("/whl/cpu/torch-1.0-cp311-cp311-win_amd64-cu128.whl", "variant-wheel"),
    ],
)
def test_hostile_names_are_rejected_with_a_reason(tmp_path: Path, href: str, reason: str) -> None:
    page = tmp_path / "upstream" / "whl" / "cpu" / "torch" / "index.html"
    page.parent.mkdir(parents=True)
    (page.parent.parent / "index.html").write_text(
        '<!DOCTYPE html><html><body><a href="torch/">torch</a></body></html>'
    )
    links = f'<a href="{href}">x</a><a href="../torch-1.0-cp39-cp39-win_amd64.whl">y</a>'
    page.write_text(f"<!DOCTYPE html><html><body><h1>Links for torch</h1>{links}</body></html>")
    here = tmp_path / "here"
    here.mkdir()
    with served(tmp_path / "upstream") as address:
        ask = ("--upstream", f"{address}/whl")
        report = run_json("crawl", *ask, "--backend", "cpu", "--project", "torch", cwd=here)
        run_tool("fetch", "torch", *LINUX, *ask, "--no-default-index", cwd=here, expect=5)
    assert [rejected["reason"] for rejected in report["rejected"]] == [reason]
    assert on_disk(here) == {}


def test_full_disk_is_one_sentence_and_the_next_run_continues(upstream: Simulator, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", size=420 * 1024) as disk:
        ask = ("fetch", "torch", *LINUX, *indexes(upstream), "--mirror", str(disk / "mirror"))
        failed = run_tool(*ask, cwd=tmp_path, expect=3)
        assert "full" in failed.stderr or "room" in failed.stderr
        assert not [name for name in on_disk(disk) if name.endswith(".whl") and "torch" in name]
        resize(disk, size=20 * 1024 * 1024)
        run_tool(*ask, cwd=tmp_path)
        run_tool("verify", "--deep", "--mirror", disk / "mirror", cwd=tmp_path)


def test_settings_from_file_and_environment(upstream: Simulator, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'mirror = "elsewhere"\n[fetch]\nupstream = ["{upstream.url}"]\n')
    environment = os.environ | {
        "PYTORCH_OFFLINE_CONFIG": "config.toml",
        "PYTORCH_OFFLINE_FETCH_DEFAULT_INDEX": upstream.default_index_url,
    }
    command = [sys.executable, "-m", "pytorch_offline", "fetch", "torch", *LINUX, "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["mirror"] == "elsewhere"
    assert (tmp_path / "elsewhere" / "manifest.json").is_file()


def test_closed_pipe_is_no_traceback(upstream: Simulator, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytorch_offline", "select", "torch", *LINUX, *indexes(upstream), "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_public_copy_that_only_lists_its_directories(upstream: Simulator, tmp_path: Path) -> None:
    # Copies of the index in China serve plain listings: no hashes, no sidecars, files beside the list.
    ask = ("--upstream", upstream.listing_url, "--default-index", upstream.default_index_url)
    fetched = run_json("fetch", "torch", *LINUX, *ask, cwd=tmp_path)
    assert f"whl/cpu/{TORCH}" in fetched["downloaded"]
    origins = {file["filename"]: file["hash_origin"] for file in fetched["files"]}
    assert origins == {TORCH: "computed", "filelock-3.0-py3-none-any.whl": "published"}


def test_our_own_mirror_is_an_upstream(upstream: Simulator, tmp_path: Path) -> None:
    run_tool("fetch", "torch", *LINUX, *indexes(upstream), cwd=tmp_path)
    ask = ("--upstream", (tmp_path / "cache" / "whl").as_uri(), "--no-default-index", "--mirror", "second")
    run_tool("fetch", "torch", *LINUX, *ask, cwd=tmp_path)
    first, second = on_disk(tmp_path / "cache" / "whl"), on_disk(tmp_path / "second" / "whl")
    assert {name: body for name, body in first.items() if name.endswith((".whl", ".metadata"))} == {
        name: body for name, body in second.items() if name.endswith((".whl", ".metadata"))
    }
