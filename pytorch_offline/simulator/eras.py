"""Eras: what download.pytorch.org/whl looked like at a date.

Each change has the day from which pages showed it (research/upstream-index.md, sections 1 to 3; for flat pages the
history of pytorch/builder). A change of an afternoon counts from the next day, as an era's pages are those of noon.
Everything the simulator knows about an era follows from comparing those days with the era's date.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from pytorch_offline.errors import UsageError

FLAT_TEXT = date(2019, 7, 30)  # flat pages gain a text, `<br>` and `%2B`
FLAT_UNQUOTED = date(2020, 12, 17)  # `<a href=X</a><br>`, and the wrong content type
FLAT_UNCLOSED = date(2020, 12, 18)  # `<a href="X"</a>X<br>`
FLAT_MENDED = date(2021, 1, 5)
PROJECT_PAGES = date(2021, 6, 15)  # PEP 503 pages; flat pages get `<br/>`
SLASHLESS = date(2021, 9, 1)  # directories answer without the trailing slash
DASHES = date(2022, 12, 30)  # page directories with `-` instead of `_`
HASHES = date(2023, 9, 22)  # `#sha256=` fragments
FLAT_FROZEN = date(2024, 6, 5)  # flat pages are no longer written
SLASHLESS_ROCM_PATCH = date(2024, 12, 17)  # `rocm6.2.4` without slash, before only `rocm6.2`
METADATA = date(2025, 1, 3)  # sidecars and their two attributes
NETWORKX_REQUIRES_PYTHON = date(2025, 4, 25)  # one attribute written by hand, until networkx got a link page
NIGHTLY_WITHOUT_HASHES = date(2025, 2, 20)
DIRECTORIES_AS_PROJECTS = date(2025, 11, 21)  # the root list shows `cpu`, `nightly`, `cu121-full` … as if projects
SPECIAL_BUILDS_FROZEN = date(2025, 12, 4)  # `cpu-cxx11-abi`, `cu121_full` … are no longer listed
LINK_PAGES = date(2025, 12, 9)  # pages of dependencies are copies of their origin's page
UPLOAD_TIME = date(2026, 4, 23)
LIBTORCH_REDIRECTED = date(2026, 6, 8)  # libtorch archives answer 301 to the second host
PAGES_CACHED = date(2026, 7, 1)  # stable pages may be kept for ten minutes

# The day from which a project's stable wheels are linked to the second host, by absolute address.
SECOND_HOST = {
    "fbgemm-gpu": date(2026, 2, 11),
    "fbgemm-gpu-genai": date(2026, 2, 11),
    "torchaudio": date(2026, 3, 12),
    "torchvision": date(2026, 3, 16),
    "triton": date(2026, 3, 30),
    "pytorch-triton": date(2026, 3, 30),
    "pytorch-triton-rocm": date(2026, 3, 30),
    "pytorch-triton-xpu": date(2026, 3, 30),
    "triton-rocm": date(2026, 3, 30),
    "triton-xpu": date(2026, 3, 30),
    "torch": date(2026, 4, 6),
}

_SPELLING = re.compile(r"(\d{4})-(\d{2})(?:-(\d{2}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Era:
    """The index at one date; a month means its last day."""

    day: date

    @property
    def time(self) -> datetime:
        """The moment at which the era's pages were written: noon, UTC."""
        return datetime.combine(self.day, time(12), UTC)

    def has(self, change: date) -> bool:
        """Whether a change, given by its first day, is part of this era."""
        return self.day >= change

    def on_second_host(self, project: str, channel: str) -> bool:
        """Whether pages link a project's wheels to the second host; ``whl/test`` never did."""
        since = SECOND_HOST.get(project)
        return since is not None and channel in ("", "nightly") and self.has(since)

    def page_cache_control(self, channel: str) -> str:
        """The Cache-Control header of a page."""
        if channel == "" and self.has(PAGES_CACHED):
            return "max-age=600, public, must-revalidate"
        return "no-cache,no-store,must-revalidate"


def parse_era(text: str) -> Era:
    """Read an era from ``2026-08`` or ``2026-08-15``.

    Raises:
        UsageError: ``unknown-era`` if the text is neither.
    """
    match = _SPELLING.fullmatch(text)
    problem = UsageError("unknown-era", f"{text!r} is no date of the index", hint="write 2026-08, or 2026-08-15")
    if match is None:
        raise problem
    year, month = int(match[1]), int(match[2])
    try:
        return Era(day=date(year, month, int(match[3]) if match[3] else calendar.monthrange(year, month)[1]))
    except ValueError as error:
        raise problem from error
