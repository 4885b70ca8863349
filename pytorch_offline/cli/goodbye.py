"""What is said when the process was told to end: that it ended, and the exact command that goes on."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.addresses import redacted_text
from pytorch_offline.cli import console
from pytorch_offline.cli.session import spoken_to
from pytorch_offline.cli.streams import shown
from pytorch_offline.errors import PytorchOfflineError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import click

    from pytorch_offline.cli.session import Session

PROGRAM = "pytorch-offline"
# Commands that find what an earlier run has done; the others begin anew.
_CONTINUING = frozenset({"crawl", "fetch", "publish", "verify"})


class Goodbye:
    """Says it once, whoever comes first: the thread that was interrupted, or the guard beside it.

    Args:
        arguments: the command line.
        document: prints an error as the one document of standard output, where that was asked for.
    """

    def __init__(self, arguments: Sequence[str], document: Callable[[PytorchOfflineError, Session], None]) -> None:
        self.context: click.Context | None = None
        self._arguments = arguments
        self._document = document
        self._said = threading.Lock()

    @property
    def said(self) -> bool:
        """Whether it was said."""
        return self._said.locked()

    def __call__(self, number: int = signal.SIGINT) -> None:
        """Say that signal ``number`` ended the process."""
        if not self._said.acquire(blocking=False):
            return
        session = spoken_to(self._arguments, self.context)
        error = interruption(self._arguments, number)
        console.draw(())
        if session.events:
            session.tell("error", code=error.code, message=error.message, facts=error.facts, hint=error.hint)
            session.tell("exit", code=128 + number)
        else:
            console.write_line(shown(f"{error.message}; {error.hint}"))
        self._document(error, session)


def interruption(arguments: Sequence[str], number: int) -> PytorchOfflineError:
    """Make the error of a process that was told to end."""
    command = command_line(arguments)
    name = signal.Signals(number).name
    after = " to continue where it stopped" if _CONTINUING.intersection(arguments[:1]) else ""
    return PytorchOfflineError(
        "interrupted",
        "interrupted" if number == signal.SIGINT else f"ended by {name}",
        facts={"signal": name, "command": command},
        hint=f"run the same command again{after}: {command}",
    )


def command_line(arguments: Sequence[str]) -> str:
    """Write the command as it can be typed again; passwords in addresses are left out."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        program = [sys.orig_argv[0], "-m", "pytorch_offline"]
    elif called.stem == PROGRAM and shutil.which(PROGRAM) != str(called):
        program = [str(called)]  # another one than the shell would find
    else:
        program = [PROGRAM]
    words = [*program, *arguments]
    return redacted_text(subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words))
