"""Recorded pages, served as they were."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import UsageError
from pytorch_offline.simulator.replay import read_recording, restored
from pytorch_offline.simulator.server import Simulator

if TYPE_CHECKING:
    from pathlib import Path

    import requests

WHEEL = "torch-2.4.0%2Bcu121-cp310-cp310-linux_x86_64.whl"


def test_the_newest_recorded_content_is_served_or_the_newest_at_a_day(shared: Path, client: requests.Session) -> None:
    files = shared / "upstream/pages"
    for at, day in (("latest", "2026-01-21"), ("2025-12-31", "2024-10-08")):
        with Simulator.replaying(shared / "upstream", at=at) as simulator:
            answer = client.get(f"{simulator.url}/cu121/torch/")
            recorded = (files / day / "whl/cu121/torch/index.html").read_bytes()
            expected = recorded.replace(b'href="https://download.pytorch.org/whl', b'href="/whl')
            assert answer.content.startswith(expected)
            assert answer.content.removeprefix(expected).startswith(b"<!--TIMESTAMP 1")
            assert client.get(f"{simulator.url}/cu121/torch").content == answer.content
            assert client.get(f"{simulator.url}/cu121/pycparser/").status_code == 403


def test_listed_wheels_are_stand_ins_with_real_requirements(shared: Path, client: requests.Session) -> None:
    with Simulator.replaying(shared / "upstream") as simulator:
        page = client.get(f"{simulator.url}/cu121/torch/").text
        assert WHEEL in page
        wheel = client.get(f"{simulator.url}/cu121/{WHEEL}").content
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            metadata = archive.read("torch-2.4.0+cu121.dist-info/METADATA").decode()
        assert "Requires-Dist: nvidia-cudnn-cu12 (==9.1.0.70) ; " in metadata
        assert client.get(f"{simulator.url}/cu121/torch-9.9-cp310-cp310-linux_x86_64.whl").status_code == 403
        assert client.get(f"{simulator.url}/nightly/torchrec_nightly_3.7_cu11.whl").status_code == 403


def test_flat_pages_are_replayed_untouched(shared: Path, client: requests.Session) -> None:
    with Simulator.replaying(shared / "upstream") as simulator:
        answer = client.get(f"{simulator.url}/torch_stable.html")
        assert answer.content == (shared / "upstream/pages/2021-03-12/whl/torch_stable.html").read_bytes()
        assert (
            client.get(f"{simulator.url}/cu92/torch-1.2.0%2Bcu92-cp36-cp36m-manylinux1_x86_64.whl").status_code == 200
        )


def test_an_archives_changes_are_undone() -> None:
    written = datetime(2023, 12, 23, 16, 3, 30, tzinfo=UTC)
    archived = b'<!DOCTYPE html>\n    <a href="https://download.pytorch.org/whl/x.whl">x</a>\n</html>\n'
    expected = b'<!DOCTYPE html>\n    <a href="/whl/x.whl">x</a>\n</html>\n<!--TIMESTAMP 1703347410-->'
    assert restored(archived, written) == expected


def test_what_is_no_recording_is_refused(tmp_path: Path, shared: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_recording(tmp_path)
    assert caught.value.code == "no-recording"
    with pytest.raises(UsageError) as caught:
        read_recording(shared / "upstream", at="yesterday")
    assert caught.value.code == "unknown-era"
