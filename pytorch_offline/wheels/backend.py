"""Backends: what a torch build runs on, spelt as upstream's directory.

``cpu``, ``cu118`` … ``cu132``, ``rocm6.4``, ``xpu``; uv and light-the-torch use the word in the same way. Directories
of special builds (``cpu-cxx11-abi``, ``cu121_full``, ``cu117_pypi_cudnn``, ``cpu_pypi_pkg``) look like backends and
are none of their own: upstream stopped generating their pages on 2025-12-04 (research/upstream-index.md, section 2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from packaging.version import Version

from pytorch_offline.errors import UsageError

_SPELLING = re.compile(r"(?P<cpu>cpu)|(?P<xpu>xpu)|cu(?P<cuda>[0-9]{2,3})|rocm(?P<rocm>[0-9]+(?:\.[0-9]+){1,2})")


class BackendKind(StrEnum):
    """The families of backends."""

    CPU = "cpu"
    CUDA = "cuda"
    ROCM = "rocm"
    XPU = "xpu"


@dataclass(frozen=True, slots=True)
class Backend:
    """One backend: its kind and, for CUDA and ROCm, the toolkit's version."""

    kind: BackendKind
    version: Version | None = None

    def __str__(self) -> str:
        match self.kind:
            case BackendKind.CUDA if self.version is not None:
                return f"cu{self.version.major}{self.version.minor}"
            case BackendKind.ROCM:
                return f"rocm{self.version}"
            case _:
                return self.kind.value

    @property
    def order(self) -> tuple[int, Version]:
        """A sort key among backends: CPU lowest, then by toolkit version within a kind."""
        rank = {BackendKind.CPU: 0, BackendKind.XPU: 1, BackendKind.ROCM: 2, BackendKind.CUDA: 3}
        return rank[self.kind], self.version or Version("0")


CPU = Backend(BackendKind.CPU)
XPU = Backend(BackendKind.XPU)


def is_backend(text: str) -> bool:
    """Whether a directory's name spells a backend."""
    return _SPELLING.fullmatch(text) is not None


def _meant(text: str) -> str:
    """Guess what a misspelt backend means, as the beginning of a hint."""
    plain = re.sub(r"[\s_-]", "", text.lower())
    if plain in {"cuda", "gpu", "nvidia"}:
        return "say --driver and leave --backend at auto, and the CUDA build that suits the driver is chosen; "
    cuda = re.fullmatch(r"(?:cuda|cu)?([0-9]{1,2})\.?([0-9])(?:\.[0-9]+)?", plain)
    spelt = f"cu{cuda[1]}{cuda[2]}" if cuda else plain
    return f"did you mean {spelt}? " if _SPELLING.fullmatch(spelt) else ""


def parse_backend(text: str) -> Backend:
    """Read a backend from upstream's spelling: ``cu121`` is CUDA 12.1, ``cu92`` CUDA 9.2, ``rocm6.2.4`` ROCm 6.2.4.

    Raises:
        UsageError: ``unknown-backend`` if the text spells none.
    """
    match = _SPELLING.fullmatch(text)
    if match is None:
        raise UsageError(
            "unknown-backend",
            f"{text!r} is not a backend",
            hint=f"{_meant(text)}backends are spelt as upstream's directories: cpu, cu118, cu126, rocm6.4, xpu",
        )
    if match["cpu"]:
        return CPU
    if match["xpu"]:
        return XPU
    if digits := match["cuda"]:
        return Backend(BackendKind.CUDA, Version(f"{digits[:-1]}.{digits[-1]}"))
    return Backend(BackendKind.ROCM, Version(match["rocm"]))
