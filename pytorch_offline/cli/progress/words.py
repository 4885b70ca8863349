"""Words for amounts, speeds and times, as all ways of telling use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.mirror.progress import Doing, Outcome, Stage
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from pytorch_offline.cli.progress.board import Ended, FileStanding, Planned, Standing

# What each stage does, has done, and how its files' end is called.
_WORDS = {
    Stage.STOCK: ("checking what is already there", "checked", "checked"),
    Stage.FETCH: ("fetching", "fetched", "fetched"),
    Stage.VERIFY: ("reading", "read", "read"),
    Stage.COMPARE: ("comparing with what is there", "compared", "compared"),
    Stage.PUBLISH: ("publishing", "published", "published"),
    Stage.PACK: ("packing", "packed", "packed"),
    Stage.IMPORT: ("copying from the bundle", "copied", "copied"),
}
# Why the other files need nothing.
_NOT_AGAIN = {Stage.VERIFY: "verified lately", Stage.PUBLISH: "already there", Stage.PACK: "already there"}


def count(files: int) -> str:
    """Say how many files."""
    return "1 file" if files == 1 else f"{files} files"


def duration(seconds: float) -> str:
    """Say how long, to about two digits."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004
        return f"{whole} s"
    if whole < 3600:  # noqa: PLR2004
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def speed(bytes_per_second: float) -> str:
    """Say how fast."""
    return f"{render_size(round(bytes_per_second))}/s"


def beginning(plan: Planned) -> str:
    """Say what a stage is about to do, and what needs nothing: one line."""
    text = f"{_WORDS[plan.stage][0]}: {count(plan.files)}, {_total(plan.size, plan.unknown_sizes)}"
    if plan.already_files:
        there = f"{plan.already_files} of {count(plan.files + plan.already_files)}"
        why = _NOT_AGAIN.get(plan.stage, "already in the mirror")
        text += f"; {there}, {render_size(plan.already_size)} {why}"
    return text


def state(standing: Standing) -> str:
    """Say where a stage stands, in parts that stand between commas."""
    total = _total(standing.size, standing.unknown_sizes)
    parts = [f"{render_size(standing.position)} of {total}", speed(standing.speed)]
    if standing.seconds_left is not None and standing.position < standing.size:
        parts.append(f"{duration(standing.seconds_left)} left")
    parts.append(f"{standing.ended} of {count(standing.files)} done")
    if standing.failed:
        parts.append(f"{standing.failed} failed")
    return ", ".join(parts)


def waits(standing: Standing) -> str:
    """Say which files are waited with, and why; empty if none is."""
    waiting = [one for one in standing.active if one.doing is Doing.WAITING]
    if not waiting:
        return ""
    reasons = sorted({activity(one, standing.now).partition(": ")[2] or "the next try" for one in waiting})
    return f"{count(len(waiting))} waiting: {'; '.join(reasons)}"


def activity(one: FileStanding, now: float) -> str:
    """Say what is being done about one file."""
    host = f" {one.host}" if one.host else ""
    if one.doing is Doing.RECEIVING:
        return f"from{host}" if host else "receiving"
    if one.doing is Doing.WAITING:
        left = "" if one.until is None else f" {max(0, round(one.until - now))} s"
        return f"waiting{left}: {one.reason}" if one.reason else f"waiting{left}"
    if one.doing is Doing.ASKING:
        return f"asking{host}"
    return {Doing.HASHING: "hashing", Doing.CHECKING: "checking", Doing.SENDING: "sending"}[one.doing]


def ending(event: Ended, stage: Stage) -> str:
    """Say what came of one file: one line."""
    name = event.file.rpartition("/")[2]
    if event.outcome is not Outcome.DONE:
        return f"{event.outcome.value}: {name}" + (f" after {render_size(event.position)}" if event.position else "")
    text = f"{_WORDS[stage][2]} {name}, {render_size(event.position)}"
    if event.received:
        text += f" in {duration(event.seconds)}"
        if event.seconds >= 1:
            text += f", {speed(event.received / event.seconds)}"
    return text if event.host is None else f"{text}, from {event.host}"


def closing(standing: Standing, *, complete: bool) -> str:
    """Say what a stage came to: one line."""
    text = f"{_WORDS[standing.stage][1]} {render_size(standing.received)} in {duration(standing.seconds)}"
    if standing.seconds >= 1 and standing.received:
        text += f", {speed(standing.received / standing.seconds)}"
    if complete:
        return text
    if standing.failed:  # what failed is no longer part of the sum
        kept = f"{render_size(standing.position)} kept" if standing.position else "nothing kept"
        return f"{text}; {standing.failed} of {count(standing.files)} failed, {kept}"
    return f"{text}; {render_size(standing.position)} of {_total(standing.size, standing.unknown_sizes)} are there"


def _total(size: int, unknown: int) -> str:
    if not unknown:
        return render_size(size)
    more = f"{count(unknown)} of unknown size"
    return f"at least {render_size(size)} ({more})" if size else more
