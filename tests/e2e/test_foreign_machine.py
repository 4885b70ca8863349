"""Real wheels of a foreign machine from the real default index, against what uv resolves. Run by hand."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from pytorch_offline.crawler.default_index import configured_index_url
from tests.e2e.tool import run_json, run_tool

pytestmark = [pytest.mark.network, pytest.mark.slow]
UV = Path(sysconfig.get_path("scripts")) / "uv"


def resolved_by_uv(platform: str, requirement: str, cwd: Path) -> set[str]:
    options = ["--python-platform", platform, "--python-version", "3.12", "--no-header", "--no-annotate", "--quiet"]
    done = subprocess.run(
        [UV, "pip", "compile", *options, "--default-index", configured_index_url(), "-"],
        cwd=cwd,
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"},
        input=requirement,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_macos_closure_is_fetched_and_is_what_uv_resolves(tmp_path: Path) -> None:
    target = ("--python-version", "3.12", "--platform", "macosx_14_0_arm64")
    fetched = run_json("fetch", "torch==2.13.0", *target, cwd=tmp_path)
    ours = {f"{file['project']}=={file['version']}" for file in fetched["files"]}
    assert ours == resolved_by_uv("aarch64-apple-darwin", "torch==2.13.0", tmp_path)
    run_tool("verify", "--deep", cwd=tmp_path)


def test_windows_closure_is_what_uv_resolves(tmp_path: Path) -> None:
    target = ("--python-version", "3.12", "--platform", "win_amd64")
    selected = run_json("select", "torch==2.13.0", *target, cwd=tmp_path)
    ours = {f"{file['project']}=={file['version']}" for file in selected["files"]}
    assert ours == resolved_by_uv("x86_64-pc-windows-msvc", "torch==2.13.0", tmp_path)
