"""The command line in the tests' own process, which is many times as quick as a process of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINUX = ("--python-version", "3.10", "--platform", "manylinux_2_28_x86_64", "--driver", "560.28.03")


@dataclass(frozen=True)
class Tool:
    """The command line in this process, in a directory of its own."""

    directory: Path
    captured: Callable[[], tuple[str, str]]

    def run(self, *arguments: str, expect: int = 0) -> tuple[str, str]:
        self.captured()
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        out, err = self.captured()
        assert (stop.value.code or 0) == expect, f"{out}\n{err}"
        return out, err

    def json(self, *arguments: str, expect: int = 0) -> Any:  # noqa: ANN401  (JSON)
        return json.loads(self.run(*arguments, "--json", expect=expect)[0])

    def select(self, text: str, *options: str, expect: int = 0, target: tuple[str, ...] = LINUX) -> Any:  # noqa: ANN401  (JSON)
        (self.directory / "r.txt").write_text(text)
        return self.json("select", "-r", "r.txt", *target, *options, expect=expect)
