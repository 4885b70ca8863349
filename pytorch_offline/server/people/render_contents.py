"""What the mirror holds, and how it is, as HTML: freshness, drift, locks, projects."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytorch_offline.mirror.standing import complaints_of
from pytorch_offline.server.people.asked import fields_of, render_query
from pytorch_offline.server.people.commands import render_lock_command
from pytorch_offline.server.people.inventory import Inventory, Order, Project, list_projects
from pytorch_offline.server.people.markup import NOTHING, Markup, code, fill, joined, phrase
from pytorch_offline.server.people.render_picker import hidden_fields, render_copyable
from pytorch_offline.server.people.words import render_moment, render_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from pytorch_offline.mirror.standing import Standing
    from pytorch_offline.server.people.address import Address
    from pytorch_offline.server.people.asked import Asked
    from pytorch_offline.server.people.words import Words

# More warnings than that are for `pytorch-offline drift`.
_DRIFT_SHOWN = 8
_LOCKS_SHOWN = 50


def render_standing(
    standing: Standing | None, inventory: Inventory, words: Words, *, now: datetime, stale_after: timedelta
) -> Markup:
    """Render how fresh the mirror is, how full its disk, and what is to be known of it."""
    held = words.separator.join(
        [words.count(words.projects_count, len(inventory.projects)), words.count(words.files, inventory.files)]
    )
    facts = [fill("fact", name=words.held, value=render_size(inventory.size), note=held)]
    warnings = NOTHING
    if standing is not None:
        readings = [moment for moment in (standing.crawled_at, standing.pages_read) if moment is not None]
        moments = (
            (words.crawled, max(readings, default=None), words.never, ""),
            (words.verified, standing.oldest, words.never, words.oldest),
            (words.changed_at, standing.reached.published, words.not_known, ""),
            *_taken(standing, words),
        )
        facts = [_moment_fact(*moment, words, now=now) for moment in moments] + facts
        if standing.drive is not None and standing.drive.total:
            sizes = {"free": render_size(standing.drive.free), "total": render_size(standing.drive.total)}
            used = f"{standing.drive.used / standing.drive.total:.0%}"
            facts.append(fill("fact", name=words.disk, value=used, note=words.disk_free.format(**sizes)))
        complaints = [
            fill("complaint", text=words.complaints[one.code])
            for one in complaints_of(standing, stale_after=stale_after)
        ]
        warnings = joined([*complaints, _drift(standing, words)])
    return fill("standing", heading=words.standing, facts=joined(facts), warnings=warnings)


def render_locks(locks: Sequence[str], address: Address, words: Words) -> Markup:
    """Render the locks, each with the command that installs what it names."""
    if not locks:
        return NOTHING
    blocks = [
        render_copyable(f"lock-{number}", _lock_label(lock, words), render_lock_command(lock, address), words)
        for number, lock in enumerate(locks[:_LOCKS_SHOWN])
    ]
    return fill("locks", heading=words.locks, lead=words.locks_lead, blocks=joined(blocks))


def _lock_label(lock: str, words: Words) -> Markup:
    return fill("lock", name=lock, note=words.needs_new_pip if lock.endswith(".toml") else "")


def render_projects(asked: Asked, inventory: Inventory, words: Words) -> Markup:
    """Render one page of the list of projects, with what filters and sorts it."""
    shown = list_projects(inventory, containing=asked.containing, order=asked.order, number=asked.number)
    kept = {name: value for name, value in fields_of(asked).items() if name not in {"q", "page"}}
    sorts = [
        fill(
            "sort",
            href=render_query(replace(asked, order=order, number=1)) + "#projects",
            label=words.sorts[order.value],
            current="true" if order is asked.order else "false",
        )
        for order in Order
    ]
    pages = NOTHING
    if shown.pages > 1:
        pages = fill(
            "pages",
            position=words.page_of.format(number=shown.number, pages=shown.pages),
            previous=_page_link(asked, shown.number - 1, words.previous) if shown.number > 1 else NOTHING,
            next=_page_link(asked, shown.number + 1, words.next) if shown.number < shown.pages else NOTHING,
        )
    return fill(
        "projects",
        heading=words.projects,
        hidden=hidden_fields(kept),
        filter=words.filter,
        containing=asked.containing,
        find=words.find,
        sort=words.sort,
        sorts=joined(sorts),
        matching=words.count(words.matching, shown.matching) if shown.matching else words.none_matching,
        project=words.project,
        newest=words.newest,
        counts=words.held,
        size=words.size,
        uploaded=words.uploaded,
        verified=words.verified_on,
        rows=joined(_project(one, words) for one in shown.projects),
        pages=pages,
        empty="" if shown.projects else "hidden",
    )


def _project(project: Project, words: Words) -> Markup:
    return fill(
        "project",
        name=project.name,
        newest=str(project.newest),
        counts=words.separator.join(
            [words.count(words.versions, project.versions), words.count(words.files, project.files)]
        ),
        size=render_size(project.size),
        uploaded="" if project.uploaded is None else f"{project.uploaded:%Y-%m-%d}",
        verified=f"{project.verified:%Y-%m-%d}",
    )


def _page_link(asked: Asked, number: int, label: str) -> Markup:
    return fill("page_link", href=render_query(replace(asked, number=number)) + "#projects", label=label)


def _moment_fact(name: str, moment: datetime | None, absent: str, note: str, words: Words, *, now: datetime) -> Markup:
    if moment is None:
        return fill("fact", name=name, value=absent, note="")
    notes = words.separator.join(filter(None, (render_moment(moment), note)))
    return fill("fact", name=name, value=words.age(now - moment), note=notes)


def _taken(standing: Standing, words: Words) -> list[tuple[str, datetime | None, str, str]]:
    """Say which bundle was taken last, where any ever was: most mirrors take none."""
    imported = standing.reached.imported
    if imported is None:
        return []
    note = words.bundle.format(counter=imported.counter, day=f"{imported.created:%Y-%m-%d}")
    return [(words.taken, imported.ended, words.never, note)]


def _drift(standing: Standing, words: Words) -> Markup:
    if not standing.drift:
        return NOTHING
    items = [
        fill("drift_item", path=str(warning.path), what=words.drifted[warning.what], day=f"{warning.noticed:%Y-%m-%d}")
        for warning in standing.drift[:_DRIFT_SHOWN]
    ]
    left = len(standing.drift) - len(items)
    more = phrase(words.drift_more, n=left, command=code("pytorch-offline drift")) if left > 0 else NOTHING
    return fill("drift", heading=words.drift, lead=words.drift_lead, items=joined(items), more=more)
