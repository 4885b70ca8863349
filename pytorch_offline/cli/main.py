"""The command group, its settings, and the one place where errors become sentences and exit codes."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tomllib
import traceback
from pathlib import Path
from typing import Any, NoReturn

import click
import platformdirs

from pytorch_offline import __version__
from pytorch_offline.cli.session import Session
from pytorch_offline.errors import PytorchOfflineError, UsageError

# Each command's module is imported only when it is asked for: `--help` and shell completion stay quick.
COMMANDS = {
    "crawl": "Read upstream's index pages into the catalogue.",
    "demo": "Go the whole way on this machine, against a small upstream on loopback.",
    "detect": "Describe a machine as a target.",
    "fetch": "Select, download, verify and publish into the mirror.",
    "install": "Install from a mirror with no network, and prove it.",
    "select": "Choose the wheels for a target; download nothing.",
    "verify": "Re-hash the mirror and name each bad file.",
}
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class LazyGroup(click.Group):
    """A group whose commands live in ``pytorch_offline.cli.<name>``, each as the module's ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands, without importing them."""
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"pytorch_offline.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their one-line help, without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


def read_settings() -> dict[str, Any]:
    """Read the settings file: ``PYTORCH_OFFLINE_CONFIG``, else ``config.toml`` in the user's configuration directory.

    Top-level keys hold for every command, a table named as a command for that one; keys are option names with ``_``.

    Raises:
        UsageError: ``bad-settings-file`` if the file named cannot be read or is no TOML.
    """
    named = os.environ.get("PYTORCH_OFFLINE_CONFIG")
    path = Path(named) if named else platformdirs.user_config_path("pytorch-offline", appauthor=False) / "config.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named is None:
            return {}
        raise UsageError("bad-settings-file", f"settings file {path} does not exist") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError("bad-settings-file", f"settings file {path} cannot be read: {error}") from error
    shared = {key: value for key, value in data.items() if not isinstance(value, dict)}
    return {name: shared | data.get(name, {}) for name in COMMANDS}


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pytorch-offline")
def cli() -> None:
    """Fetch exactly the right PyTorch wheels for another machine, prove them, and install them with no network.

    \b
    On the connected machine:   pytorch-offline fetch torch torchvision --target gpu-node.json
    On the air-gapped machine:  pytorch-offline install --from cache --venv env
    """  # noqa: D301  (\b is click's mark for a paragraph that is not wrapped)


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    session = Session(mirror=Path("cache"), as_json=False, verbosity=0)
    arguments = sys.argv[1:] if argv is None else argv
    try:
        context = cli.make_context("pytorch-offline", list(arguments), auto_envvar_prefix="PYTORCH_OFFLINE")
        context.default_map = read_settings()
        with context:
            cli.invoke(context)
    except PytorchOfflineError as error:
        sys.exit(report(error, _spoken_to(arguments, session)))
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        if "--json" in arguments:
            document = {"family": "usage", "code": "bad-usage", "message": error.format_message()}
            click.echo(json.dumps({"error": document}))
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; run the same command again to continue where it stopped", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away (`| head`); there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0)


def _spoken_to(arguments: list[str], session: Session) -> Session:
    """Say how the user wants to be spoken to, even when the command's own options were never read."""
    verbose = sum(argument.count("v") for argument in arguments if argument in {"-v", "-vv", "-vvv"})
    return Session(mirror=session.mirror, as_json="--json" in arguments, verbosity=verbose)


def report(error: PytorchOfflineError, session: Session) -> int:
    """Tell an error: one sentence, its facts, a hint; as JSON on stdout where that was asked for."""
    if session.as_json:
        document = {
            "error": {
                "family": error.family,
                "code": error.code,
                "message": error.message,
                "facts": error.facts,
                "hint": error.hint,
            }
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))
    click.echo(f"error: {error.message}", err=True)
    for name, value in error.facts.items():
        click.echo(f"  {name}: {value}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    if session.verbosity > 1:
        click.echo("".join(traceback.format_exception(error)), err=True)
    return error.exit_code
