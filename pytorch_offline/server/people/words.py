"""What the page says, in English and in Chinese; and how both write counts, sizes, days and ages.

The texts lie in ``words_in/``, a file for each language. One with ``|`` is one for a single thing and one for several.
Names of commands and of things on other screens ("CUDA Version") are the same in all.
"""

from __future__ import annotations

import importlib.resources
import tomllib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from pytorch_offline.server.people.languages import Language

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
# From when on a coarser unit says enough: ninety minutes, two days, two years.
_UNTIL_HOURS, _UNTIL_DAYS, _UNTIL_YEARS = 90 * _MINUTE, 48 * _HOUR, 730 * _DAY
_KILO = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """All texts of the page in one language; names in braces are filled in."""

    title: str
    lead: str
    skip: str
    other_language: str
    picker: str
    fetches: str
    torch: str
    system: str
    python: str
    backend: str
    tool: str
    older: str
    would_change: str
    gives_way: str
    changed: str
    separator: str
    show: str
    command: str
    file: str
    copy: str
    copied: str
    copy_failed: str
    tools: dict[str, str]
    systems: dict[str, str]
    channels: dict[str, str]
    backend_default: str
    backend_cpu: str
    backend_mps: str
    backend_special: str
    python_stable_abi: str
    python_any: str
    needs: str
    needs_nvidia: str
    needs_nvidia_native: str
    about_nvidia_smi: str
    needs_rocm: str
    needs_xpu: str
    needs_cpu: str
    needs_mps: str
    needs_glibc: str
    needs_macos: str
    without: str
    conda_note: str
    no_torch: str
    standing: str
    crawled: str
    verified: str
    changed_at: str
    taken: str
    bundle: str
    held: str
    disk: str
    never: str
    not_known: str
    oldest: str
    disk_free: str
    files: str
    projects_count: str
    drift: str
    drift_lead: str
    drift_more: str
    drifted: dict[str, str]
    complaints: dict[str, str]
    locks: str
    locks_lead: str
    needs_new_pip: str
    settings: str
    settings_lead: str
    projects: str
    filter: str
    find: str
    sort: str
    sorts: dict[str, str]
    project: str
    newest: str
    versions: str
    size: str
    uploaded: str
    verified_on: str
    matching: str
    none_matching: str
    page_of: str
    previous: str
    next: str
    empty: str
    empty_lead: str
    empty_fetch: str
    empty_copy: str
    empty_gateway: str
    raw: str
    ages: dict[str, str]

    def count(self, text: str, number: int) -> str:
        """Fill a count into a text that may differ for one."""
        single, _, several = text.partition("|")
        return (single if number == 1 or not several else several).format(n=f"{number:,}")

    def age(self, elapsed: timedelta) -> str:
        """Write how long ago something was."""
        seconds = max(0, int(elapsed.total_seconds()))
        if seconds < _MINUTE:
            return self.ages["now"]
        if seconds < _UNTIL_HOURS:
            return self.count(self.ages["minutes"], seconds // _MINUTE)
        if seconds < _UNTIL_DAYS:
            return self.count(self.ages["hours"], seconds // _HOUR)
        if seconds < _UNTIL_YEARS:
            return self.count(self.ages["days"], seconds // _DAY)
        return self.count(self.ages["years"], seconds // (365 * _DAY))


def render_size(size: int) -> str:
    """Write a number of bytes as people read it, in powers of a thousand as disks and downloads are sold."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < _KILO or unit == "TB":
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"  # noqa: PLR2004
        amount /= _KILO
    raise AssertionError


def render_moment(moment: datetime) -> str:
    """Write a moment: day and time in UTC, which every reader can compare."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


@cache
def read_words(language: Language) -> Words:
    """Read the texts of one language; each of them must be there, and nothing else."""
    text = importlib.resources.files(__package__).joinpath("words_in", f"{language.value}.toml").read_text("utf-8")
    return Words(**tomllib.loads(text))
