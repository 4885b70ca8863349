"""The command line of ``install.py``, and what it runs under the destination's interpreter by the same text."""

import argparse
import contextlib
import io
import json
import os
import re
import signal
import sys
import time
from typing import Any, Callable, Dict, List, Mapping, NoReturn, Optional, Sequence

from pytorch_offline.errors import PytorchOfflineError, UsageError
from pytorch_offline.installer.conflicts import find_broken
from pytorch_offline.installer.destination import ANSWER_MARK, describe_base
from pytorch_offline.installer.model import Context, Request, project_name
from pytorch_offline.installer.outcome import Outcome
from pytorch_offline.installer.render import failure_document, render_failure
from pytorch_offline.installer.steps import carry_out
from pytorch_offline.installer.survey import describe_environment
from pytorch_offline.installer.torch_report import TORCH_PART
from pytorch_offline.installer.torch_trial import try_torch

# What runs under the destination's interpreter: ``EXE -I - NAME ARGUMENT…`` with this text on standard input.
DESTINATION_PARTS: Dict[str, Callable[[List[str]], Any]] = {
    "base": describe_base,
    "conflicts": find_broken,
    "survey": describe_environment,
}
# All but line feeds and tabs, which are ours; what turns the direction of writing; bytes that are no UTF-8.
_TERMINAL_OBEYS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
EPILOGUE = """\
into a new virtual environment:     python3 install.py --venv ENV
of another Python:                  python3 install.py --venv ENV --python python3.11
into a conda environment:           python3 install.py --prefix "$CONDA_PREFIX"
into the environment that is active: python3 install.py
only look whether all is whole:     python3 install.py --verify-only
exit codes: 0 done, 1 unexpected, 2 usage, 3 system, 4 bytes are not as they were, 5 nothing fits, 130 interrupted"""


class Stopped(KeyboardInterrupt):
    """A signal that asks for the end; what was begun is undone on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class PlainParser(argparse.ArgumentParser):
    """A parser whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        """Raise what cannot be meant.

        Raises:
            UsageError: ``bad-usage``.
        """
        raise UsageError("bad-usage", message, hint="--help shows what can be said")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = PlainParser(
        prog="install.py",
        description="Install this bundle with no network, and prove that it works.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("projects", nargs="*", metavar="PROJECT", help="only these and what they need; else everything")
    where = parser.add_argument_group("where to")
    where.add_argument("--venv", metavar="DIR", help="this virtual environment; created if it is missing")
    where.add_argument("--prefix", metavar="DIR", help="the environment in this directory, virtual or conda's")
    where.add_argument("--python", metavar="EXE", help="this interpreter's environment; with --venv: its base")
    what = parser.add_argument_group("what and how")
    what.add_argument("--from", metavar="DIR", action="append", dest="places", help="where the bundle or volumes lie")
    what.add_argument("--target", metavar="NAME", help="use the lock of this target; else the one that fits")
    what.add_argument("--installer", choices=("pip", "uv"), default="pip", help="what puts the files in place")
    what.add_argument("--compile", action="store_true", default=None, help="make byte code; with uv: else none is made")
    what.add_argument("--no-compile", action="store_false", dest="compile", help="make no byte code")
    what.add_argument("--only-needed", action="store_true", help="check only those files that this machine needs")
    what.add_argument("--evidence", metavar="FILE", help="leave the evidence here too, as JSON, HTML and text")
    trust = parser.add_argument_group("whom to trust")
    trust.add_argument(
        "--allowed-signers", metavar="FILE", help="take bundles signed by these (see ssh-keygen(1)) alone"
    )
    trust.add_argument("--pin", action="store_true", help="from now on trust the key that signed this bundle")
    trust.add_argument(
        "--allow-unsigned", action="store_true", help="take what is not signed, although keys are pinned"
    )
    trust.add_argument("--allow-older", action="store_true", help="take a bundle older than one installed here")
    look = parser.add_argument_group("look only")
    look.add_argument("--dry-run", action="store_true", help="check everything and show the plan; change nothing")
    look.add_argument(
        "--prove-only", action="store_true", help="prove what is in the environment, e.g. after a driver's update"
    )
    look.add_argument("--verify-only", action="store_true", help="check every file of the bundle; install nothing")
    look.add_argument("--export-manifest", metavar="FILE", help="write what lies here, for bundle --since elsewhere")
    look.add_argument("--repair", action="store_true", help="mend the bundle where it lies; install nothing")
    look.add_argument("--repair-into", metavar="DIR", help="mend it into this directory, as one more --from")
    add("--json", action="store_true", dest="as_json", help="print one JSON document on standard output")
    add("-q", "--quiet", action="count", default=0, help="say nothing but warnings and errors")
    add("-v", "--verbose", action="count", default=0, help="say more; -vv adds tracebacks")
    return parser


def request_of(options: argparse.Namespace, places: Sequence[str]) -> Request:
    """Make the request out of the options."""
    return Request(
        places=tuple(options.places or places),
        places_named=bool(options.places),
        python=options.python,
        venv=options.venv,
        prefix=options.prefix,
        projects=tuple(project_name(name) for name in options.projects),
        target=options.target,
        program=options.installer,
        compile=options.compile,
        only_needed=options.only_needed,
        allowed_signers=options.allowed_signers,
        pin=options.pin,
        allow_older=options.allow_older,
        allow_unsigned=options.allow_unsigned,
        dry_run=options.dry_run,
        verify_only=options.verify_only,
        prove_only=options.prove_only,
        evidence=options.evidence,
        repair=options.repair,
        repair_into=options.repair_into,
        export_manifest=options.export_manifest,
    )


def run_command_line(arguments: Sequence[str], text_path: Optional[str] = None) -> int:
    """Run ``install.py`` as a process's whole work and return its exit code.

    Args:
        arguments: of the command line.
        text_path: the file that holds this text; None where it came by standard input.
    """
    if text_path is None and arguments and arguments[0] == TORCH_PART:
        return try_torch(arguments[1:])
    if text_path is None and arguments and arguments[0] in DESTINATION_PARTS:
        return answer_part(arguments[0], list(arguments[1:]))
    speak_utf8()
    as_json = "--json" in arguments
    verbose = sum(argument.count("v") for argument in arguments if argument in ("-v", "-vv", "-vvv"))
    try:
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # under nohup it stays ignored
                signal.signal(number, _stop)
        options = make_parser().parse_args(list(arguments))
        context = context_of(options, text_path or __file__)
        here = os.path.dirname(os.path.abspath(text_path or __file__))
        outcome = carry_out(request_of(options, [here]), context)
        if options.as_json or options.dry_run or not options.quiet:  # a plan is what was asked for
            print_result(outcome, as_json=options.as_json)
    except PytorchOfflineError as error:
        tell_failure(error, as_json=as_json, verbose=verbose)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        sys.stderr.write("interrupted; what was there before is there still\n")
        return 128 + interrupt.number if isinstance(interrupt, Stopped) else 130
    except BrokenPipeError:  # the reader of our output went away; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:  # noqa: BLE001  (the last place where it can become a sentence)
        tell_failure(unforeseen(error), as_json=as_json, verbose=verbose)
        return 1
    return 0


def context_of(options: argparse.Namespace, text_path: str) -> Context:
    """Make the surroundings of a stand-alone run."""
    loudness = options.verbose - options.quiet

    def say(line: str) -> None:
        if loudness >= 0:
            sys.stderr.write(for_terminal(line) + "\n")
            sys.stderr.flush()

    def warn(line: str) -> None:
        sys.stderr.write(f"warning: {for_terminal(line)}\n")
        sys.stderr.flush()

    return Context(
        environment=dict(os.environ),
        program_text=lambda: read_own_text(text_path),
        now=time.time,
        say=say,
        warn=warn,
    )


def read_own_text(path: str) -> str:
    """Read the file that is running, once more, for another interpreter."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def answer_part(name: str, arguments: List[str]) -> int:
    """Run one part under the destination's interpreter and print its answer, marked."""
    answer = DESTINATION_PARTS[name](arguments)
    sys.stdout.flush()
    os.write(1, ("\n" + ANSWER_MARK + json.dumps(answer) + "\n").encode("ascii"))
    return 0


def speak_utf8() -> None:
    """Let the streams take any letter: a C locale under Python 3.6 knows ASCII alone."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
        if buffer is not None:
            plain = encoding in ("ascii", "ansi_x3.41968", "utf8", "us_ascii", "646")
            spelt = "utf-8" if plain else stream.encoding
            errors = "surrogateescape" if plain else "backslashreplace"
            stream.flush()
            setattr(sys, name, io.TextIOWrapper(stream.detach(), spelt, errors, line_buffering=True))


def for_terminal(text: str) -> str:
    r"""Write what a terminal would obey instead of showing it as ``\xXX`` or ``\uXXXX``: names may hold anything."""
    with contextlib.suppress(UnicodeEncodeError):  # half a character that stands for no byte
        # A path that a C locale under 3.6 took for bytes is what those bytes say.
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    return _TERMINAL_OBEYS.sub(lambda match: match.group(0).encode("unicode_escape").decode("ascii"), text)


def print_result(outcome: Outcome, *, as_json: bool) -> None:
    """Print a result on standard output."""
    document, text = outcome
    sys.stdout.write((render_document(document) if as_json else for_terminal(text)) + "\n")
    sys.stdout.flush()


def render_document(document: Mapping[str, Any]) -> str:
    """Make the one JSON document of standard output, in ASCII so that every terminal takes it."""
    return json.dumps(document, indent=2, default=str).replace("\x7f", "\\u007f")


def tell_failure(error: PytorchOfflineError, *, as_json: bool, verbose: int) -> None:
    """Tell an error on standard error, and as the document of standard output where one was asked for."""
    sys.stderr.write(for_terminal(render_failure(error)) + "\n")
    if as_json:
        sys.stdout.write(render_document(failure_document(error)) + "\n")
    if verbose > 1:
        import traceback  # noqa: PLC0415  (only with -vv)

        sys.stderr.write(traceback.format_exc())


def unforeseen(error: Exception) -> PytorchOfflineError:
    """Make ours of an error that nobody foresaw."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return PytorchOfflineError("system", f"the system refuses: {where}{error.strerror}")
    said = " ".join(str(error).split())[:300]
    return PytorchOfflineError(
        "unexpected",
        "something went wrong that is not foreseen ({}{})".format(type(error).__name__, ": " + said if said else ""),
        hint="run it again with -vv for the details, and please report them",
    )


def _stop(number: int, frame: object) -> None:
    del frame
    raise Stopped(number)
