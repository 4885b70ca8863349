"""What pip said of its settings, remembered for as long as nothing that pip reads has changed.

To ask pip takes a third of a second, more than all the rest of choosing from a warm catalogue. Pip tells which files it
reads (``pip config debug``); together with the environment's variables, the interpreter and pip itself they are all
that its settings depend on. An answer with an ``@`` or a ``?`` may hold a password or a token, and is never written
down.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FILE = re.compile(r"^  (?P<path>.+), exists: (?P<exists>True|False)$", re.MULTILINE)
# What says where pip's files are; pip's own variables all begin with PIP_.
_PLACES = ("HOME", "USERPROFILE", "APPDATA", "PROGRAMDATA", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class PipMemory:
    """Pip's answers in a file; one that cannot be read or written only costs the time to ask again."""

    path: Path

    def answer(self, question: str, ask: Callable[[], str], ask_first: Callable[[], tuple[str, ...]]) -> str:
        """Give the answer to a question, by asking only where it is not known.

        ``ask_first`` asks before, in the words of ``pip config debug``, which files pip reads, and gives both answers.
        """
        surroundings = _surroundings()
        known = self._read()
        if known.get("surroundings") != surroundings or known.get("files") != _states(known.get("files", {})):
            known = {}
        answers: dict[str, str] = known.get("answers", {})
        if question in answers:
            return answers[question]
        files = known.get("files")
        if files:  # as they were a moment ago: a change shows
            answer = ask()
        else:
            since = time.time_ns()
            listing, answer = ask_first()
            files = _states_unless_changed(parse_files(listing), since)
        if files and not {"@", "?"} & set(answer):
            self._write({"surroundings": surroundings, "files": files, "answers": {**answers, question: answer}})
        return answer

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        sound = isinstance(known, dict) and all(isinstance(known.get(name), dict) for name in ("files", "answers"))
        return known if sound else {}

    def _write(self, known: dict[str, Any]) -> None:
        new = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            new.write_text(json.dumps(known), encoding="utf-8")
            new.replace(self.path)
        except OSError:
            with suppress(OSError):  # a read-only disk says so even of what is not there
                new.unlink(missing_ok=True)


def parse_files(listing: str) -> dict[str, bool]:
    """Read the files out of what ``pip config debug`` prints, and whether each exists."""
    return {match["path"]: match["exists"] == "True" for match in _FILE.finditer(listing)}


def _states_unless_changed(files: Mapping[str, bool], since: int) -> dict[str, list[int] | None]:
    """Note how files are, unless one may have changed after pip was asked: its answer may be older then."""
    states = _states(files)
    for path, existed in files.items():
        if existed != (states[path] is not None) or (existed and _changed_at(path) >= since):
            return {}
    return states


def _changed_at(path: str) -> int:
    """Say when a file was last written or put in its place, in nanoseconds; now, if it is gone."""
    try:
        found = os.stat(path)  # noqa: PTH116  (as below)
    except OSError:
        return time.time_ns()
    return max(found.st_mtime_ns, found.st_ctime_ns)


def _states(files: Any) -> dict[str, list[int] | None]:  # noqa: ANN401  (what a file of JSON holds)
    return {str(path): _state(str(path)) for path in files}


def _state(path: str) -> list[int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  (a dozen files at every start)
    except OSError:
        return None
    return [found.st_mtime_ns, found.st_size, found.st_ino]


def _surroundings() -> str:
    """Sum up what pip's settings depend on beside its files; a hash, since variables may hold passwords."""
    pip = find_spec("pip")
    variables = sorted((name, value) for name, value in os.environ.items() if name.upper().startswith("PIP_"))
    said = [
        sys.executable,
        sys.prefix,
        None if pip is None or pip.origin is None else [pip.origin, _state(pip.origin)],
        variables,
        [os.environ.get(name) for name in _PLACES],
        str(Path.cwd()) if "PIP_CONFIG_FILE" in os.environ else "",  # which may be relative
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
