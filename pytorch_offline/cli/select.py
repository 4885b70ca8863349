"""``pytorch-offline select``: choose and resolve, download nothing."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytorch_offline.cli.choosing import Choosing, choosing_options
from pytorch_offline.cli.help_sections import SectionedCommand
from pytorch_offline.cli.progress import shown_wait
from pytorch_offline.cli.selection import Questions, chosen, document
from pytorch_offline.cli.session import Session, common_options
from pytorch_offline.errors import UsageError
from pytorch_offline.selector.explaining.render import document_of_why, document_of_why_not, render_why, render_why_not
from pytorch_offline.selector.fleet.fleet import render_selections

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytorch_offline.cli.selection import Chosen
    from pytorch_offline.selector.model import Selection

EPILOG = """\b
Examples:
  pytorch-offline select torch==2.4.0 --preset ubuntu22.04 --driver 470.82.01 --cuda 12.2
  pytorch-offline select torch torchvision --target gpu-node.json -o pylock.gpu-node.toml
  pytorch-offline select torch --target gpu-node.json --why-not cu126
  pytorch-offline select torch --target a.json --target b.json --common
"""


@click.command("select", cls=SectionedCommand, epilog=EPILOG)
@common_options
@choosing_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="LOCK",
    help="Write a lock: pylock.NAME.toml, or requirements if it ends in .txt; a directory for several.",
)
@click.option(
    "--refresh",
    is_flag=True,
    default=False,
    help="Ask for pages again that are still fresh by what their server said (ten minutes at most).",
)
@click.option(
    "--why", multiple=True, metavar="PROJECT", help="Say why this project is in the closure, and why this wheel of it."
)
@click.option(
    "--why-not",
    multiple=True,
    metavar="FILE|VERSION|BACKEND|PROJECT",
    help="Say why this was not chosen, e.g. torch==2.5.0, 2.4.0+cu124, cu126, a file's name.",
)
def command(
    session: Session,
    choosing: Choosing,
    output: Path | None,
    *,
    refresh: bool,
    why: tuple[str, ...],
    why_not: tuple[str, ...],
) -> None:
    """Choose the wheels for a target and show them as a tree; download nothing.

    REQ is a requirement such as torch==2.4.0 or "torchvision>=0.19,<0.20". The target is a file, flags, a preset, or
    this machine.
    """
    questions = Questions(why=why, why_not=why_not)
    with ExitStack() as stack:
        with shown_wait(session, "choosing"):
            choice = stack.enter_context(chosen(session, choosing, questions, trusting=not refresh))
        selections = choice.selections
        sizes = choice.sizes(selections)
        if output is not None:
            _write_locks(session, selections, output)
        parts = []
        if not why and not why_not:
            parts.append(render_selections(selections, sizes, choice.sharing.summary if choice.sharing else ()))
        for selection, answers in zip(selections, choice.answers, strict=True):
            told = [*map(render_why, answers.why), *map(render_why_not, answers.why_not)]
            parts += [f"target {selection.target.name}:", *told] if told and len(selections) > 1 else told
        session.result(_document(choice, sizes), "\n".join(parts))


def _document(choice: Chosen, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Make the ``--json`` document, with the answers to what was asked beside each target's files."""
    result = document(choice.selections, sizes=sizes, sharing=choice.sharing)
    for one, answers in zip(result.get("targets", [result]), choice.answers, strict=True):
        one["why"] = [document_of_why(why) for why in answers.why]
        one["why_not"] = [document_of_why_not(answer) for answer in answers.why_not]
    return result


def _write_locks(session: Session, selections: Sequence[Selection], output: Path) -> None:
    # Only -o writes locks, and these take a tenth of a warm `select`.
    from packaging.pylock import is_valid_pylock_path  # noqa: PLC0415

    from pytorch_offline.disk_errors import disk_errors  # noqa: PLC0415
    from pytorch_offline.mirror.disk import Disk, write_atomically  # noqa: PLC0415
    from pytorch_offline.selector.lock import locked_at_origin, render_pylock, render_requirements  # noqa: PLC0415

    into_directory = len(selections) > 1 or output.is_dir()
    if into_directory and output.suffix:
        raise UsageError("bad-output", f"{output} must name a directory: one lock is written for each target")
    for selection in selections:
        path = output / f"pylock.{selection.target.name}.toml" if into_directory else output
        if path.suffix != ".txt" and not is_valid_pylock_path(path):
            raise UsageError(
                "bad-output",
                f"installers take no lock that is called {path.name}",
                hint="PEP 751 wants pylock.toml or pylock.NAME.toml, without dots in NAME; or .txt for requirements",
            )
        wheels = locked_at_origin(selection)
        render = render_requirements if path.suffix == ".txt" else render_pylock
        text = render(wheels, selection.target)
        with disk_errors(path.parent):
            write_atomically(Disk(), path, text.encode(), temporary=path.with_name(f".{path.name}.new"))
        session.message(f"wrote {path}")
