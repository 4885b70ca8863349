"""Which builds of torch exist: the release table, read into values."""

from __future__ import annotations

from functools import cache

from pytorch_offline.knowledge.table import read_table


@cache
def default_backends() -> dict[str, str]:
    """Map a torch release to the CUDA, e.g. ``cu126``, of its Linux wheel on a plain index, which has no local version.

    Releases whose default is not one CUDA (``lts``, ``-``) are left out.
    """
    rows = read_table("torch_cuda")
    return {row["torch"]: row["default_without_index"] for row in rows if row["default_without_index"].startswith("cu")}
