"""Upstream's own hosts: what one serves below a path, the others serve too."""

from __future__ import annotations

from functools import cache

from pytorch_offline.knowledge.table import read_table


@cache
def upstream_hosts() -> dict[str, str]:
    """Map each of upstream's hosts to the path below which its files are those of the others, slash at the end."""
    return {row["host"]: row["below"] for row in read_table("upstream_hosts")}
