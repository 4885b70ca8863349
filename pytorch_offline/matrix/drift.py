"""The view of drift: what was uploaded again under one name, and what upstream no longer lists."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pytorch_offline.matrix.view import Section, View

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from packaging.utils import NormalizedName

    from pytorch_offline.crawler.drift import Content, Disappearance, Reupload

# As wide as a day, and enough to tell one file from another; programs get the whole hash.
_SHORT_HASH = 10
# Nightlies disappear by the thousand; programs get every one.
_MOST_ROWS = 60


def project_of(path: str) -> NormalizedName:
    """Name the project of a file by its path."""
    return canonicalize_name(_filename(path).partition("-")[0])


def wanted_drift(
    reuploads: Iterable[Reupload],
    disappearances: Iterable[Disappearance],
    *,
    project: NormalizedName | None,
    since: str | None,
) -> tuple[tuple[Reupload, ...], tuple[Disappearance, ...]]:
    """Keep what is of a project, and what was first noticed at a moment (ISO 8601 in UTC) or later."""
    moment = since or ""
    return (
        tuple(
            one
            for one in reuploads
            if project in {None, project_of(one.path)} and max(part.first_seen for part in one.contents) >= moment
        ),
        tuple(one for one in disappearances if project in {None, project_of(one.path)} and one.gone_by >= moment),
    )


def drift_view(
    reuploads: Sequence[Reupload],
    disappearances: Sequence[Disappearance],
    *,
    project: NormalizedName | None,
    since: str | None,
    anything_read: bool,
) -> View:
    """Make the view: a section for each release that was uploaded again, and one of what disappeared."""
    sections = [*_reuploaded(reuploads)]
    notes = []
    if reuploads:
        notes.append(
            f"Hashes: the first {_SHORT_HASH} digits of the sha256, below the day (UTC) on which it was first seen;"
            " (*) no page published it, a host gave it: so bytes look, too, that were damaged on the way. --json and"
            " --csv have all."
        )
    if disappearances:
        section, left_out = _disappeared(disappearances)
        sections.append(section)
        if left_out:
            notes.append(f"… and {left_out} more lines of what disappeared earlier (--json and --csv have all).")
    if not anything_read:
        notes.append("Nothing was read or fetched yet: `pytorch-offline crawl` reads what upstream lists.")
    elif not reuploads and not disappearances:
        of_that = "Nothing" if project is None and since is None else "Nothing of that"
        notes.append(f"{of_that} changed between the readings that the catalogue has; one reading shows no drift.")
    about = f"{project or 'All projects'}{'' if since is None else f', since {since[:10]}'}"
    return View(
        title=f"{about}: {_files(len(reuploads))} uploaded again, {_files(len(disappearances))} disappeared.",
        sections=tuple(sections),
        records=(
            *(_record("reupload", one.path, content) for one in reuploads for content in one.contents),
            *(
                _record("disappearance", one.path, content, gone=one)
                for one in disappearances
                for content in one.contents or (None,)
            ),
        ),
        notes=tuple(notes),
        facts={
            "project": project,
            "since": since,
            "reuploaded": len(reuploads),
            "disappeared": len(disappearances),
        },
    )


def _reuploaded(reuploads: Iterable[Reupload]) -> Iterable[Section]:
    releases: dict[tuple[str, tuple[str, ...]], list[Reupload]] = defaultdict(list)
    for one in reuploads:
        releases[_release(one.path), tuple(content.first_seen[:10] for content in one.contents)].append(one)
    for (release, days), files in releases.items():
        yield Section(
            heading=f"Uploaded again: {release}",
            header=(*days, "file"),
            rows=tuple((*map(_short, one.contents), _tags(one.path)) for one in files),
        )


def _disappeared(disappearances: Iterable[Disappearance]) -> tuple[Section, int]:
    releases: dict[tuple[str, str, str], int] = defaultdict(int)
    for one in disappearances:
        releases[one.gone_by[:10], one.last_seen[:10], _release(one.path)] += 1
    # The latest first, and what disappeared on one day by name.
    rows = sorted(releases, key=lambda row: row[2])
    rows.sort(key=lambda row: row[:2], reverse=True)
    section = Section(
        heading="Disappeared",
        header=("last listed", "gone by", "files", "release"),
        rows=tuple((last, gone, str(releases[gone, last, what]), what) for gone, last, what in rows[:_MOST_ROWS]),
    )
    return section, len(rows) - len(section.rows)


def _record(event: str, path: str, content: Content | None, *, gone: Disappearance | None = None) -> dict[str, object]:
    first = "" if content is None else content.first_seen
    return {
        "event": event,
        "path": path,
        "project": project_of(path),
        "sha256": None if content is None else content.sha256,
        "first_seen": gone.first_seen if content is None and gone is not None else first,
        "last_seen": content.last_seen if content is not None else gone.last_seen if gone is not None else None,
        "gone_by": None if gone is None else gone.gone_by,
        "sizes": [] if content is None else list(map(str, content.sizes)),
        "etags": [] if content is None else list(content.etags),
        "published_by": [] if content is None else list(content.published_by),
        "received_from": [] if content is None else list(content.received_from),
    }


def _short(content: Content) -> str:
    if content.sha256 is None:
        return "no hash"
    return content.sha256[:_SHORT_HASH] + ("" if content.published_by else "*")


def _release(path: str) -> str:
    """Name the release that a file belongs to, with its directory: ``torch 2.7.0+cpu, /whl/cpu``."""
    name, _, rest = _filename(path).partition("-")
    return f"{name} {rest.partition('-')[0]}, {path.rpartition('/')[0]}"


def _tags(path: str) -> str:
    return _filename(path).removesuffix(".whl").split("-", 2)[-1]


def _filename(path: str) -> str:
    return path.rpartition("/")[2]


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
