"""``select``, as users mistype it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.cli.main import main
from pytorch_offline.simulator.server import Simulator

if TYPE_CHECKING:
    from pathlib import Path

LINUX = ("--platform", "linux_x86_64", "--glibc", "2.35", "--python-version", "3.10")


def select(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["select", *arguments, *LINUX, "--json"])
    return int(stop.value.code or 0)


def test_a_backend_that_upstream_does_not_have(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with Simulator() as simulator:
        indexes = ("--upstream", simulator.url, "--default-index", simulator.default_index_url)
        assert select("torch", "--backend", "cu999", *indexes, "--mirror", str(tmp_path)) == 5
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "backend-not-found"
    assert "cu121" in error["facts"]["backends"].split(", ")


def test_a_default_index_that_is_no_address(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert select("torch", "--default-index", "foo", "--mirror", str(tmp_path)) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "bad-url"
