"""The catalogue's SQLite file: its tables, how it is opened, and SQLite's errors as ours."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from pytorch_offline.disk_errors import ask_disk, disk_error
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UpstreamError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

APPLICATION_ID = 0x50744F66  # "PtOf": marks the file as ours (PRAGMA application_id)
# How long one process waits for another's write; a page is stored in milliseconds, a killed writer blocks nobody.
BUSY_SECONDS = 30.0
_BUSY_PAUSE = 0.01
# Enough for so many rows, of a third of a kilobyte each in the log, and for the largest page that upstream has.
ROWS_IN_ROOM = 4000
_ROOM_FOR_MAPS = 4 * 1024 * 1024
_OF_THE_DISK = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_IOERR,
    }
)

# Each version of the schema as what it adds to the one before; a file is brought from its own to the newest when it is
# opened. What stands here is in people's files and never changes: a change is another step.
_SCHEMA_1 = """
CREATE TABLE page (
    id INTEGER PRIMARY KEY,
    url TEXT NOT NULL UNIQUE,       -- as asked for, without credentials
    final_url TEXT NOT NULL,        -- after redirects: what its links are relative to
    kind TEXT,                      -- NULL while absent
    etag TEXT,
    last_modified TEXT,
    body_sha256 TEXT,
    parser INTEGER,                 -- the version of the parser that read it
    first_fetched TEXT NOT NULL,    -- all times: ISO 8601 in UTC
    last_fetched TEXT NOT NULL      -- the last time that upstream said or confirmed it
) STRICT;
CREATE TABLE observation (
    id INTEGER PRIMARY KEY,
    page INTEGER NOT NULL REFERENCES page (id),
    path TEXT NOT NULL,
    filename TEXT NOT NULL,
    url TEXT NOT NULL,
    sha256 TEXT,
    metadata_sha256 TEXT,
    has_metadata INTEGER NOT NULL,
    requires_python TEXT,
    yanked TEXT,
    upload_time TEXT,
    size INTEGER,
    first_seen TEXT NOT NULL,
    last_seen TEXT,                 -- NULL while the page still says so: then it is the page's last_fetched
    ended TEXT                      -- when the page was found to say something else, or nothing
) STRICT;
CREATE INDEX observation_of_page ON observation (page, ended);
CREATE INDEX observation_of_path ON observation (path);
CREATE VIEW saying AS
    SELECT page.url AS page_url, path, filename, observation.url, sha256, metadata_sha256, has_metadata,
           requires_python, yanked, upload_time, size, first_seen,
           coalesce(last_seen, page.last_fetched) AS last_seen, ended, observation.id AS id
    FROM observation JOIN page ON page.id = observation.page;
CREATE TABLE project (
    page INTEGER NOT NULL REFERENCES page (id),
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    first_seen TEXT NOT NULL,
    ended TEXT,
    PRIMARY KEY (page, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE rejected (
    page INTEGER NOT NULL REFERENCES page (id),
    href TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX rejected_of_page ON rejected (page);
CREATE TABLE metadata (
    key TEXT PRIMARY KEY,
    body BLOB NOT NULL,             -- deflated
    sha256 TEXT NOT NULL,           -- of the body before deflating
    source TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""
_SCHEMA_2 = """
CREATE TABLE inspection (
    key TEXT PRIMARY KEY,           -- names the bytes of a wheel, as in metadata
    reader INTEGER NOT NULL,        -- the version of the reader that read it
    architectures TEXT,             -- names with blanks between them; empty for a build without any, NULL if not told
    glibc TEXT,                     -- 2.17
    unread TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE wheel_size (
    key TEXT PRIMARY KEY,
    size INTEGER NOT NULL           -- in bytes, as the server says; pages that state it keep it in observation
) STRICT, WITHOUT ROWID;
"""
_SCHEMA_3 = """
CREATE TABLE received (
    path TEXT NOT NULL,             -- as in observation
    url TEXT NOT NULL,              -- where the bytes came from, without credentials
    sha256 TEXT NOT NULL,           -- of all bytes, as computed
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,             -- as the host said it; empty if it said none
    last_modified TEXT NOT NULL,    -- likewise
    first_seen TEXT NOT NULL,
    last_seen TEXT NOT NULL,
    PRIMARY KEY (path, url, sha256, etag)
) STRICT, WITHOUT ROWID;
"""
# Until when what was said may be used again without asking, by what the server said; NULL if not at all.
_SCHEMA_4 = """
ALTER TABLE page ADD COLUMN fresh_until TEXT;
ALTER TABLE wheel_size ADD COLUMN fresh_until TEXT;
"""
_STEPS = (_SCHEMA_1, _SCHEMA_2, _SCHEMA_3, _SCHEMA_4)
SCHEMA_VERSION = len(_STEPS)


def check_place(path: Path) -> None:
    """Check that a database can be created at ``path``, without creating anything.

    Raises:
        UsageError: ``catalogue-unusable`` if a file is in the way or the directory may not be written.
    """
    place = next(parent for parent in path.absolute().parents if os.path.exists(parent))  # noqa: PTH110  (as below)
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise UsageError("catalogue-unusable", f"{path} cannot be created: {place} is no directory that may be written")


def open_database(path: Path) -> sqlite3.Connection:
    """Open the database at ``path``, creating it where there is none; the caller closes it.

    One that may not be written, on read-only media or in another user's mirror, is opened to be read.

    Raises:
        IntegrityError: ``catalogue-damaged`` if the file is no database, or a damaged one.
        UpstreamError: ``disk-full``, ``disk-failed``.
        UsageError: ``catalogue-too-new`` if a newer version of this tool wrote it, ``not-a-catalogue`` if the file is
            another program's database, ``catalogue-unusable`` if it cannot be opened or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.exists(path):  # noqa: PTH110  (what may not be looked at is not there)
            path.touch()  # with the permissions that the umask gives: SQLite would give a group none to write
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UsageError("catalogue-unusable", f"{path} cannot be created: {error.strerror}") from error
    except OSError as error:
        raise disk_error(error, path.parent) from error
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return open_to_read(path)
    insist_on_room(path)
    with translated(path):
        connection = _connect(str(path))
    try:
        with translated(path):
            _keep_a_log(connection)
            connection.execute("PRAGMA synchronous = NORMAL")  # in WAL mode: never damaged by a power cut
            connection.execute("PRAGMA foreign_keys = ON")
            _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def insist_on_room(path: Path) -> None:
    """Refuse a nearly full disk where SQLite would be killed by it.

    SQLite shares memory with other processes through a mapped file. Where a file system takes new room for every write
    to a mapped page (btrfs), a full disk or a quota ends the process in the middle of a write to memory (SIGBUS), which
    nobody can turn into a sentence. The database is whole even then.
    """
    if not sys.platform.startswith("linux") or os.statvfs(path.parent).f_files:  # btrfs counts no inodes
        return
    trouble = ask_disk(path.parent, size=_ROOM_FOR_MAPS, durable=False)
    if trouble is not None:
        raise disk_error(trouble, path.parent)


def _connect(place: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        place, uri=place.startswith("file:"), timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    # What a large sort sets aside stays in memory: SQLite would put it in the system's temporary directory.
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a database that may not be written; one of an older version is copied to memory and brought up to date."""
    with translated(path), ExitStack() as stack:
        connection = stack.enter_context(closing(_connect(_to_be_read(path))))
        version, application = _read_marks(connection)
        _check(path, version=version, ours=application == APPLICATION_ID)
        if version < SCHEMA_VERSION:
            copy = _connect(":memory:")
            connection.backup(copy)
            connection.close()
            connection = stack.enter_context(closing(copy))
            _prepare(connection, path)
        connection.execute("PRAGMA query_only = ON")
        stack.pop_all()
    return connection


def _to_be_read(path: Path) -> str:
    """Make the address of a database that is only read.

    SQLite reads a write-ahead log where one was left, or is in use, and needs a file beside it for that. Where there is
    none it would still want to make that file, unless it is told that nobody changes the database meanwhile.
    """
    log = path.with_name(f"{path.name}-wal")
    steady = "" if log.exists() and log.stat().st_size else "&immutable=1"
    return f"{path.absolute().as_uri()}?mode=ro{steady}"


def _keep_a_log(connection: sqlite3.Connection) -> None:
    """Turn write-ahead logging on, waiting where others do the same.

    The change takes the whole file for a moment. SQLite answers that it is busy at once where two processes want it
    together, since their waiting for each other would not end; so the waiting is done here.
    """
    patience = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                raise
            time.sleep(_BUSY_PAUSE)
        else:
            return


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check whose database this is and of which version; lay out the tables that it does not have yet."""
    if _read_marks(connection) == (SCHEMA_VERSION, APPLICATION_ID):
        return  # without a turn at writing: whoever comes to read would wait for those who write one after another
    connection.execute("BEGIN IMMEDIATE")
    try:
        version, application = _read_marks(connection)
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        _check(path, version=version, ours=not tables or application == APPLICATION_ID)
        for step in _STEPS[version if tables else 0 :]:
            for statement in step.split(";\n"):
                connection.execute(statement)
        if version != SCHEMA_VERSION:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _read_marks(connection: sqlite3.Connection) -> tuple[int, int]:
    """Read of which version a database is, and of which application."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    return version, application


def _check(path: Path, *, version: int, ours: bool) -> None:
    if not ours:
        raise UsageError("not-a-catalogue", f"{path} is a database of another program")
    if version > SCHEMA_VERSION:
        raise UsageError(
            "catalogue-too-new",
            f"{path} was written by a newer version of pytorch-offline",
            facts={"its format": version, "understood up to": SCHEMA_VERSION},
            hint="update pytorch-offline, or name another mirror directory",
        )


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translation(error, path) from error


def _translation(error: sqlite3.Error, path: Path) -> PytorchOfflineError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # the primary result code
    facts = {"file": path, "reason": error}
    if code == sqlite3.SQLITE_BUSY:
        return UsageError(
            "catalogue-busy",
            f"{path} is being written by another process",
            facts=facts,
            hint="wait for the other pytorch-offline to finish",
        )
    if code in _OF_THE_DISK:
        return _disk_trouble(error, code, path)
    return IntegrityError(
        "catalogue-damaged",
        f"{path} is damaged: {error}",
        facts=facts,
        hint="move it away; `crawl` writes a new one from upstream's pages",
    )


def _disk_trouble(error: sqlite3.Error, code: int, path: Path) -> PytorchOfflineError:
    """Say what is wrong with the disk: SQLite has one word for many things, and the disk is asked for its own."""
    facts = {"file": path, "reason": error}
    trouble = ask_disk(path.parent)
    if trouble is not None:
        if trouble.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
            return _unusable(path, str(error), facts)
        told = disk_error(trouble, path.parent)
        told.facts |= {"file": path, "for": error}
        return told
    if code == sqlite3.SQLITE_FULL:  # there was no room a moment ago
        return UpstreamError("disk-full", f"no space left to write {path}", facts=facts)
    if code == sqlite3.SQLITE_IOERR:
        return UpstreamError("disk-failed", f"the disk that holds {path} failed: {error}", facts=facts)
    return _unusable(path, str(error), facts)


def _unusable(path: Path, reason: str, facts: Mapping[str, object] | None = None) -> UsageError:
    return UsageError(
        "catalogue-unusable",
        f"{path} cannot be opened and written: {reason}",
        facts=facts,
        hint="where a mirror can only be read, --offline chooses by what its catalogue knows; or name a directory of "
        "your own with --mirror",
    )
