"""What every command shares: its common options, its results on stdout, its messages on stderr."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytorch_offline import __version__
from pytorch_offline.cli import console
from pytorch_offline.cli.events import EVENTS_VERSION, render_event
from pytorch_offline.cli.streams import shown, shown_json, shows_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Where the context keeps how the user wants to be spoken to, for errors that arise before the command begins.
AS_JSON = "pytorch_offline.as_json"
VERBOSE = "pytorch_offline.verbose"
QUIET = "pytorch_offline.quiet"
STYLE = "pytorch_offline.style"
# The mirror's directory when neither --mirror nor PYTORCH_OFFLINE_MIRROR names one.
DEFAULT_MIRROR = Path("cache")


class Style(StrEnum):
    """How progress is told, on standard error."""

    AUTO = "auto"  # as fits where standard error goes, see ``Session``
    BARS = "bars"  # drawn on a terminal
    LINES = "lines"  # a line now and then
    JSON = "json"  # one JSON object per line, see docs/events.md
    NONE = "none"


def is_typed(parameter: str) -> bool:
    """Whether an option stands on the command line, and not in a variable or the settings file."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is click.core.ParameterSource.COMMANDLINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One run of one command: where the mirror is and how to speak.

    ``verbosity`` is 0 by default, negative with ``-q``, positive with ``-v``. ``style`` is that of a command which has
    progress to tell, else None.
    """

    mirror: Path
    as_json: bool
    verbosity: int
    style: Style | None = None

    def result(self, document: Mapping[str, Any], text: str) -> None:
        """Print the command's result on stdout: the document with ``--json``, else the text."""
        if self.as_json:
            click.echo(render_json(document))
        elif text:
            click.echo(shown(text))

    def message(self, text: str, *, verbosity: int = 0) -> None:
        """Say something on stderr, unless the user asked for less than ``verbosity``."""
        if self.verbosity < verbosity:
            return
        if self.events:
            self.tell("message", text=text)
        else:
            console.write_line(shown(text))

    def warn(self, text: str) -> None:
        """Warn on stderr, even with ``-q``."""
        if self.events:
            self.tell("warning", text=text)
        else:
            console.write_line(shown(f"warning: {text}"))

    def tell(self, event: str, **facts: object) -> None:
        """Tell a program of an event, on stderr."""
        console.write_line(render_event(event, datetime.now(UTC), facts))

    @property
    def shown_style(self) -> Style:
        """How progress is told in the end.

        Unless a style was named: not at all with ``-q``; drawn on a terminal; in JSON where the result is, too; else
        in lines. A terminal that cannot be drawn on gets lines whatever was named.
        """
        if self.style in {None, Style.AUTO}:
            if self.verbosity < 0:
                return Style.NONE
            if not console.is_terminal():
                return Style.JSON if self.as_json and self.style is not None else Style.LINES
            return Style.BARS
        if self.style is Style.BARS and not console.is_terminal():
            return Style.LINES
        return self.style or Style.LINES

    @property
    def events(self) -> bool:
        """Whether every line of stderr is for a program."""
        return self.shown_style is Style.JSON


def render_json(document: Mapping[str, Any]) -> str:
    """Make the one JSON document of standard output, in ASCII where it takes nothing else."""
    return shown_json(json.dumps(document, indent=2, ensure_ascii=not shows_all(), default=str))


def spoken_to(arguments: Sequence[str], context: click.Context | None) -> Session:
    """Say how the user wants to be spoken to, even when the command's own options were never read."""
    wishes = context.meta if context is not None else {}
    verbose = sum(argument.count("v") for argument in arguments if argument in {"-v", "-vv", "-vvv"})
    return Session(
        mirror=DEFAULT_MIRROR,
        as_json=wishes.get(AS_JSON, "--json" in arguments),
        verbosity=wishes.get(VERBOSE, verbose) - wishes.get(QUIET, 0),
        style=wishes.get(STYLE),
    )


def _note(key: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> Any:  # noqa: ANN401
        del parameter
        context.meta[key] = value
        return value

    return callback


def wait_option(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--wait``: how long it waits for another run that changes the same mirror."""
    return click.option(
        "--wait",
        type=click.FloatRange(min=0),
        default=None,
        metavar="SECONDS",
        help="How long to wait for another run on the same mirror; 0 for not at all.  [default: until it ends]",
    )(function)


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
    @click.option("-q", "--quiet", count=True, is_eager=True, callback=_note(QUIET), help="Say less.")
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
        context = click.get_current_context()
        style = context.meta.get(STYLE)
        session = Session(mirror=mirror, as_json=as_json, verbosity=verbose - quiet, style=style)
        if session.events:
            program = f"pytorch-offline {__version__}"
            session.tell("start", version=EVENTS_VERSION, program=program, command=context.info_name)
        function(session, *args, **kwargs)

    return wrapper


def progress_option(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--progress``, whose value is the session's ``style``."""
    return click.option(
        "--progress",
        type=click.Choice([style.value for style in Style]),
        default=Style.AUTO.value,
        show_default=True,
        is_eager=True,
        expose_value=False,
        callback=_note_style,
        help="How stderr tells how far it is; auto: bars on a terminal, else JSON lines with --json, else text.",
    )(function)


def _note_style(context: click.Context, parameter: click.Parameter, value: str) -> None:
    del parameter
    context.meta[STYLE] = Style(value)
