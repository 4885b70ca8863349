"""What a fetch says at its end."""

from __future__ import annotations

from pathlib import Path

from pytorch_offline.cli.fetched import document_of_fetched, render_fetched
from pytorch_offline.mirror.fetch import FetchReport, Given
from tests.mirror.wheels import SYMPY, TORCH_CPU

MIRROR = Path("/srv/my mirror")


def test_what_came_how_quickly_and_from_whom() -> None:
    report = FetchReport(
        downloaded=(TORCH_CPU.row(), SYMPY.row()),
        already=(),
        bytes_downloaded=3_400_000_000,
        seconds=72.0,
        given=(
            Given(host="download-r2.pytorch.org", files=1, size=3_300_000_000),
            Given(host="download.pytorch.org", files=1, size=100_000_000),
        ),
        troubles=3,
        turned=1,
    )
    assert render_fetched(report, MIRROR, ["gpu-node"]) == [
        "2 wheels downloaded (3.4 GB in 1 min 12 s, 47.2 MB/s), 0 already there",
        "from download-r2.pytorch.org: 1 wheel, 3.3 GB",
        "from download.pytorch.org: 1 wheel, 100.0 MB",
        "tried again 3 times; 1 wheel from another host than the one asked first",
        "mirror: /srv/my mirror",
        "next: pytorch-offline bundle --mirror '/srv/my mirror' --target gpu-node -o DIR",
        "then, where DIR was carried to: python3 DIR/install.py --venv env",
    ]
    document = document_of_fetched(report)
    assert (document["bytes_per_second"], document["seconds"]) == (47_222_222, 72.0)
    assert document["hosts"][1] == {"host": "download.pytorch.org", "files": 1, "bytes": 100_000_000}
    assert (document["tried_again"], document["from_another_host"]) == (3, 1)


def test_nothing_came() -> None:
    report = FetchReport(downloaded=(), already=(SYMPY.row(),), bytes_downloaded=0, seconds=0.5)
    assert render_fetched(report, Path("cache"), ["a", "b"]) == [
        "0 wheels downloaded (0 B), 1 already there",
        "mirror: cache",
        "next: pytorch-offline bundle --mirror cache --target a --target b -o DIR",
        "then, where DIR was carried to: python3 DIR/install.py --venv env",
    ]
    assert document_of_fetched(report)["bytes_per_second"] is None
