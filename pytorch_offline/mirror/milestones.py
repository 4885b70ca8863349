"""Milestones of a mirror: when a crawl succeeded, a verification ended, a bundle was taken, the pages last changed.

Each is a small file below ``.state/milestones``, whole or absent. They are for people and for ``/health``: nothing else
is decided by them, who cannot write them has none, and what is not there is unknown. A copy of the public tree
(``publish``, a bundle) does not have them.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pytorch_offline.addresses import redacted
from pytorch_offline.moments import spell_moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORMAT = 1
DIRECTORY_NAME = "milestones"
PUBLICATION_NAME = f".state/{DIRECTORY_NAME}/publication.json"
_VERIFICATION, _SOUND, _IMPORT = "verification.json", "sound.json", "import.json"
_Value = TypeVar("_Value")
_MOST_UPSTREAMS = 100  # more than anyone crawls: what is in the directory is believed no further


@dataclass(frozen=True, slots=True, kw_only=True)
class Crawled:
    """A crawl that succeeded: every page that was asked for was read, or is known to be absent.

    ``upstream`` is an address without credentials. ``whole`` says that no backend or project was picked.
    """

    upstream: str
    ended: datetime
    pages: int
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A verification that came to its end.

    ``read`` of ``files`` were read in it, ``findings`` of them (or pages, or locks) were left bad; ``oldest`` is when
    the file was last verified that waits the longest.
    """

    ended: datetime
    files: int
    read: int
    deep: bool
    findings: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A bundle that was merged into the mirror, whole.

    ``bundle`` is its id, ``lineage`` the mirror that it comes from, ``counter`` which of that mirror's it is, and
    ``created`` when it was written there; ``brought`` wheels came with it that were not here.
    """

    ended: datetime
    bundle: str
    lineage: str
    counter: int
    created: datetime
    brought: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """All milestones of a mirror; None and nothing for what is not known.

    ``sound`` is the newest verification that left nothing bad, ``verified`` the newest of all.
    """

    crawled: tuple[Crawled, ...] = ()
    verified: Verified | None = None
    sound: Verified | None = None
    published: datetime | None = None
    imported: Imported | None = None

    def crawl_of(self, upstream: str) -> Crawled | None:
        """Give the newest successful crawl of an upstream, by its address."""
        return next((one for one in self.crawled if one.upstream == redacted(upstream)), None)


class Milestones:
    """The milestones of the mirror whose private directory is ``state``."""

    def __init__(self, state: Path) -> None:
        self._directory = state / DIRECTORY_NAME

    def note_crawl(self, crawled: Crawled) -> None:
        """Note a crawl that succeeded."""
        key = hashlib.sha256(crawled.upstream.encode()).hexdigest()[:16]
        self._write(f"crawl-{key}.json", render_crawled(crawled))

    def note_verification(self, verified: Verified) -> None:
        """Note a verification, whatever it found."""
        self._write(_VERIFICATION, render_verified(verified))
        if not verified.findings:
            self._write(_SOUND, render_verified(verified))

    def note_import(self, imported: Imported) -> None:
        """Note a bundle that was merged into the mirror."""
        self._write(_IMPORT, render_imported(imported))

    def read(self) -> Reached:
        """Read what is known."""
        crawled: list[Crawled | None] = []
        with suppress(OSError):
            places = sorted(self._directory.glob("crawl-*.json"))[:_MOST_UPSTREAMS]
            crawled = [self._read(place.name, parse_crawled) for place in places]
        return Reached(
            crawled=tuple(sorted(filter(None, crawled), key=lambda one: one.upstream)),
            verified=self._read(_VERIFICATION, parse_verified),
            sound=self._read(_SOUND, parse_verified),
            published=self._read(PUBLICATION_NAME.rpartition("/")[2], parse_publication),
            imported=self._read(_IMPORT, parse_imported),
        )

    def _write(self, name: str, body: bytes) -> None:
        place = self._directory / name
        temporary = place.with_name(f"{name}.{os.getpid()}.new")
        with suppress(OSError):
            if self._directory.parent.is_dir():
                self._directory.mkdir(exist_ok=True)
                temporary.write_bytes(body)
                temporary.replace(place)

    def _read(self, name: str, parse: Callable[[bytes], _Value | None]) -> _Value | None:
        try:
            return parse((self._directory / name).read_bytes())
        except OSError:
            return None


def render_crawled(crawled: Crawled) -> bytes:
    """Write a crawl down."""
    return _rendered(
        upstream=redacted(crawled.upstream),
        ended=spell_moment(crawled.ended),
        pages=crawled.pages,
        whole=crawled.whole,
    )


def parse_crawled(body: bytes) -> Crawled | None:
    """Read a crawl; None for what cannot be trusted."""
    return _parsed(
        body,
        lambda row: Crawled(
            upstream=_of(str, row["upstream"]),
            ended=_moment(row["ended"]),
            pages=_of(int, row["pages"]),
            whole=_of(bool, row["whole"]),
        ),
    )


def render_verified(verified: Verified) -> bytes:
    """Write a verification down."""
    return _rendered(
        ended=spell_moment(verified.ended),
        files=verified.files,
        read=verified.read,
        deep=verified.deep,
        findings=verified.findings,
        oldest=None if verified.oldest is None else spell_moment(verified.oldest),
    )


def parse_verified(body: bytes) -> Verified | None:
    """Read a verification; None for what cannot be trusted."""
    return _parsed(
        body,
        lambda row: Verified(
            ended=_moment(row["ended"]),
            files=_of(int, row["files"]),
            read=_of(int, row["read"]),
            deep=_of(bool, row["deep"]),
            findings=_of(int, row["findings"]),
            oldest=None if row["oldest"] is None else _moment(row["oldest"]),
        ),
    )


def render_imported(imported: Imported) -> bytes:
    """Write down that a bundle was merged into the mirror."""
    return _rendered(
        ended=spell_moment(imported.ended),
        bundle=imported.bundle,
        lineage=imported.lineage,
        counter=imported.counter,
        created=spell_moment(imported.created),
        brought=imported.brought,
    )


def parse_imported(body: bytes) -> Imported | None:
    """Read which bundle was merged; None for what cannot be trusted."""
    return _parsed(
        body,
        lambda row: Imported(
            ended=_moment(row["ended"]),
            bundle=_of(str, row["bundle"]),
            lineage=_of(str, row["lineage"]),
            counter=_of(int, row["counter"]),
            created=_moment(row["created"]),
            brought=_of(int, row["brought"]),
        ),
    )


def render_publication(moment: datetime) -> bytes:
    """Write down when the pages last changed."""
    return _rendered(at=spell_moment(moment))


def parse_publication(body: bytes) -> datetime | None:
    """Read when the pages last changed; None for what cannot be trusted."""
    return _parsed(body, lambda row: _moment(row["at"]))


def _rendered(**values: object) -> bytes:
    return json.dumps({"format": FORMAT, **values}, indent=1).encode()


def _parsed(body: bytes, make: Callable[[Any], _Value]) -> _Value | None:
    try:
        row = json.loads(body)
        return make(row) if row["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _of(kind: type[_Value], value: Any) -> _Value:  # noqa: ANN401  (JSON)
    if type(value) is not kind:
        raise TypeError
    return value


def _moment(value: Any) -> datetime:  # noqa: ANN401  (JSON)
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a time without its offset from UTC")
    return moment
