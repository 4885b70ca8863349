"""Read one of the package's tables of facts: CSV with a header, one source per row."""

from __future__ import annotations

import csv
from pathlib import Path


def read_table(name: str) -> list[dict[str, str]]:
    """Read ``knowledge/<name>.csv`` as one dict per row; empty cells are empty strings."""
    text = Path(__file__).with_name(f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
