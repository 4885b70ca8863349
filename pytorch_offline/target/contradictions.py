"""Where pasted texts disagree, as those of two machines do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.target.probe import SMI_HEADER
from pytorch_offline.target.system_texts import LDD, PYTHON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytorch_offline.target.gpu_texts import GpuFacts
    from pytorch_offline.target.system_texts import SystemFacts


def contradictions(systems: Sequence[SystemFacts], gpus: Sequence[GpuFacts]) -> list[str]:
    """Say where texts disagree; the first is what counts."""
    said: list[tuple[str, list[tuple[str, str]]]] = [
        ("the driver is", [(item.nvidia.source, item.nvidia.driver or "") for item in gpus]),
        ("CUDA is", [(item.nvidia.source, item.nvidia.cuda or "") for item in gpus]),
        ("Jetson's release is", [(item.nvidia.source, item.nvidia.tegra or "") for item in gpus]),
        ("the C library is", [(item.source, " ".join(item.libc or ())) for item in systems]),
        ("the distribution is", [(item.source, next(iter(item.distributions), "")) for item in systems]),
        ("Python is", [(item.source, item.python or "") for item in systems]),
        ("the machine is", [(item.source, item.machine or "") for item in systems]),
    ]
    notes = [note for name, values in said if (note := _disagreement(name, values))]
    makers = [
        name
        for name, shown in (
            ("NVIDIA", any(item.nvidia.devices or item.nvidia.driver for item in gpus)),
            ("AMD", any(item.amd for item in gpus)),
            ("Intel", any(item.intel for item in gpus)),
        )
        if shown
    ]
    if len(makers) > 1:
        notes.append(f"the texts show {' and '.join(makers)} devices; the {makers[0]} ones are taken")
    return notes


def repetitions(source: str, text: str) -> list[str]:
    """Say where one text shows a fact twice and differently, as a file does to which two machines' outputs went."""
    shown = (
        ("drivers", [found[2] for found in SMI_HEADER.finditer(text)]),
        ("C libraries", LDD.findall(text)),
        ("Pythons", [found[1] for found in PYTHON.finditer(text)]),
    )
    different = [(name, list(dict.fromkeys(values))) for name, values in shown]
    return [
        f"{source} shows several {name}: {', '.join(values)}; the first is taken"
        for name, values in different
        if len(values) > 1
    ]


def _disagreement(name: str, values: Sequence[tuple[str, str]]) -> str | None:
    known = [(source, value) for source, value in values if value]
    others = [(source, value) for source, value in known[1:] if not _agree(value, known[0][1])]
    if not others:
        return None
    listed = ", ".join(f"{value} in {source}" for source, value in (known[0], *others))
    return f"the texts disagree: {name} {listed}; the first is taken"


def _agree(one: str, other: str) -> bool:
    """Whether one value is the other, or the other said in part: ``3.10`` and ``3.10.12``."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
