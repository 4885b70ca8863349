"""One question put to a peer and to us, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.net import Http
from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.target.capture import this_machine
from tests.oracles.answers import answer_of, answered_by_pip, answered_by_uv, selected_by_us
from tests.oracles.differences import explain_difference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.simulator.server import Simulator
    from pytorch_offline.target.model import Target
    from tests.oracles.answers import Answer
    from tests.oracles.cases import ForeignCase, InterpreterCase
    from tests.oracles.differences import Shelf

SAME_FILES = "the same files"
SAME_REFUSAL = "both: there is none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What all questions share: the upstream, and our warm catalogue of it."""

    upstream: Simulator
    shelf: Shelf
    catalogue: Catalogue

    def files(self) -> Iterator[tuple[str, str]]:
        """The directory and name of every wheel below ``/whl``."""
        return ((one.directory, one.filename) for one in self.upstream.spec.offers() if one.directory != "simple")


def platform_tag() -> str:
    """The platform of the interpreters of this machine, without a version: ``linux_x86_64``."""
    return str(this_machine().tags[0].platform)


def ask_uv(case: ForeignCase, desk: Desk, scratch: Path) -> str | None:
    """Put one question to uv and to us; say what came of it, None for a difference that nothing explains."""
    asked = case.asked.split()
    index = f"{desk.upstream.url}/{case.backend}"
    theirs = answered_by_uv(case.platform.uv, case.python, asked, index=index, scratch=scratch)
    target = build_target(TargetFlags(platform=case.platform.ours, python_version=case.python))
    return _outcome(target, case.asked, case.backend, theirs, desk=desk, scratch=scratch)


def ask_pip(case: InterpreterCase, python: Path, desk: Desk, scratch: Path) -> str | None:
    """Put one question to an interpreter's pip and to us; say what came of it, as ``ask_uv`` does."""
    theirs = answered_by_pip(python, case.asked.split(), index=f"{desk.upstream.url}/{case.backend}", scratch=scratch)
    return _outcome(this_machine(python), case.asked, case.backend, theirs, desk=desk, scratch=scratch)


def _outcome(target: Target, asked: str, backend: str, theirs: Answer, *, desk: Desk, scratch: Path) -> str | None:
    with Http() as http:  # of its own: connections are kept by thread, and each selection has threads of its own
        selection = selected_by_us(
            target,
            asked.split(),
            backend,
            upstream=desk.upstream.url,
            http=http,
            catalogue=desk.catalogue,
            scratch=scratch,
        )
    ours = answer_of(selection)
    if ours == theirs:
        return SAME_REFUSAL if ours is None else SAME_FILES
    return explain_difference(ours, theirs, backend=backend, target=target, shelf=desk.shelf)
