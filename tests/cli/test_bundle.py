from __future__ import annotations

import ensurepip
import hashlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from pytorch_offline.bundle.format.manifest import MANIFEST_NAME, parse_manifest
from tests.bundle.bundling import small_mirror, tree
from tests.installer.crafted import Crafted, pure

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.cli.in_process import Tool

OLD_PIP = pure("pip", "21.3.1", "Requires-Python: >=3.6")
NEW_PIP = pure("pip", "24.0", "Requires-Python: >=3.7")
TOO_NEW_PIP = pure("pip", "99.0", "Requires-Python: >=3.12")
UV = Crafted(filename="uv-0.8.0-py3-none-manylinux_2_17_x86_64.whl", modules={"uv/__init__.py": ""})
OTHER_UV = Crafted(filename="uv-0.9.0-py3-none-win_amd64.whl", modules={"uv/__init__.py": ""})


def index(root: Path, *wheels: Crafted) -> str:
    """Write a simple index of these wheels, and give its address."""
    links: dict[str, list[str]] = {}
    for wheel in wheels:
        body = wheel.build()
        directory = root / wheel.filename.partition("-")[0]
        directory.mkdir(parents=True, exist_ok=True)
        (directory / wheel.filename).write_bytes(body)
        digest = hashlib.sha256(body).hexdigest()
        requires = next((line.partition(": ")[2] for line in wheel.metadata if line.startswith("Requires-Python")), "")
        shown = requires.replace(">", "&gt;")
        links.setdefault(directory.name, []).append(
            f'<a href="{wheel.filename}#sha256={digest}" data-requires-python="{shown}">{wheel.filename}</a>'
        )
    for project, rows in links.items():
        (root / project / "index.html").write_text(f"<!DOCTYPE html><html><body>{''.join(rows)}</body></html>")
    (root / "index.html").write_text("<!DOCTYPE html>" + "".join(f'<a href="{name}/">{name}</a>' for name in links))
    return f"{root.as_uri()}/"


def bundle(tool: Tool, *arguments: str, expect: int = 0) -> Any:  # noqa: ANN401  (JSON)
    return tool.json("bundle", "--mirror", "mirror", "-o", "out", *arguments, expect=expect)


def test_the_whole_of_a_mirror_is_packed_and_told(tool: Tool) -> None:
    mirror = small_mirror(tool.directory / "mirror")
    told, _ = tool.run("bundle", "--mirror", "mirror", "-o", "out", "--offline")
    assert "bundle 1 of " in told
    assert "node: Python 3.10 on Linux x86_64; 2 files" in told
    assert "torch 2.4.0+cpu" in told
    assert "python3 out/install.py --venv env" in told
    document = bundle(tool, "--offline")
    manifest = parse_manifest((tool.directory / "out" / MANIFEST_NAME).read_bytes())
    assert (document["id"], document["counter"], document["targets"]) == (manifest.id, 1, ["node", "other"])
    assert (document["written"], document["warnings"]) == (0, [])
    assert document["tools"] == ["tools/pip-24.0-py3-none-any.whl"]
    assert (mirror / ".state/bundles.json").exists()


def test_quiet_says_nothing(tool: Tool) -> None:
    small_mirror(tool.directory / "mirror")
    assert tool.run("bundle", "--mirror", "mirror", "-o", "out", "--offline", "-q") == ("", "")


def test_a_target_that_is_not_there_is_refused(tool: Tool) -> None:
    small_mirror(tool.directory / "mirror")
    error = bundle(tool, "--target", "elsewhere", expect=2)["error"]
    assert error["code"] == "unknown-target"
    assert not (tool.directory / "out").exists()


def test_no_mirror_is_no_bundle(tool: Tool) -> None:
    assert bundle(tool, expect=2)["error"]["code"] == "not-a-mirror"


def test_a_place_that_cannot_be_meant_is_refused_before_anything_is_fetched(tool: Tool) -> None:
    small_mirror(tool.directory / "mirror", pip=False)
    error = tool.json("bundle", "--mirror", "mirror", "-o", "mirror/out", expect=2)["error"]
    assert error["code"] == "bad-destination"
    assert tree(tool.directory / "mirror").keys() == tree(small_mirror(tool.directory / "again", pip=False)).keys()


def test_a_damaged_mirror_says_what_to_run(tool: Tool) -> None:
    mirror = small_mirror(tool.directory / "mirror")
    wheel = "whl/cpu/torch-2.4.0+cpu-cp310-cp310-manylinux_2_28_x86_64.whl"
    (mirror / wheel).write_bytes(b"rotten")
    _, said = tool.run("bundle", "--mirror", "mirror", "-o", "out", "--offline", expect=4)
    assert f"  {wheel}: has 6 bytes instead of " in said
    error = bundle(tool, "--offline", expect=4)["error"]
    assert error["code"] == "bad-files"
    assert "verify --repair" in error["hint"]


def test_the_declared_date_is_that_of_the_environment(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    small_mirror(tool.directory / "mirror")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert bundle(tool, "--offline")["created"] == "1970-01-02T00:00:00Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    assert bundle(tool, "--offline", expect=2)["error"]["code"] == "bad-date"


def test_a_pip_that_the_mirror_lacks_is_fetched_into_it_and_travels_along(tool: Tool) -> None:
    mirror = small_mirror(tool.directory / "mirror", pip=False)
    address = index(tool.directory / "index", OLD_PIP, NEW_PIP, TOO_NEW_PIP)
    document = bundle(tool, "--default-index", address)
    assert document["tools"] == ["tools/pip-24.0-py3-none-any.whl"]
    assert document["warnings"] == []
    assert (mirror / "whl/pip-24.0-py3-none-any.whl").exists()
    assert "pip-24.0" in (mirror / "manifest.json").read_text()
    shutil.rmtree(tool.directory / "index")
    before = tree(tool.directory / "out")
    assert bundle(tool, "--default-index", address)["written"] == 0
    assert tree(tool.directory / "out") == before


def test_uv_travels_along_where_it_is_asked_for(tool: Tool) -> None:
    small_mirror(tool.directory / "mirror")
    address = index(tool.directory / "index", UV, OTHER_UV)
    assert len(bundle(tool, "--default-index", address)["tools"]) == 1
    document = bundle(tool, "--with-uv", "--default-index", address, "--force")
    assert document["tools"] == ["tools/pip-24.0-py3-none-any.whl", f"tools/{UV.filename}"]
    manifest = parse_manifest((tool.directory / "out" / MANIFEST_NAME).read_bytes())
    assert manifest.file_at(f"tools/{UV.filename}").row is not None


def test_where_no_index_has_a_pip_this_pythons_own_is_taken(tool: Tool) -> None:
    small_mirror(tool.directory / "mirror", pip=False)
    _, said = tool.run("bundle", "--mirror", "mirror", "-o", "out", "--offline")
    assert "taken instead: pip " in said
    document = bundle(tool, "--offline")
    assert [path for path in document["tools"] if path.startswith("tools/pip-")]


def test_where_none_can_be_had_at_all_the_targets_own_must_do(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    small_mirror(tool.directory / "mirror", pip=False)
    monkeypatch.setattr(ensurepip, "__file__", str(tool.directory / "ensurepip.py"))
    address = index(tool.directory / "index", TOO_NEW_PIP)
    _, said = tool.run("bundle", "--mirror", "mirror", "-o", "out", "--default-index", address, "--with-uv")
    assert "no pip for target node travels along: its own must do" in said
    assert "no uv for target node could be had" in said
    assert not (tool.directory / "out/tools").exists()


def test_its_own_installer_finds_it_whole_with_nothing_but_python(tool: Tool) -> None:
    small_mirror(tool.directory / "mirror")
    bundle(tool, "--offline")
    out = tool.directory / "out"
    command = [sys.executable, "-I", str(out / "install.py"), "--verify-only"]
    done = subprocess.run(command, env={"PATH": os.defpath}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (out / "whl/filelock-3.13-py3-none-any.whl").write_bytes(b"rotten")
    done = subprocess.run(command, env={"PATH": os.defpath}, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "filelock-3.13" in done.stderr
