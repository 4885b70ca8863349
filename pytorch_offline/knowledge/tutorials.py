"""Which torch goes with which CUDA, as tutorials say it: a table that people copy, kept to be compared with the facts.

It is of 2021 and wrong in places; what upstream really has is in the catalogue.
"""

from __future__ import annotations

from functools import cache

from packaging.version import Version

from pytorch_offline.knowledge.table import read_table


@cache
def read_tutorial_table() -> dict[Version, frozenset[Version]]:
    """Map a CUDA version to the releases of torch that tutorials name for it, oldest CUDA first."""
    return {
        Version(row["cuda"]): frozenset(Version(text) for text in row["torch"].split(";"))
        for row in read_table("tutorial_cuda")
    }
