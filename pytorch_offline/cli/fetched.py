"""What a fetch came to, in a few lines, and as a part of its document."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from pytorch_offline.cli.progress.words import duration, speed
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytorch_offline.mirror.fetch import FetchReport


def render_fetched(report: FetchReport, mirror: Path, targets: Sequence[str]) -> list[str]:
    """Say what came, how quickly and from where, what went wrong on the way, and what to do next."""
    came = render_size(report.bytes_downloaded)
    if report.bytes_per_second is not None:
        came += f" in {duration(report.seconds)}, {speed(report.bytes_per_second)}"
    lines = [f"{_wheels(len(report.downloaded))} downloaded ({came}), {len(report.already)} already there"]
    lines += [f"from {one.host}: {_wheels(one.files)}, {render_size(one.size)}" for one in report.given]
    troubles = []
    if report.troubles:
        troubles.append(f"tried again {'once' if report.troubles == 1 else f'{report.troubles} times'}")
    if report.turned:
        troubles.append(f"{_wheels(report.turned)} from another host than the one asked first")
    if troubles:
        lines.append("; ".join(troubles))
    lines.append(f"mirror: {mirror}")
    lines.append(f"next: {bundle_line(mirror, targets)}")
    lines.append("then, where DIR was carried to: python3 DIR/install.py --venv env")
    return lines


def bundle_line(mirror: Path, targets: Sequence[str]) -> str:
    """Write the command that packs what was fetched, to be carried to the machines that are ``targets``."""
    named = [word for target in targets for word in ("--target", target)]
    return shlex.join(["pytorch-offline", "bundle", "--mirror", str(mirror), *named, "-o", "DIR"])


def document_of_fetched(report: FetchReport) -> dict[str, Any]:
    """Say it for programs."""
    return {
        "downloaded": [str(file.path) for file in report.downloaded],
        "already_there": [str(file.path) for file in report.already],
        "bytes_downloaded": report.bytes_downloaded,
        "seconds": round(report.seconds, 3),
        "bytes_per_second": report.bytes_per_second,
        "hosts": [{"host": one.host, "files": one.files, "bytes": one.size} for one in report.given],
        "tried_again": report.troubles,
        "from_another_host": report.turned,
    }


def _wheels(count: int) -> str:
    return "1 wheel" if count == 1 else f"{count} wheels"
