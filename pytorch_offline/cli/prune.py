"""``prune``: what leaves a mirror, by lock, version, age or size; never silently."""

from __future__ import annotations

import os
import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from pytorch_offline.cli.rates import size_option
from pytorch_offline.cli.session import Session, common_options, wait_option
from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.pruning import carry_out, plan_pruning
from pytorch_offline.mirror.retention import Policy
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.moments import spell_moment
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytorch_offline.mirror.pruning import Pruning

EPILOG = """\b
Examples:
  pytorch-offline prune --keep locks --dry-run
  pytorch-offline prune --keep 3
  pytorch-offline prune --keep 2 --older-than 90
  pytorch-offline prune --max-size 500G
"""
_LOCKS = "locks"
# An interrupted download is worth going on with next week, hardly next month.
_LEFTOVER_DAYS = 30
_DECLINED = 130  # as if it had been interrupted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What ``--keep`` said: what locks name, so many versions, or both."""

    locks: bool
    versions: int | None


def _read_kept(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> _Kept:
    del ctx, param
    for value in values:
        if value != _LOCKS and not (value.isascii() and value.isdigit() and int(value) > 0):
            raise click.BadParameter(f"{value!r} is neither {_LOCKS!r} nor a number of versions")
    numbers = {int(value) for value in values if value != _LOCKS}
    if len(numbers) > 1:
        raise click.BadParameter("two numbers of versions")
    return _Kept(locks=_LOCKS in values, versions=next(iter(numbers), None))


@click.command(epilog=EPILOG, short_help="Remove what is no longer wanted; never what a lock names.")
@click.option(
    "--keep",
    callback=_read_kept,
    multiple=True,
    metavar="locks|N",
    help="What stays: no more than what locks name, or the newest N versions of each project in each backend too.",
)
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Let only go what came, or was last asked for, so many days ago or earlier.",
)
@size_option("Let no more go than brings the wheels to 500G.")
@click.option(
    "--leftovers",
    type=click.FloatRange(min=0),
    default=_LEFTOVER_DAYS,
    show_default=True,
    metavar="DAYS",
    help="Remove interrupted downloads and rejected files that nobody touched for so long.",
)
@click.option("--dry-run", is_flag=True, default=False, help="Say what would go; change nothing.")
@click.option("-y", "--yes", is_flag=True, default=False, help="Do not ask, on a terminal either.")
@wait_option
@common_options
@click.pass_context
def command(
    context: click.Context,
    session: Session,
    *,
    keep: _Kept,
    older_than: float | None,
    max_size: int | None,
    leftovers: float,
    dry_run: bool,
    yes: bool,
    wait: float | None,
) -> None:
    """Remove wheels from the mirror, and say of each why it goes.

    A wheel goes only if every option that was given lets it go; what a file of locks/ names never goes, nor what a
    wheel needs that stays by another rule. Without --keep, --older-than and --max-size no wheel goes. Whoever reads the
    mirror meanwhile finds no page that leads to nothing. On a terminal it asks before anything is removed.
    """
    policy = Policy(
        locked=keep.locks,
        versions=keep.versions,
        unused_for=None if older_than is None else timedelta(days=older_than),
        max_size=max_size,
    )
    mirror = Mirror(session.mirror, work="prune", patience=wait)
    if not mirror.exists:
        raise UsageError(
            "no-manifest",
            f"{session.mirror} holds no manifest.json, so there is nothing to remove",
            hint="see --mirror",
        )
    now = partial(datetime.now, UTC)
    with nullcontext() if dry_run else mirror.lock(waiting=session.message):
        pruning = plan_pruning(mirror, policy, leftovers=timedelta(days=leftovers), now=now())
        anything = bool(pruning.paths or pruning.leftovers)
        if anything and not dry_run and not yes and _attended():
            for line in _lines(pruning, session):
                session.message(line)
            if not click.confirm(f"remove {_summary(pruning)}?", err=True):
                session.message("nothing was removed")
                context.exit(_DECLINED)
        if anything and not dry_run:
            carry_out(mirror, pruning, now=now)
    session.result(document_of(session, pruning, dry_run=dry_run), render(pruning, session, dry_run=dry_run))


def _attended() -> bool:
    """Whether somebody is there who can be asked."""
    try:
        return os.isatty(sys.stdin.fileno()) and os.isatty(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False


def render(pruning: Pruning, session: Session, *, dry_run: bool) -> str:
    """Say what went, or would go, and what stayed for which reasons."""
    stayed = Counter(verdict.why.value for verdict in pruning.retention.staying)
    kept = ", ".join(f"{count} {why}" for why, count in sorted(stayed.items()))
    left = f"{sum(stayed.values())} wheels, {render_size(pruning.retention.size_after)}"
    return "\n".join(
        [
            *_lines(pruning, session),
            f"{'would remove' if dry_run else 'removed'} {_summary(pruning)}",
            f"{'would stay' if dry_run else 'stayed'}: {left}" + (f" ({kept})" if kept else ""),
        ]
    )


def _lines(pruning: Pruning, session: Session) -> Iterator[str]:
    for verdict in pruning.retention.going:
        yield f"goes: {verdict.file.path} ({render_size(verdict.file.size)}): {verdict.reason}"
    for leftover in pruning.leftovers:
        yield f"left behind: {leftover.path} ({render_size(leftover.bytes_freed)}): since {leftover.since:%Y-%m-%d}"
    if session.verbosity > 0:
        for verdict in pruning.retention.staying:
            yield f"stays: {verdict.file.path}: {verdict.reason}"


def _summary(pruning: Pruning) -> str:
    counted = [
        f"{len(found)} {name}{'' if len(found) == 1 else 's'}"
        for found, name in ((pruning.paths, "wheel"), (pruning.leftovers, "leftover"))
        if found
    ]
    if not counted:
        return "nothing"
    return f"{' and '.join(counted)}, which frees {render_size(pruning.bytes_freed)}"


def document_of(session: Session, pruning: Pruning, *, dry_run: bool) -> dict[str, Any]:
    """Make the result for programs."""
    return {
        "mirror": str(session.mirror),
        "dry_run": dry_run,
        "removed": [
            {
                "path": str(verdict.file.path),
                "size": verdict.file.size,
                "sha256": verdict.file.sha256,
                "why": verdict.why.value,
                "reason": verdict.reason,
            }
            for verdict in pruning.retention.going
        ],
        "kept": [
            {"path": str(verdict.file.path), "why": verdict.why.value, "reason": verdict.reason}
            for verdict in pruning.retention.staying
        ],
        "leftovers": [
            {"path": str(one.path), "bytes_freed": one.bytes_freed, "since": spell_moment(one.since)}
            for one in pruning.leftovers
        ],
        "bytes_freed": pruning.bytes_freed,
        "bytes_before": pruning.retention.size_before,
        "bytes_after": pruning.retention.size_after,
    }
