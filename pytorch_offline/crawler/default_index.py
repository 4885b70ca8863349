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
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.errors import UsageError
from pytorch_offline.net import Http

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytorch_offline.crawler.pip_memory import PipMemory

# pip answers in about a second; a minute is for a cold disk.
_PIP_SECONDS = 60.0
_DEFAULT_IN_HELP = re.compile(r"--index-url\s+<url>.*?\(default:?\s+(\S+?)\)", re.DOTALL)
# Where pip looks for a setting of `pip install`, the strongest first.
_SECTIONS = (":env:", "install", "global")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipSettings:
    """What pip is told about networks; None and empty where nothing is set.

    ``index_url`` may hold a user and a password.
    """

    index_url: str | None = None
    ca_bundle: Path | None = None
    client_certificate: Path | None = None
    proxy: str | None = None
    trusted_hosts: tuple[str, ...] = ()


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
    return parse_pip_settings(_asked(memory, "config list", lambda: _run_pip(["config", "list"], os.environ)))


def configured_http(trusted_hosts: Sequence[str] = (), memory: PipMemory | None = None) -> Http:
    """Make an HTTP client that reaches the network as pip does: its CA bundle, client certificate, proxy.

    Where pip cannot be asked, the environment's settings alone hold. ``trusted_hosts`` are added to those of pip.
    """
    try:
        settings = pip_settings(memory)
    except UsageError:
        settings = PipSettings()
    return Http(
        proxy=settings.proxy,
        ca_bundle=settings.ca_bundle,
        client_certificate=settings.client_certificate,
        trusted_hosts=(*settings.trusted_hosts, *trusted_hosts),
    )


@functools.cache
def _built_in_index_url(memory: PipMemory | None) -> str:
    # The help text says what is in force, so nothing may be in force. It is wrapped at the width of the terminal.
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "COLUMNS": "1000"}
    return _asked(
        memory, "built-in index", lambda: parse_index_url_in_help(_run_pip(["install", "--help"], environment))
    )


def _asked(memory: PipMemory | None, question: str, ask: Callable[[], str]) -> str:
    return ask() if memory is None else memory.answer(question, ask, lambda: _run_pip(["config", "debug"], os.environ))


def parse_pip_settings(listing: str) -> PipSettings:
    """Read the output of ``pip config list``: lines of ``section.name='value'``."""
    settings: dict[str, str] = {}
    for line in listing.splitlines():
        key, mark, value = line.partition("=")
        section, _, name = key.strip().rpartition(".")
        if mark and section in _SECTIONS:
            settings[f"{section}.{name.replace('_', '-')}"] = _unquoted(value.strip())

    def strongest(name: str) -> str | None:
        values = (settings.get(f"{section}.{name}") for section in _SECTIONS)
        return next((value.strip() for value in values if value and value.strip()), None)

    cert, client_cert = strongest("cert"), strongest("client-cert")
    return PipSettings(
        index_url=strongest("index-url"),
        ca_bundle=None if cert is None else Path(cert),
        client_certificate=None if client_cert is None else Path(client_cert),
        proxy=strongest("proxy"),
        trusted_hosts=tuple((strongest("trusted-host") or "").split()),
    )


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


def _run_pip(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    # -P: a directory called `pip` in the working directory is not pip.
    command = [sys.executable, "-P", "-m", "pip", "--no-color", "--disable-pip-version-check", *arguments]
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
            facts={"command": " ".join(command), "reason": said[-1] if said else type(error).__name__},
            hint="name the index with --default-index, or leave it out with --no-default-index",
        ) from error
    return done.stdout
