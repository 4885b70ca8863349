"""The command: what it is given, what it says, how it ends; and real clients of what it published."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
import tomli_w

from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.publishing.places import BucketPlace, parse_place
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.selector.explaining.render import render_size
from tests.e2e.tool import run_json, run_tool
from tests.mirror.loopback import sized_wheel
from tests.mirror.publishing.conftest import bucket, credentials, proxy, proxy_for_all, store_port
from tests.mirror.publishing.memory import broken_links
from tests.mirror.publishing.stores import Fault, putting
from tests.mirror.publishing.test_publish import public
from tests.mirror.wheels import SYMPY, TORCH_CUDA, craft_wheel

if TYPE_CHECKING:
    from tests.mirror.publishing.stores import Bucket, Proxy
    from tests.mirror.wheels import Wheel

__all__ = ["bucket", "credentials", "proxy", "proxy_for_all", "store_port"]

# Larger than what goes in one piece, in two.
LARGE = sized_wheel("whl/cu121/torch-3.0+cu121-py3-none-any.whl", 9_000_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    mirror = Mirror(tmp_path / "mirror")
    for wheel in (TORCH_CUDA, SYMPY):
        wheel.admit(mirror)
    mirror.publish()
    return mirror.root


def test_what_is_there_already_is_said_with_its_bytes(root: Path, tmp_path: Path) -> None:
    run_tool("publish", tmp_path / "there", "--mirror", root, cwd=tmp_path)
    (first, *_) = run_tool("publish", tmp_path / "there", "--mirror", root, cwd=tmp_path).stderr.splitlines()
    there = [path for path in (tmp_path / "there" / "whl").rglob("*.whl*") if path.is_file()]
    size = sum(path.stat().st_size for path in there)
    assert first == f"publishing: 0 files, 0 B; {len(there)} of {len(there)} files, {render_size(size)} already there"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/mnt/nfs/mirror", Path("/mnt/nfs/mirror")),
        ("there", Path("there")),
        ("file:///mnt/nfs/a%20b", Path("/mnt/nfs/a b")),
        ("s3://wheels", BucketPlace(bucket="wheels", prefix="")),
        ("s3://wheels/py/torch/", BucketPlace(bucket="wheels", prefix="py/torch")),
        ("S3://wheels//py", BucketPlace(bucket="wheels", prefix="py")),
    ],
)
def test_a_destination_is_a_directory_or_a_bucket(text: str, place: object) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s3://",
        "s3:///x",
        "s3://a",
        "s3://wheels/../x",
        "s3://wheels/a?b",
        "s3://wheels/a%2Bb",
        "gs://x/y",
        "http://h/x",
    ],
)
def test_what_is_no_destination_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_place(text)

    assert caught.value.code == "bad-destination"


def test_a_directory_that_is_linked_into_the_mirror_is_refused(root: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "whl").symlink_to(root / "whl")
    admitted = craft_wheel("whl/late-1.0-py3-none-any.whl").admit(Mirror(root))  # and not published yet

    refused = run_tool("publish", there, "--delete", "--mirror", root, cwd=tmp_path, expect=2)

    assert "lie within each other" in refused.stderr
    assert (root / admitted.path).is_file()


def test_a_directory_is_published_listed_and_cleared(root: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    planned = run_json("publish", there, "--mirror", root, "--dry-run", cwd=tmp_path)
    assert planned["dry_run"]
    assert not there.exists()

    done = run_json("publish", there.as_uri(), "--mirror", root, cwd=tmp_path)

    assert sorted(done["sent"]) == sorted(planned["sent"])
    assert done["ok"]
    assert public(there) == public(root)
    (there / SYMPY.path).unlink()
    assert "1 file sent" in run_tool("publish", there, "--mirror", root, cwd=tmp_path).stdout
    assert public(there) == public(root)
    run_tool("verify", "--mirror", there, cwd=tmp_path)


def test_a_damaged_file_is_named_and_the_exit_code_says_so(root: Path, tmp_path: Path) -> None:
    (root / SYMPY.path).write_bytes(bytes(len(SYMPY.body)))

    done = run_json("publish", "there", "--mirror", root, cwd=tmp_path, expect=4)

    assert [(one["path"], one["code"]) for one in done["failed"]] == [(str(SYMPY.path), "hash-mismatch")]
    assert "manifest.json" in done["held_back"]
    said = run_tool("publish", "there", "--mirror", root, cwd=tmp_path, expect=4)
    assert f"bad: {SYMPY.path}: " in said.stdout
    assert said.stdout.count(str(SYMPY.path)) == 1
    assert said.stdout.count("hint: ") == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("mirror",), "bad-destination"),
        (("mirror/below",), "bad-destination"),
        (("nowhere/there",), "bad-destination"),
        (("mirror/manifest.json/x",), "bad-destination"),
        (("there", "--region", "eu-central-1"), "contradiction"),
        (("there", "--public-url", "ftp://x"), "bad-url"),
        (("s3://wheels", "--endpoint-url", "s3.lan"), "bad-url"),
        (("there", "--mirror", "nothing"), "no-manifest"),
    ],
)
def test_what_cannot_be_meant_is_refused(root: Path, tmp_path: Path, arguments: tuple[str, ...], code: str) -> None:
    given = arguments if "--mirror" in arguments else (*arguments, "--mirror", str(root))

    assert run_json("publish", *given, cwd=tmp_path, expect=2)["error"]["code"] == code


def test_a_mirror_that_others_fetch_into_is_not_written_over(root: Path, tmp_path: Path) -> None:
    (tmp_path / "there/.state").mkdir(parents=True)
    (tmp_path / "there/.state/catalogue.sqlite").touch()

    assert run_json("publish", "there", "--mirror", root, cwd=tmp_path, expect=2)["error"]["code"] == "bad-destination"


@pytest.mark.skipif(os.name == "nt", reason="kills by signals")
def test_a_killed_run_is_continued_within_a_file(
    tmp_path: Path, bucket: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_OFFLINE_PUBLISH_ENDPOINT_URL", proxy.url)
    mirror = Mirror(tmp_path / "mirror")
    LARGE.admit(mirror)
    mirror.publish()
    arrived = threading.Event()

    def second(method: str, path: str) -> bool:
        hit = putting("partNumber=2")(method, path)
        if hit:
            arrived.set()
        return hit

    proxy.faults.append(Fault(hits=second, stall=1.0, cut="before"))
    command = [sys.executable, "-m", "pytorch_offline", "publish", f"s3://{bucket.name}", "-j", "1"]
    environment = os.environ | {"PYTORCH_OFFLINE_MIRROR": str(mirror.root)}
    running = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL)
    assert arrived.wait(60)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert bucket.unfinished() == [str(LARGE.path)]

    done = run_json(
        "publish", f"s3://{bucket.name}", "--endpoint-url", proxy.url, "--mirror", mirror.root, cwd=tmp_path
    )

    assert done["bytes_continued"] == 8 * 1024 * 1024
    assert bucket.unfinished() == []
    assert bucket.bodies()[str(LARGE.path)] == LARGE.body


CLIENTS = {
    "pip": [sys.executable, "-m", "pip", "install", "--isolated", "--no-cache-dir", "--disable-pip-version-check"],
    "uv": [sys.executable, "-m", "uv", "pip", "install", "--no-cache", "--no-config"],
}


def install(client: str, target: Path, *asked: str) -> None:
    quiet = {"PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}
    command = [*CLIENTS[client], "--target", str(target), *asked]
    done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in target.glob("*.dist-info")}
    assert names == {"torch-1.0+cu121.dist-info", "sympy-1.2.dist-info"}


def lock_of(*wheels: Wheel) -> bytes:
    packages = [
        {
            "name": str(wheel.wanted().name.project),
            "version": str(wheel.wanted().name.version),
            "wheels": [{"name": wheel.path.name, "path": f"../{wheel.path}", "hashes": {"sha256": wheel.sha256}}],
        }
        for wheel in wheels
    ]
    return tomli_w.dumps({"lock-version": "1.0", "created-by": "tests", "packages": packages}).encode()


@pytest.mark.slow
@pytest.mark.parametrize("by", ["pip index", "pip lock", "uv index", "uv flat"])
def test_clients_install_from_the_plain_endpoint_of_a_bucket(
    root: Path, tmp_path: Path, bucket: Bucket, proxy: Proxy, by: str
) -> None:
    """Also from a store that reads a raw ``+`` as a space, as AWS does."""
    Mirror(root).write_locks({"pylock.node.toml": lock_of(TORCH_CUDA, SYMPY)})
    spaced = Fault(hits=lambda _, path: "+" in path.partition("?")[0], times=100, status=404, code="NoSuchKey")
    proxy.faults.append(spaced)
    done = run_json("publish", f"s3://{bucket.name}/py", "--endpoint-url", proxy.url, "--mirror", root, cwd=tmp_path)
    address = f"{proxy.url}/{bucket.name}/py"
    assert done["address"] == address

    client, _, way = by.partition(" ")
    asked = {
        "index": ("torch", "--index-url", f"{address}/whl/cu121"),
        "flat": ("torch", "--no-index", "--find-links", f"{address}/whl/cu121/torch_stable.html"),
        "lock": ("-r", f"{address}/locks/pylock.node.toml"),
    }[way]
    install(client, tmp_path / "env", *asked)

    assert spaced.met == 0
    assert [path for _, path in proxy.requests if "%2Bcu121" in path]


@pytest.mark.slow
def test_clients_install_from_a_published_directory(root: Path, tmp_path: Path) -> None:
    run_tool("publish", "there", "--mirror", root, cwd=tmp_path)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "there")) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            index = f"http://127.0.0.1:{server.server_address[1]}/whl/cu121"
            install("pip", tmp_path / "env", "torch", "--index-url", index)
        finally:
            server.shutdown()
            thread.join()
    assert broken_links({PurePosixPath(path): body for path, body in public(tmp_path / "there").items()}) == []
    assert json.loads((tmp_path / "there/manifest.json").read_bytes())["format"] == 1
