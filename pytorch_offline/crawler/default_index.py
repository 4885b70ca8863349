"""What pip is configured with: its index, and how to reach it.

The default index is the one that the running tool's own pip would use; its address is asked of pip and never spelt
here. Only ``index-url`` counts: ``extra-index-url`` and ``find-links`` are not followed, because pip takes the best
version from any of them, which is how a stranger's package of the same name gets in (dependency confusion).
"""

from __future__ import annotations

import ast
import functools
import os
import re
import secrets
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.errors import UsageError
from pytorch_offline.net import Http, Timeouts
from pytorch_offline.retries import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytorch_offline.crawler.pip_memory import PipMemory

# pip answers in about a second; a minute is for a cold disk.
_PIP_SECONDS = 60.0
# Up to where pip's timeout lengthens ours: some proxies look through a whole file before they pass its first byte on.
_LONGEST_CONNECT, _LONGEST_READ = 60.0, 120.0
# Seconds or tries that nobody means, and sockets do not take.
_ABSURD = 1_000_000.0
_DEFAULT_IN_HELP = re.compile(r"--index-url\s+<url>.*?\(default:?\s+(\S+?)\)", re.DOTALL)
# Where pip looks for a setting of `pip install`, the strongest first.
_SECTIONS = (":env:", "install", "global")
# Runs pip for one question after the other: to start it takes longer than all that it is asked.
_QUESTIONER = """
import runpy, sys
mark = sys.argv[1]
for question in sys.argv[2:]:
    sys.argv = ["pip", "--no-color", "--disable-pip-version-check", *question.split()]
    try:
        runpy.run_module("pip", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
    print(mark, flush=True)
"""
_FILES = "config debug"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipSettings:
    """What pip is told about networks; None and empty where nothing is set.

    ``index_url`` and ``proxy`` may hold a user and a password. ``variables`` names the settings that came from the
    environment (``PIP_…``); the others stand in pip's files.
    """

    index_url: str | None = None
    ca_bundle: Path | None = None
    client_certificate: Path | None = None
    proxy: str | None = None
    environment_proxies: bool = True
    trusted_hosts: tuple[str, ...] = ()
    timeout: float | None = None
    retries: int | None = None
    variables: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What the user says of networks on the command line, in pip's words; None and empty leave it to pip's settings.

    An empty ``proxy`` means none at all.
    """

    proxy: str | None = None
    cert: Path | None = None
    client_cert: Path | None = None
    trusted_hosts: tuple[str, ...] = ()
    timeout: float | None = None
    retries: int | None = None


# Nothing is said on the command line.
SILENT = Reach()


def configured_index_url(memory: PipMemory | None = None) -> str:
    """Give the address of the index that the running tool's pip would use, its built-in one if none is set.

    What pip said before is taken from the memory, if there is one.

    Raises:
        UsageError: ``pip-unusable`` if pip cannot be asked.
    """
    url = pip_settings(memory).index_url or _built_in_index_url(memory)
    # pip takes the path of a directory as well.
    return Path(url).absolute().as_uri() if "://" not in url and Path(url).is_dir() else url


@functools.cache
def pip_settings(memory: PipMemory | None = None) -> PipSettings:
    """Ask pip for its settings, from its files and its environment variables as it reads them itself.

    Raises:
        UsageError: ``pip-unusable`` if pip cannot be asked.
    """
    if memory is None:
        return parse_pip_settings(_ask_pip("config list"))
    return parse_pip_settings(
        memory.answer("config list", lambda: _ask_pip("config list"), lambda: _ask_pip_all(_FILES, "config list"))
    )


def configured_http(trusted_hosts: Sequence[str] = (), memory: PipMemory | None = None, reach: Reach = SILENT) -> Http:
    """Make an HTTP client that reaches the network as the command line says, else as pip does.

    Where pip cannot be asked, the environment's settings alone hold. ``trusted_hosts`` are added to those of both.
    """
    try:
        pip = pip_settings(memory)
    except UsageError:
        pip = PipSettings()
    return Http(
        timeouts=_timeouts(pip.timeout, reach.timeout),
        retry=_retry(pip.retries, reach.retries),
        proxy=pip.proxy if reach.proxy is None else reach.proxy,
        environment_proxies=pip.environment_proxies,
        ca_bundle=pip.ca_bundle if reach.cert is None else reach.cert,
        client_certificate=pip.client_certificate if reach.client_cert is None else reach.client_cert,
        trusted_hosts=(*pip.trusted_hosts, *reach.trusted_hosts, *trusted_hosts),
        said_by={
            name: f"--{name}" if given is not None else _called(name, pip.variables)
            for name, given in (("proxy", reach.proxy), ("cert", reach.cert), ("client-cert", reach.client_cert))
        },
    )


def _timeouts(configured: float | None, said: float | None) -> Timeouts:
    """Take the command line's seconds as they are. Pip's only lengthen ours, and within reason.

    Whoever has set pip to hours has a slow line, and wants a dead host to be noticed all the same.
    """
    if said is not None:
        return Timeouts(connect=said, read=said)
    ours, asked = Timeouts(), configured or 0.0
    return Timeouts(
        connect=max(ours.connect, min(asked, _LONGEST_CONNECT)), read=max(ours.read, min(asked, _LONGEST_READ))
    )


def _retry(configured: int | None, said: int | None) -> RetryPolicy:
    """Take the command line's tries as they are; pip's are tried if they are more, within the usual time."""
    ours = RetryPolicy()
    if said is not None:
        return retrying(ours, said)
    return replace(ours, tries=max(ours.tries, (configured or 0) + 1))


def retrying(policy: RetryPolicy, retries: int) -> RetryPolicy:
    """Give a policy another number of tries, with as much waiting as they may take."""
    tries = retries + 1
    return replace(policy, tries=tries, connect_tries=tries, budget=max(policy.budget, retries * policy.longest_wait))


def _called(name: str, variables: frozenset[str]) -> str:
    if name in variables:
        return "PIP_" + name.replace("-", "_").upper()
    return f"pip's setting '{name}', see `pip config debug`"


@functools.cache
def _built_in_index_url(memory: PipMemory | None) -> str:
    # The help text says what is in force, so nothing may be in force. It is wrapped at the width of the terminal.
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "COLUMNS": "1000"}

    def ask() -> str:
        return parse_index_url_in_help(_ask_pip("install --help", environment))

    return ask() if memory is None else memory.answer("built-in index", ask, lambda: (_ask_pip(_FILES), ask()))


def parse_pip_settings(listing: str) -> PipSettings:
    """Read the output of ``pip config list``: lines of ``section.name='value'``."""
    settings: dict[str, str] = {}
    for line in listing.splitlines():
        key, mark, value = line.partition("=")
        section, _, name = key.strip().rpartition(".")
        if mark and section in _SECTIONS:
            settings[f"{section}.{name.replace('_', '-')}"] = _unquoted(value.strip())

    def strongest(*names: str) -> str | None:
        values = (settings.get(f"{section}.{name}") for section in _SECTIONS for name in names)
        return next((value.strip() for value in values if value and value.strip()), None)

    cert, client_cert = strongest("cert"), strongest("client-cert")
    return PipSettings(
        index_url=strongest("index-url"),
        ca_bundle=None if cert is None else Path(cert).expanduser(),
        client_certificate=None if client_cert is None else Path(client_cert).expanduser(),
        proxy=strongest("proxy"),
        environment_proxies=not _is_true(strongest("no-proxy-env")),
        trusted_hosts=tuple((strongest("trusted-host") or "").split()),
        timeout=_number(strongest("timeout", "default-timeout")),
        retries=None if (retries := _number(strongest("retries"))) is None else int(retries),
        variables=frozenset(
            name.removeprefix(":env:.")
            for name, value in settings.items()
            if name.startswith(":env:.") and value.strip()
        ),
    )


def _is_true(value: str | None) -> bool:
    return (value or "").lower() in {"y", "yes", "t", "true", "on", "1"}  # as pip reads them


def _number(value: str | None) -> float | None:
    """Read a number of seconds or of tries; pip itself stops at one that is none, so it is not for us to."""
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < _ABSURD else None


def parse_index_url_in_help(text: str) -> str:
    """Read pip's built-in index out of the help text of ``pip install``.

    Raises:
        UsageError: ``pip-unusable`` if the text does not say it.
    """
    match = _DEFAULT_IN_HELP.search(text)
    if match is None:
        raise UsageError(
            "pip-unusable",
            "pip's help does not say which index it uses",
            hint="name the index with --default-index, or leave it out with --no-default-index",
        )
    return match[1]


def _unquoted(value: str) -> str:
    """Read a value as ``pip config list`` prints it, which is Python's ``repr``."""
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return literal if isinstance(literal, str) else value


def _ask_pip(question: str, environment: Mapping[str, str] = os.environ) -> str:
    return _ask_pip_all(question, environment=environment)[0]


def _ask_pip_all(*questions: str, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Give pip's answers to questions, which are its own commands, asked in this order and in one process."""
    mark = secrets.token_hex()
    # -P: a directory called `pip` in the working directory is not pip.
    command = [sys.executable, "-P", "-c", _QUESTIONER, mark, *questions]
    try:
        done = subprocess.run(
            command,
            env={**environment, "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PIP_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise UsageError(
            "pip-unusable",
            "the running Python's pip cannot be asked for its index",
            facts={
                "command": f"{sys.executable} -m pip {questions[-1]}",
                "reason": said[-1] if said else type(error).__name__,
            },
            hint="name the index with --default-index, or leave it out with --no-default-index",
        ) from error
    return tuple(done.stdout.split(f"{mark}\n")[:-1])
