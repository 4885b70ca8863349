"""The recorded pages, restored to upstream's bytes as the README beside them says."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_COPIED = b'href="https://download.pytorch.org/whl'


def recorded_pages(shared: Path) -> list[dict[str, str]]:
    """Give the table of recorded pages, oldest first."""
    with (shared / "upstream" / "pages" / "SOURCES.tsv").open(encoding="utf-8", newline="") as table:
        return sorted(csv.DictReader(table, delimiter="\t"), key=lambda row: row["date"])


def restored(shared: Path, row: dict[str, str]) -> bytes:
    """Read a recorded page and undo what its recorder changed."""
    body = (shared / "upstream" / "pages" / row["file"]).read_bytes()
    if row["repository"] != "sonatype-nexus-community/pytorch-pypi":
        return body
    lines = [line.replace(_COPIED, b'href="/whl', 1) for line in body.split(b"\n")]
    return b"\n".join(lines) + b"<!--TIMESTAMP 1700000000-->"
