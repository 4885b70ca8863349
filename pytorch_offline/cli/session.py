"""What every command shares: its common options, its results on stdout, its messages on stderr."""

from __future__ import annotations

import functools
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytorch_offline.cli.streams import shown, shown_json, shows_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Where the context keeps how the user wants to be spoken to, for errors that arise before the command begins.
AS_JSON = "pytorch_offline.as_json"
VERBOSE = "pytorch_offline.verbose"
# The mirror's directory when neither --mirror nor PYTORCH_OFFLINE_MIRROR names one.
DEFAULT_MIRROR = Path("cache")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One run of one command: where the mirror is and how to speak.

    ``verbosity`` is 0 by default, negative with ``-q``, positive with ``-v``.
    """

    mirror: Path
    as_json: bool
    verbosity: int

    def result(self, document: Mapping[str, Any], text: str) -> None:
        """Print the command's result on stdout: the document with ``--json``, else the text."""
        if self.as_json:
            click.echo(render_json(document))
        elif text:
            click.echo(shown(text))

    def message(self, text: str, *, verbosity: int = 0) -> None:
        """Say something on stderr, unless the user asked for less than ``verbosity``."""
        if self.verbosity >= verbosity:
            click.echo(shown(text), err=True)

    def warn(self, text: str) -> None:
        """Warn on stderr, even with ``-q``."""
        click.echo(shown(f"warning: {text}"), err=True)

    @property
    def show_bars(self) -> bool:
        """Whether progress bars may be drawn: only on a terminal, and not with ``-q``."""
        return self.verbosity >= 0 and sys.stderr.isatty()


def render_json(document: Mapping[str, Any]) -> str:
    """Make the one JSON document of standard output, in ASCII where it takes nothing else."""
    return shown_json(json.dumps(document, indent=2, ensure_ascii=not shows_all(), default=str))


def _note(key: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> Any:  # noqa: ANN401
        del parameter
        context.meta[key] = value
        return value

    return callback


def common_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--mirror``, ``--json``, ``-q`` and ``-v``, and hand it a ``Session`` as first argument."""

    @click.option(
        "--mirror",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_MIRROR,
        show_default=True,
        help="The mirror's directory.",
    )
    @click.option(
        "--json",
        "as_json",
        is_flag=True,
        default=False,
        is_eager=True,
        callback=_note(AS_JSON),
        help="Print one JSON document on stdout.",
    )
    @click.option("-q", "--quiet", count=True, help="Say less.")
    @click.option(
        "-v",
        "--verbose",
        count=True,
        is_eager=True,
        callback=_note(VERBOSE),
        help="Say more; -vv adds tracebacks.",
    )
    @functools.wraps(function)
    def wrapper(
        *args: Any,  # noqa: ANN401
        mirror: Path,
        as_json: bool,
        quiet: int,
        verbose: int,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        session = Session(mirror=mirror, as_json=as_json, verbosity=verbose - quiet)
        function(session, *args, **kwargs)

    return wrapper
