"""The command group, its settings, and the one place where errors become sentences and exit codes."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from keyword import iskeyword
from textwrap import fill
from typing import NoReturn

import click

from pytorch_offline import __version__
from pytorch_offline.addresses import redacted_text
from pytorch_offline.cli import console
from pytorch_offline.cli.goodbye import PROGRAM, Goodbye
from pytorch_offline.cli.session import Session, render_json, spoken_to
from pytorch_offline.cli.settings import PREFIX, add_variables, defaults_of, read_settings
from pytorch_offline.cli.signals import Guard, Interrupted, end_in_order, let_go
from pytorch_offline.cli.streams import abandon, prepare_streams, shown
from pytorch_offline.errors import PytorchOfflineError, UsageError

# Each command's module is imported only when it is asked for: `--help` and shell completion stay quick.
COMMANDS = {
    "bundle": "Pack what must be carried: wheels, locks, their manifest and their own installer.",
    "crawl": "Read upstream's index pages into the catalogue.",
    "demo": "Go the whole way on this machine, against a small upstream on loopback.",
    "detect": "Describe a machine as a target.",
    "drift": "Show what upstream replaced or removed.",
    "fetch": "Select, download, verify and publish into the mirror.",
    "import": "Merge a bundle into a LAN mirror, while it is served.",
    "install": "Install from a mirror with no network, and prove it.",
    "matrix": "Show which builds there are, for which machine.",
    "prune": "Remove what is no longer wanted; never what a lock names.",
    "publish": "Copy the public tree to another directory or an S3-compatible bucket.",
    "select": "Choose the wheels for a target; download nothing.",
    "serve": "Serve the mirror to a LAN, under pytorch.org's own paths.",
    "verify": "Re-hash the mirror and name each bad file.",
}


def load_command(name: str) -> click.Command:
    """Import one command."""
    module = f"{name}_" if iskeyword(name) else name  # no module could be called `import`
    command: click.Command = importlib.import_module(f"pytorch_offline.cli.{module}").command
    add_variables(command, name)
    return command


class LazyGroup(click.Group):
    """A group whose commands live in ``pytorch_offline.cli.<name>``, each as the module's ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands, without importing them."""
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command = load_command(cmd_name)
        settings = ctx.obj
        if settings:
            loaders = {name: partial(load_command, name) for name in COMMANDS}
            ctx.default_map = {cmd_name: defaults_of(cmd_name, command, settings, loaders)}
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; of one that does not exist say which is near."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from difflib import get_close_matches  # noqa: PLC0415  (only for a command that does not exist)

            near = get_close_matches(name, COMMANDS, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else f" Commands are {', '.join(sorted(COMMANDS))}."
            ctx.fail(f"No such command {name!r}.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their one-line help, without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name=PROGRAM)
def cli() -> None:
    """Fetch exactly the right PyTorch wheels for another machine, prove them, and install them with no network.

    \b
    On the connected machine:   pytorch-offline fetch torch torchvision --target gpu-node.json
    To carry it across:         pytorch-offline bundle -o /media/usb/torch
    On the air-gapped machine:  python3 /media/usb/torch/install.py --venv env
    """  # noqa: D301  (\b is click's mark for a paragraph that is not wrapped)


def run_process(arguments: list[str]) -> NoReturn:
    """Run the command line as this process's whole work, which ends within a second of being told to."""
    goodbye = Goodbye(arguments, _print_error)
    try:
        end_in_order()
        Guard(goodbye)
        main(arguments, goodbye)
    except Interrupted as interrupted:  # before anything was done, or while the last words were said
        goodbye(interrupted.number)
        sys.exit(interrupted.exit_code)
    finally:
        let_go()
        console.let_go()
        gc.freeze()  # the process ends here: looking through all that it made for garbage would take an eighth of a run


def main(argv: list[str] | None = None, goodbye: Goodbye | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    prepare_streams()
    console.make_ready()
    # What a run reads it keeps, so looking for garbage after every 700 new objects finds none, and takes a tenth of it.
    gc.set_threshold(500_000)
    arguments = sys.argv[1:] if argv is None else list(argv)
    code = 0
    try:
        farewell = goodbye or Goodbye(arguments, _print_error)
        code = run(arguments, farewell)
        session = spoken_to(arguments, farewell.context)
        if session.events and not farewell.said:
            session.tell("exit", code=code)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output went away (`| head`); there is nobody to tell.
        abandon(1)
        code = 1
    except OSError as error:  # the disk that our output goes to is full
        abandon(1)
        if code == 0:  # else it was told already, by whoever wrote the output
            console.write_line(f"error: the output cannot be written: {error.strerror or error}")
            code = 1
    sys.exit(code)


def run(arguments: list[str], goodbye: Goodbye | None = None) -> int:
    """Run the command line; whatever goes wrong becomes a sentence and an exit code."""
    farewell = goodbye or Goodbye(arguments, _print_error)
    context: click.Context | None = None
    try:
        completion = os.environ.get(f"_{PREFIX}_COMPLETE")
        if completion:
            from click.shell_completion import shell_complete  # noqa: PLC0415  (shells alone need it)

            return shell_complete(cli, {}, PROGRAM, f"_{PREFIX}_COMPLETE", completion)
        context = cli.make_context(PROGRAM, list(arguments), auto_envvar_prefix=PREFIX, obj=read_settings())
        farewell.context = context
        with context:
            cli.invoke(context)
    except PytorchOfflineError as error:
        return report(error, spoken_to(arguments, context))
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        with suppress(OSError):  # standard error went away: the exit code is still this one's
            error.show()
        return report(_usage_error(error), spoken_to(arguments, context), told=True) and error.exit_code
    except (KeyboardInterrupt, click.Abort) as interrupt:
        interrupted = interrupt if isinstance(interrupt, Interrupted) else Interrupted(signal.SIGINT)
        farewell(interrupted.number)
        return interrupted.exit_code
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001  (the last place where it can become a sentence)
        return report(_unexpected(error), spoken_to(arguments, context), cause=error)
    return 0


def _usage_error(error: click.ClickException) -> UsageError:
    return UsageError("bad-usage", error.format_message())


def _unexpected(error: Exception) -> PytorchOfflineError:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return PytorchOfflineError("system", f"the system refuses: {where}{error.strerror}")
    said = redacted_text(" ".join(str(error).split()))[:300]
    return PytorchOfflineError(
        "unexpected",
        f"something went wrong that is not foreseen ({type(error).__name__}{': ' if said else ''}{said})",
        hint="run it again with -vv for the details, and please report them",
    )


def report(
    error: PytorchOfflineError, session: Session, *, told: bool = False, cause: BaseException | None = None
) -> int:
    """Tell an error: one sentence, its facts, a hint; as JSON on stdout where that was asked for.

    ``told`` says that the sentence already stands on stderr, ``cause`` whose traceback ``-vv`` shows.
    """
    _print_error(error, session)
    if session.events and not told:
        session.tell("error", code=error.code, message=error.message, facts=error.facts, hint=error.hint)
    elif not told:
        width = console.terminal_size()[0] if sys.stderr is not None and sys.stderr.isatty() else 0
        say = partial(_say, width=width)
        say(f"error: {error.message}")
        for name, value in error.facts.items():
            for one in _lines_of(value, error.message):
                say(f"  {name}: {one}")
        for heading, lines in error.sections.items():
            say(f"{heading}:")
            for line in lines:
                say(f"  - {line}")
        if error.hint:
            say(f"hint: {error.hint}")
    if session.verbosity > 1:
        import traceback  # noqa: PLC0415  (only with -vv)

        console.write_line(redacted_text("".join(traceback.format_exception(cause or error))))
    return error.exit_code


def _lines_of(value: object, message: str) -> list[object]:
    """Give what a fact holds, one by one; of another host's words only those that are not the sentence's again."""
    return [one for one in value if not str(one).endswith(f": {message}")] if isinstance(value, list) else [value]


def _print_error(error: PytorchOfflineError, session: Session) -> None:
    """Print an error as the document of standard output, where one was asked for."""
    if session.as_json:
        facts = {
            "family": error.family,
            "code": error.code,
            "message": error.message,
            "facts": error.facts,
            "hint": error.hint,
            **error.data,
        }
        click.echo(render_json({"error": facts}))


def _say(text: str, *, width: int) -> None:
    """Say a sentence on stderr: set as a paragraph on a terminal, on one line for whoever searches it."""
    text = shown(text)
    if width > 0:
        indent = " " * (len(text) - len(text.lstrip()) + 4)
        text = fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    console.write_line(text)
