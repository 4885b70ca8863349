"""What a page says as rows of the catalogue, and how one reading of it differs from the one before.

An observation is what one page said about one file, from its first reading to its last. One that no longer
holds is ended and kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytorch_offline.crawler.model import HashChange, Link, Observation, Page, PageChange

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence


def compare(
    latest: Mapping[str, Observation], listed_projects: Collection[str], links: Mapping[str, Link], page: Page
) -> PageChange:
    """Say how a page differs from before, given the latest observation of each path that it ever listed."""
    return PageChange(
        new=tuple(path for path in links if path not in latest),
        returned=tuple(path for path in links if path in latest and latest[path].ended is not None),
        changed=tuple(
            HashChange(path=path, before=latest[path].link.sha256, after=link.sha256)
            for path, link in links.items()
            if path in latest and latest[path].link.sha256 != link.sha256
        ),
        vanished=tuple(path for path, said in latest.items() if said.ended is None and path not in links),
        new_projects=tuple(name for name in page.projects if name not in listed_projects),
        vanished_projects=tuple(name for name in listed_projects if name not in page.projects),
        listed_before=sum(said.ended is None for said in latest.values()) + len(listed_projects),
    )


def store_contents(connection: sqlite3.Connection, url: str, page: Page, moment: str) -> tuple[int, PageChange]:
    """Write down what a page says; return its number and how that differs from before."""
    connection.execute(
        "INSERT OR IGNORE INTO page (url, final_url, first_fetched, last_fetched) VALUES (?, ?, ?, ?)",
        (url, url, moment, moment),
    )
    number, last_fetched = connection.execute("SELECT id, last_fetched FROM page WHERE url = ?", (url,)).fetchone()
    # Later rows overwrite earlier ones: the latest observation of each path.
    latest = {
        row[1]: (row[-1], observation_of(row))
        for row in connection.execute("SELECT * FROM saying WHERE page_url = ? ORDER BY id", (url,))
    }
    projects = [
        name
        for (name,) in connection.execute(
            "SELECT name FROM project WHERE page = ? AND ended IS NULL ORDER BY position", (number,)
        )
    ]
    links = {link.path: link for link in page.links}
    holding = {path for path, (_, said) in latest.items() if said.ended is None and links.get(path) == said.link}
    connection.executemany(
        "UPDATE observation SET last_seen = ?, ended = ? WHERE id = ?",
        [
            (last_fetched, moment, row)
            for path, (row, said) in latest.items()
            if said.ended is None and path not in holding
        ],
    )
    connection.executemany(
        "INSERT INTO observation (page, first_seen, path, filename, url, sha256, metadata_sha256, has_metadata,"
        " requires_python, yanked, upload_time, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(number, moment, *_columns(link)) for path, link in links.items() if path not in holding],
    )
    connection.execute("UPDATE project SET ended = ? WHERE page = ? AND ended IS NULL", (moment, number))
    connection.executemany(
        "INSERT INTO project VALUES (?, ?, ?, ?, NULL)"
        " ON CONFLICT (page, name) DO UPDATE SET position = excluded.position, ended = NULL",
        [(number, name, position, moment) for position, name in enumerate(page.projects)],
    )
    connection.execute("DELETE FROM rejected WHERE page = ?", (number,))
    connection.executemany(
        "INSERT INTO rejected VALUES (?, ?, ?, ?)",
        [(number, storable(link.href), link.reason, storable(link.detail)) for link in page.rejected],
    )
    change = compare({path: said for path, (_, said) in latest.items()}, projects, links, page)
    return number, change


def _columns(link: Link) -> tuple[object, ...]:
    """Give a link's values in the order of the table's columns."""
    return (
        link.path,
        link.filename,
        link.url,
        link.sha256,
        link.metadata_sha256,
        link.has_metadata,
        link.requires_python,
        link.yanked,
        link.upload_time,
        link.size,
    )


def link_of(row: Sequence[Any]) -> Link:
    """Make a link of its columns, in the order of the table."""
    return Link(
        path=row[0],
        filename=row[1],
        url=row[2],
        sha256=row[3],
        metadata_sha256=row[4],
        has_metadata=bool(row[5]),
        requires_python=row[6],
        yanked=row[7],
        upload_time=row[8],
        size=row[9],
    )


def observation_of(row: Sequence[Any]) -> Observation:
    """Make an observation of a row of the view ``saying``."""
    return Observation(
        page_url=row[0],
        link=link_of(row[1:11]),
        first_seen=row[11],
        last_seen=row[12],
        ended=row[13],
    )


def storable(value: str) -> str:
    """Make text storable: SQLite takes no half surrogate pairs, which a hostile page may hold."""
    return value.encode("utf-8", "replace").decode()
