"""Offers: which wheel lies where, and what its METADATA says; and the tables that hold the real ones.

Sources of the tables, in ``tables/``. File names: the index's own pages and lock files as recorded up to 2026-08
(``wheels.csv``, and ``dependencies.csv`` for what the family needs; triton 3.7.1 follows the pattern of 3.6.0).
Requirement lines: METADATA of the wheels of the default index, and uv's locks for the other CUDA builds
(``requirements.csv``; the pins of 2.2.2+cu118, 2.4+cu118 and 2.4+cu124 are those of the next release known).
``hash`` says whether the last recorded page states one; ``published`` is the release's day, or the first day on which
a page was recorded to list the file.
"""

from __future__ import annotations

import csv
import fnmatch
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pytorch_offline.simulator.stand_ins import CoreFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytorch_offline.simulator.bodies import Body

# The directory of files that the default index offers, and that upstream does not hold.
DEFAULT_INDEX = "simple"
CHANNELS = ("nightly", "test", "variant")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One wheel at one place.

    Args:
        directory: below ``/whl``: ``cu121``, empty for the root, ``nightly/cu126``; ``simple`` for the default index.
        filename: the wheel's name, with ``+``.
        published: from when on pages show it.
        facts: METADATA's content; None for the tables'.
        body: the wheel itself; None for a stand-in that is built on request.
        modules: a stand-in's members besides ``.dist-info``; None for the project's default.
        padding: bytes that make a stand-in longer.
        architectures: what a stand-in of torch says that it was built for, as ``torch.cuda.get_arch_list()`` prints
            it; None for what the tables say of the real one.
        glibc: which glibc a stand-in of torch needs, as (2, x); None for what the tables say.
        hash_listed: False where pages give no hash; a hash in hex where they give a wrong one.
        sidecar: whether there is a ``.metadata`` file; other bytes where it differs from METADATA.
        listed: False for a file that can be had and that no page shows.
        yanked: PEP 592's reason, on the default index.
    """

    directory: str
    filename: str
    published: datetime
    facts: CoreFacts | None = None
    body: Body | None = None
    modules: Mapping[str, bytes] | None = None
    padding: int = 0
    architectures: tuple[str, ...] | None = None
    glibc: tuple[int, int] | None = None
    hash_listed: bool | str = True
    sidecar: bool | bytes = True
    listed: bool = True
    yanked: str | None = None

    @property
    def path(self) -> str:
        """The address's path, decoded."""
        if self.directory == DEFAULT_INDEX:
            return f"/packages/{self.filename}"
        return f"/whl/{self.directory}/{self.filename}" if self.directory else f"/whl/{self.filename}"

    @property
    def channel(self) -> str:
        """``nightly``, ``test``, ``variant`` (wheel variants, PEP 817), or empty for stable."""
        first = self.directory.partition("/")[0]
        return first if first in CHANNELS else ""

    @property
    def project(self) -> str:
        """The project as upstream's generator finds it: the name up to the first ``-``, in lower case, with ``-``."""
        return self.filename.partition("-")[0].lower().replace("_", "-")


@cache
def read_offers() -> tuple[Offer, ...]:
    """Read the real offers."""
    offers = []
    for table in ("wheels.csv", "dependencies.csv"):
        for row in _rows(table):
            day = date.fromisoformat(row["published"])
            for tag in expand_tags(row["files"]):
                filename = f"{row['name']}-{row['version']}-{tag}.whl"
                offers.append(make_offer(row["directory"], filename, day, hash_listed=row["hash"] == "yes"))
    return tuple(offers)


def make_offer(directory: str, filename: str, published: date, *, hash_listed: bool = True) -> Offer:
    """A real file's offer, by upstream's rule: sidecars exist for what was uploaded since 2025-01-03."""
    moment = datetime.combine(published, time(15, 10, 34), UTC)
    sidecar = directory == DEFAULT_INDEX or published >= date(2025, 1, 3)
    return Offer(directory=directory, filename=filename, published=moment, sidecar=sidecar, hash_listed=hash_listed)


def expand_tags(text: str) -> Iterator[str]:
    """Expand the tables' notation for tags: ``cp38 cp313t cp39-none @ linux_x86_64 win_amd64; …``.

    ``cp38`` is ``cp38-cp38``, ``cp37m`` ``cp37-cp37m``, ``cp313t`` ``cp313-cp313t``; what holds a ``-`` is complete.
    """
    for group in text.split("; "):
        pythons, _, platforms = group.partition(" @ ")
        for python in pythons.split():
            interpreter = python if "-" in python else f"{python.rstrip('mut')}-{python}"
            for platform in platforms.split():
                yield f"{interpreter}-{platform}"


def core_facts(directory: str, filename: str) -> CoreFacts:
    """What the tables know about a wheel's METADATA; empty for a file that they do not know."""
    parts = filename.removesuffix(".whl").split("-")
    version, tag = parts[1].partition("+")[0], "-".join(parts[-3:])
    requires: list[str] = []
    requires_python = None
    for row in _requirements().get((canonicalize_name(parts[0]), version), ()):
        if not _matches(directory, row["directories"]) or not _matches(tag, row["tags"]):
            continue
        requires_python = row["requires_python"] or requires_python
        for line in filter(None, row["requires"].split(" | ")):
            separator = " ; " if "(" in line else "; "
            requires.append(line + separator + row["marker"] if row["marker"] else line)
    extras = {extra for line in requires if (extra := _extra(line))}
    return CoreFacts(requires=tuple(requires), requires_python=requires_python, extras=tuple(sorted(extras)))


def _extra(line: str) -> str | None:
    _, found, rest = line.partition("extra == ")
    return rest.strip("()").strip("'\"") if found else None


def _matches(text: str, patterns: str) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns.split())


@cache
def _requirements() -> dict[tuple[str, str], list[dict[str, str]]]:
    rows: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in _rows("requirements.csv"):
        rows.setdefault((row["project"], row["version"]), []).append(row)
    return rows


def _rows(table: str) -> Iterator[dict[str, str]]:
    text = resources.files("pytorch_offline.simulator.tables").joinpath(table).read_text(encoding="utf-8")
    return iter(csv.DictReader(text.splitlines()))
