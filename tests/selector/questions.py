"""Ask why and why not, over an index in memory, as the command line does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.selector.explaining.loss_reasons import LossReasons
from pytorch_offline.selector.explaining.render import render_why, render_why_not
from pytorch_offline.selector.explaining.why import explain_choice
from pytorch_offline.selector.explaining.why_not import WhyNots
from pytorch_offline.selector.select import select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytorch_offline.selector.model import Request, Selection
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend
    from tests.selector.memory import MemoryIndex


def asker(
    index: MemoryIndex, request: Request, target: Target, backends: Sequence[Backend], selection: Selection | None
) -> LossReasons:
    def attempt(asked: Request, machine: Target) -> Selection:
        return select(asked, machine, index.offers_for(machine), backends)

    return LossReasons(
        request,
        target,
        offers=index.offers_for(target),
        backends=backends,
        selection=selection,
        attempt=attempt,
    )


def why(index: MemoryIndex, selection: Selection, project: str, backends: Sequence[Backend]) -> str:
    asked = asker(index, selection.request, selection.target, backends, selection)
    return _on_one_line(render_why(explain_choice(selection, project, asked)))


def why_not(index: MemoryIndex, selection: Selection, what: str, backends: Sequence[Backend]) -> str:
    asked = asker(index, selection.request, selection.target, backends, selection)
    return _on_one_line(render_why_not(WhyNots(asked).answer(what)))


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
