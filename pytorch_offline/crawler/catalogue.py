"""The catalogue: everything that index pages said, where and when, in one SQLite file.

A page's links are kept as observations: what one page said about one file, from its first reading to its last. Nothing
is deleted: a link that changes or vanishes ends its observation, and the file's history stays. What a page lists now is
its observations that have not ended.

One transaction per page, in WAL mode: a killed process loses at most the page it was writing, and other processes read
meanwhile. One connection behind a lock serves all threads.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import threading
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pytorch_offline.addresses import page_key, without_credentials
from pytorch_offline.crawler.database import (
    ROWS_IN_ROOM,
    check_place,
    insist_on_room,
    open_database,
    open_to_read,
    translated,
)
from pytorch_offline.crawler.model import Link, Observation, Page, PageChange, PageKind, Receipt, RejectedLink
from pytorch_offline.crawler.observations import link_of, observation_of, storable, store_contents
from pytorch_offline.moments import spell_moment
from pytorch_offline.wheels.arch_list import is_architecture
from pytorch_offline.wheels.inspection import INSPECTION_VERSION, Inspection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from packaging.utils import NormalizedName


# The catalogue's file, in a mirror's private directory (DESIGN 4.2).
CATALOGUE_NAME = "catalogue.sqlite"
_GLIBC = re.compile(r"2\.[0-9]{1,3}")
# Nothing that a page still says has ended by then.
_END_OF_TIME = "9999-12-31T23:59:59Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRecord:
    """What the catalogue knows about a page itself; ``kind`` is None while the page is absent."""

    url: str
    final_url: str
    kind: PageKind | None
    etag: str | None
    last_modified: str | None
    body_sha256: str | None
    parser: int | None
    first_fetched: str
    last_fetched: str
    fresh_until: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """How a page was answered: its address after redirects, its validators and freshness, the hash of its body."""

    final_url: str
    body_sha256: str
    parser: int
    etag: str | None = None
    last_modified: str | None = None
    fresh_until: datetime | None = None


class Catalogue:
    """An open catalogue; close it, or use it as a context manager. Safe to use from many threads."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()
        self._look_again_at = 0  # in rows that were written

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open the catalogue at ``path``; where there is none, one is created when there is something to write.

        Whoever opens it ``read_only`` leaves the file as it is, even where it could be written.

        Raises:
            PytorchOfflineError: what ``open_database`` and ``check_place`` say.
        """
        catalogue = cls(path, read_only=read_only)
        if os.path.exists(path):  # noqa: PTH110  (what may not be looked at is not there)
            catalogue._opened()
        else:
            check_place(path)
        return catalogue

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; whoever is writing is let finish."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # What was read.

    def page(self, url: str) -> PageRecord | None:
        """Look up a page; None if it was never read."""
        rows = self._rows(
            "SELECT url, final_url, kind, etag, last_modified, body_sha256, parser, first_fetched, last_fetched,"
            " fresh_until FROM page WHERE url = ?",
            (page_key(url),),
        )
        if not rows:
            return None
        address, final_url, kind, etag, last_modified, body_sha256, parser, first_fetched, last_fetched, fresh = rows[0]
        return PageRecord(
            url=address,
            final_url=final_url,
            kind=None if kind is None else PageKind(kind),
            etag=etag,
            last_modified=last_modified,
            body_sha256=body_sha256,
            parser=parser,
            first_fetched=first_fetched,
            last_fetched=last_fetched,
            fresh_until=fresh,
        )

    def links(self, url: str, *, as_of: datetime | None = None) -> tuple[Link, ...]:
        """Give the links that a page lists, or that it was known to list at a moment."""
        moment = _END_OF_TIME if as_of is None else spell_moment(as_of)
        rows = self._rows(
            "SELECT path, filename, url, sha256, metadata_sha256, has_metadata, requires_python, yanked, upload_time,"
            " size FROM observation WHERE page = (SELECT id FROM page WHERE url = ?)"
            " AND first_seen <= ? AND (ended IS NULL OR ended > ?) ORDER BY id",
            (page_key(url), moment, moment),
        )
        return tuple(map(link_of, rows))

    def listed_names(self, url: str) -> list[tuple[int, str]]:
        """Give the file names that a page lists, each with the number by which ``numbered_links`` finds its link."""
        return self._rows(
            "SELECT id, filename FROM observation WHERE page = (SELECT id FROM page WHERE url = ?)"
            " AND ended IS NULL ORDER BY id",
            (page_key(url),),
        )

    def numbered_links(self, numbers: Sequence[int]) -> tuple[Link, ...]:
        """Give links by their numbers, which rise; what a page said under a number never changes."""
        rows = self._rows(
            "SELECT path, filename, url, sha256, metadata_sha256, has_metadata, requires_python, yanked, upload_time,"
            " size FROM observation WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
            (json.dumps(list(numbers)),),
        )
        return tuple(map(link_of, rows))

    def count_links(self, url: str) -> int:
        """Count the links that a page lists."""
        rows = self._rows(
            "SELECT count(*) FROM observation WHERE page = (SELECT id FROM page WHERE url = ?) AND ended IS NULL",
            (page_key(url),),
        )
        return int(rows[0][0]) if rows else 0

    def unlisted(self, url: str, *, as_of: datetime | None = None) -> tuple[Observation, ...]:
        """Give what a page last said of files that it once listed and, at a moment or now, no longer does."""
        address = page_key(url)
        any_ended = self._rows(
            "SELECT 1 FROM observation WHERE page = (SELECT id FROM page WHERE url = ?) AND ended IS NOT NULL LIMIT 1",
            (address,),
        )
        if not any_ended:
            return ()
        moment = "9999" if as_of is None else spell_moment(as_of)
        rows = self._rows(
            "SELECT *, max(id) FROM saying WHERE page_url = ? AND first_seen <= ? GROUP BY path"
            " HAVING sum(ended IS NULL OR ended > ?) = 0 ORDER BY max(id)",
            (address, moment, moment),
        )
        return tuple(observation_of(row) for row in rows)

    def first_reading(self, root: str) -> str | None:
        """Say when a page at an address or below it was first read, ISO 8601 in UTC; None if none ever was."""
        address = page_key(root)
        rows = self._rows("SELECT min(first_fetched) FROM page WHERE substr(url, 1, ?) = ?", (len(address), address))
        return None if not rows else rows[0][0]

    def last_reading(self) -> str | None:
        """Say when upstream last said or confirmed any page, ISO 8601 in UTC; None if none was ever read."""
        rows = self._rows("SELECT max(last_fetched) FROM page WHERE kind IS NOT NULL", ())
        return None if not rows else rows[0][0]

    def projects(self, url: str, *, with_unlisted: bool = False, as_of: datetime | None = None) -> tuple[str, ...]:
        """Give the projects that a page lists, in its order; on request also those that it listed once, behind them.

        Of a moment (``as_of``) it is known what was listed since before and until after; not what came back meanwhile.
        """
        if as_of is not None:
            moment = spell_moment(as_of)
            rows = self._rows(
                "SELECT name FROM project WHERE page = (SELECT id FROM page WHERE url = ?)"
                " AND first_seen <= ? AND (ended IS NULL OR ended > ?) ORDER BY position",
                (page_key(url), moment, moment),
            )
            return tuple(name for (name,) in rows)
        rows = self._rows(
            "SELECT name FROM project WHERE page = (SELECT id FROM page WHERE url = ?)"
            " AND (ended IS NULL OR ?) ORDER BY ended IS NOT NULL, position",
            (page_key(url), with_unlisted),
        )
        return tuple(name for (name,) in rows)

    def rejected(self, url: str) -> tuple[RejectedLink, ...]:
        """Give the links that were not taken from a page, each with its reason."""
        rows = self._rows(
            "SELECT href, reason, detail FROM rejected WHERE page = (SELECT id FROM page WHERE url = ?) ORDER BY rowid",
            (page_key(url),),
        )
        return tuple(RejectedLink(href=href, reason=reason, detail=detail) for href, reason, detail in rows)

    def history(self, path: str) -> tuple[Observation, ...]:
        """Give everything that any page said about a file, oldest first."""
        rows = self._rows("SELECT * FROM saying WHERE path = ? ORDER BY first_seen, id", (path,))
        return tuple(observation_of(row) for row in rows)

    def sayings_of(self, filename: str) -> tuple[Observation, ...]:
        """Give what pages say of files with a name, what they say now before what they once said, the newest first."""
        rows = self._rows("SELECT * FROM saying WHERE filename = ? ORDER BY ended IS NOT NULL, id DESC", (filename,))
        return tuple(observation_of(row) for row in rows)

    def observations(self, url: str) -> tuple[Observation, ...]:
        """Give everything that a page ever said about files, oldest first."""
        rows = self._rows("SELECT * FROM saying WHERE page_url = ? ORDER BY id", (page_key(url),))
        return tuple(observation_of(row) for row in rows)

    def sayings_about(self, project: NormalizedName) -> tuple[Observation, ...]:
        """Give everything that any page ever said about a project's files, oldest first."""
        rows = self._rows(
            # What stands before the first "-" is the project, normalised as PEP 503 says (runs of signs do not occur).
            "SELECT * FROM saying WHERE replace(replace("
            "lower(substr(filename, 1, instr(filename, '-') - 1)), '_', '-'), '.', '-') = ? ORDER BY id",
            (project,),
        )
        return tuple(observation_of(row) for row in rows)

    def rehashed(self) -> tuple[Observation, ...]:
        """Give the history of every file for which pages of one host published different hashes, file by file."""
        # The host is the page's and not the file's: upstream moves a path from one host to another.
        rows = self._rows(
            "SELECT * FROM saying WHERE path IN (SELECT path FROM saying WHERE sha256 IS NOT NULL"
            " GROUP BY path, substr(page_url, 1, instr(substr(page_url, 9), '/') + 8) HAVING count(DISTINCT sha256) > 1"
            ") ORDER BY path, first_seen, id",
            (),
        )
        return tuple(observation_of(row) for row in rows)

    def unsteady(self) -> tuple[Observation, ...]:
        """Give the history of every file that was rehashed, was fetched, or is on no page of a host any more."""
        rows = self._rows(
            "SELECT * FROM saying WHERE path IN (SELECT path FROM saying"
            " GROUP BY path, substr(page_url, 1, instr(substr(page_url, 9), '/') + 8)"
            " HAVING count(DISTINCT sha256) > 1 OR sum(ended IS NULL) = 0"
            " UNION SELECT path FROM received) ORDER BY path, first_seen, id",
            (),
        )
        return tuple(observation_of(row) for row in rows)

    def receipts(self, path: str | None = None) -> tuple[Receipt, ...]:
        """Give what hosts gave for a file, or for every file, oldest first."""
        rows = self._rows(
            "SELECT path, url, sha256, size, etag, last_modified, first_seen, last_seen FROM received"
            " WHERE ? IS NULL OR path = ? ORDER BY path, first_seen, url",
            (path, path),
        )
        return tuple(
            Receipt(
                path=row[0],
                url=row[1],
                sha256=row[2],
                size=row[3],
                etag=row[4] or None,
                last_modified=row[5] or None,
                first_seen=row[6],
                last_seen=row[7],
            )
            for row in rows
        )

    # What is written.

    def store_receipt(self, receipt: Receipt) -> None:
        """Write down what a host gave for a file; the same again only moves the day on which it was last seen."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO received VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path, url, sha256, etag) DO UPDATE"
                " SET last_seen = max(last_seen, excluded.last_seen), last_modified = excluded.last_modified",
                (
                    receipt.path,
                    without_credentials(receipt.url),
                    receipt.sha256,
                    receipt.size,
                    storable(receipt.etag or ""),
                    storable(receipt.last_modified or ""),
                    receipt.first_seen,
                    receipt.last_seen,
                ),
            )

    def store_page(self, url: str, page: Page, fetched: Fetched, *, now: datetime) -> PageChange:
        """Write down a page that was read, in one transaction, and say how it differs from before."""
        moment = spell_moment(now)
        with self._transaction() as connection:
            number, change = store_contents(connection, page_key(url), page, moment)
            connection.execute(
                "UPDATE page SET final_url = ?, kind = ?, etag = ?, last_modified = ?, body_sha256 = ?, parser = ?,"
                " last_fetched = ?, fresh_until = ? WHERE id = ?",
                (
                    without_credentials(fetched.final_url),
                    page.kind.value,
                    fetched.etag,
                    fetched.last_modified,
                    fetched.body_sha256,
                    fetched.parser,
                    moment,
                    None if fetched.fresh_until is None else spell_moment(fetched.fresh_until),
                    number,
                ),
            )
        return change

    def confirm_page(
        self,
        url: str,
        *,
        now: datetime,
        etag: str | None,
        last_modified: str | None,
        fresh_until: datetime | None = None,
    ) -> None:
        """Write down that a page still says the same; validators replace the known ones where there are new."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE page SET last_fetched = ?, fresh_until = ?, etag = coalesce(?, etag),"
                " last_modified = coalesce(?, last_modified) WHERE url = ?",
                (
                    spell_moment(now),
                    None if fresh_until is None else spell_moment(fresh_until),
                    etag,
                    last_modified,
                    page_key(url),
                ),
            )

    def mark_absent(self, url: str, *, now: datetime) -> PageChange:
        """Write down that a page is not there; what it said before ends, and is kept."""
        moment = spell_moment(now)
        with self._transaction() as connection:
            number, change = store_contents(connection, page_key(url), Page(kind=PageKind.FILES), moment)
            connection.execute(
                "UPDATE page SET kind = NULL, etag = NULL, last_modified = NULL, body_sha256 = NULL, parser = NULL,"
                " fresh_until = NULL, last_fetched = ? WHERE id = ?",
                (moment, number),
            )
        return change

    # Core metadata.

    def metadata(self, link: Link) -> bytes | None:
        """Look up the core metadata of the wheel behind a link; None if it was never stored."""
        rows = self._rows("SELECT body, sha256 FROM metadata WHERE key = ?", (_wheel_key(link),))
        if not rows:
            return None
        body, sha256 = rows[0]
        with translated(self._path):
            try:
                plain = zlib.decompress(body)
            except zlib.error as error:
                raise sqlite3.DatabaseError(f"stored metadata of {link.filename}: {error}") from error
            if hashlib.sha256(plain).hexdigest() != sha256:
                raise sqlite3.DatabaseError(f"stored metadata of {link.filename} does not match its hash")
        return plain

    def has_metadata(self, link: Link) -> bool:
        """Whether the core metadata of the wheel behind a link is stored."""
        return bool(self._rows("SELECT 1 FROM metadata WHERE key = ?", (_wheel_key(link),)))

    def with_metadata(self, links: Iterable[Link]) -> tuple[Link, ...]:
        """Give those links whose wheels' core metadata is stored."""
        known = {key for (key,) in self._rows("SELECT key FROM metadata", ())}
        return tuple(link for link in links if _wheel_key(link) in known) if known else ()

    def store_metadata(self, link: Link, body: bytes, source: str) -> None:
        """Keep the core metadata of the wheel behind a link; ``source`` says how it was got (``sidecar``, …)."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO metadata VALUES (?, ?, ?, ?)",
                (_wheel_key(link), zlib.compress(body), hashlib.sha256(body).hexdigest(), source),
            )

    # What was learnt of wheels besides.

    def inspection(self, link: Link) -> Inspection | None:
        """Look up what was read out of the wheel behind a link; None if it was not, or by an older reader."""
        rows = self._rows(
            "SELECT architectures, glibc, unread FROM inspection WHERE key = ? AND reader = ?",
            (_wheel_key(link), INSPECTION_VERSION),
        )
        if not rows:
            return None
        architectures, glibc, unread = rows[0]
        names = None if architectures is None else tuple(architectures.split())
        if not all(map(is_architecture, names or ())) or not _GLIBC.fullmatch(glibc or "2.0"):
            return None  # a damaged row: whoever asks reads the wheel again
        return Inspection(
            architectures=names, glibc=None if glibc is None else (2, int(glibc.partition(".")[2])), unread=unread
        )

    def store_inspection(self, link: Link, inspection: Inspection) -> None:
        """Keep what was read out of the wheel behind a link."""
        architectures, glibc = inspection.architectures, inspection.glibc
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO inspection VALUES (?, ?, ?, ?, ?)",
                (
                    _wheel_key(link),
                    INSPECTION_VERSION,
                    None if architectures is None else " ".join(architectures),
                    None if glibc is None else f"{glibc[0]}.{glibc[1]}",
                    None if inspection.unread is None else storable(inspection.unread),
                ),
            )

    def wheel_size(self, link: Link, *, fresh_at: datetime | None = None) -> int | None:
        """Look up how many bytes the wheel behind a link has by what its server said; None if that was not asked.

        With ``fresh_at`` it is None also where the server has to be asked again by then.
        """
        rows = self._rows(
            "SELECT size FROM wheel_size WHERE key = ? AND (? IS NULL OR fresh_until > ?)",
            (_wheel_key(link), *[None if fresh_at is None else spell_moment(fresh_at)] * 2),
        )
        return int(rows[0][0]) if rows else None

    def store_wheel_sizes(
        self, sizes: Mapping[Link, int], *, fresh_until: Mapping[Link, datetime | None] | None = None
    ) -> None:
        """Keep how many bytes wheels have."""
        until = {link: spell_moment(moment) for link, moment in (fresh_until or {}).items() if moment is not None}
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO wheel_size VALUES (?, ?, ?)",
                [(_wheel_key(link), size, until.get(link)) for link, size in sizes.items()],
            )

    # The connection.

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = (open_to_read if self._read_only else open_database)(self._path)
        return self._connection

    def _rows(self, query: str, parameters: Sequence[object]) -> list[Any]:
        with self._lock:
            if self._connection is None and not os.path.exists(self._path):  # noqa: PTH110  (as above)
                return []
            with translated(self._path):
                return self._opened().execute(query, parameters).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, translated(self._path):
            connection = self._opened()
            if connection.total_changes >= self._look_again_at:
                insist_on_room(self._path)
                self._look_again_at = connection.total_changes + ROWS_IN_ROOM
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.commit()  # which may find no room, and must not leave its transaction open
            except BaseException:
                connection.rollback()
                raise


def _wheel_key(link: Link) -> str:
    """Name the bytes of a wheel: by its hash, else by its address and what the page says of its metadata."""
    if link.sha256 is not None:
        return f"sha256={link.sha256}"
    return f"{without_credentials(link.url)}#metadata={link.metadata_sha256}&uploaded={link.upload_time}"
