"""Torch's own family: the projects that come from upstream's pages and from nowhere else.

Other indexes serve other builds under the same names (the public index's ``torch`` for Linux is the default CUDA
build), so a family project that upstream lacks is missing, not to be found elsewhere. uv keeps such a list for the same
reason.
"""

from __future__ import annotations

from functools import cache

from packaging.utils import NormalizedName, canonicalize_name

from pytorch_offline.knowledge.table import read_table

TORCH = NormalizedName("torch")


@cache
def family_projects() -> frozenset[NormalizedName]:
    """The family's projects."""
    return frozenset(canonicalize_name(row["project"]) for row in read_table("family"))


@cache
def projects_built_per_backend() -> frozenset[NormalizedName]:
    """The family's projects whose wheels differ from backend to backend; the others serve any of them."""
    rows = read_table("family")
    return frozenset(canonicalize_name(row["project"]) for row in rows if row["built_per_backend"] == "yes")
