"""Put all questions and print the tally: ``python -m tests.oracles [FOREIGN_CASES [INTERPRETER_CASES]]``."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.simulator.server import Simulator
from tests.conftest import REPOSITORY
from tests.interpreters import find_interpreter
from tests.oracles.cases import FOREIGN_CASES, INTERPRETER_CASES, foreign_cases, interpreter_cases
from tests.oracles.differences import Shelf
from tests.oracles.questions import Desk, ask_pip, ask_uv, platform_tag
from tests.oracles.recorded import recorded_spec

if TYPE_CHECKING:
    from collections.abc import Iterator


def main(arguments: list[str]) -> None:
    """Print a line for each unexplained difference, then how many cases ended how."""
    counts = [int(argument) for argument in arguments]
    foreign, interpreters = counts + [FOREIGN_CASES, INTERPRETER_CASES][len(counts) :]
    shared = Path(os.environ.get("PYTORCH_OFFLINE_SHARED", REPOSITORY.parent / "shared"))
    with (
        tempfile.TemporaryDirectory() as scratch,
        Simulator(recorded_spec(shared)) as upstream,
        Catalogue.open(Path(scratch) / "catalogue.sqlite") as catalogue,
    ):
        desk = Desk(upstream=upstream, shelf=Shelf(upstream.spec), catalogue=catalogue)
        for peer, outcomes in (
            ("uv", _of_uv(desk, foreign, Path(scratch))),
            ("pip", _of_pip(desk, interpreters, Path(scratch))),
        ):
            tally: Counter[str] = Counter()
            for case, outcome in outcomes:
                if outcome is None:
                    print(f"{peer}: {case}")  # noqa: T201  (a script)
                tally[outcome or "UNEXPLAINED"] += 1
            print(f"\n{peer}: {tally.total()} cases")  # noqa: T201
            for outcome, count in tally.most_common():
                print(f"{count:6}  {outcome}")  # noqa: T201


def _of_uv(desk: Desk, count: int, scratch: Path) -> Iterator[tuple[str, str | None]]:
    place = scratch / "uv"
    place.mkdir()
    for case in foreign_cases(desk.files(), count):
        yield str(case), ask_uv(case, desk, place)


def _of_pip(desk: Desk, count: int, scratch: Path) -> Iterator[tuple[str, str | None]]:
    for number, case in enumerate(interpreter_cases(desk.files(), platform_tag(), count)):
        python = find_interpreter(case.minor)
        if python is not None:
            place = scratch / f"pip-{number}"
            place.mkdir()
            yield str(case), ask_pip(case, python, desk, place)


if __name__ == "__main__":
    main(sys.argv[1:])
