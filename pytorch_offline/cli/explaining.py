"""What is told beyond the choice itself: why, why not, and what would work where nothing does.

Imported only when it is asked for, or when nothing fits: these modules take a tenth of a warm ``select``.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from pytorch_offline.errors import UnsatisfiableError, UpstreamError
from pytorch_offline.selector.explaining.nearest import nearest_changes
from pytorch_offline.selector.explaining.render import explained
from pytorch_offline.selector.explaining.why import explain_choice
from pytorch_offline.selector.explaining.why_not import WhyNots
from pytorch_offline.selector.nothing_fits import NothingFitsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytorch_offline.selector.explaining.loss_reasons import LossReasons
    from pytorch_offline.selector.explaining.why import Why
    from pytorch_offline.selector.explaining.why_not import WhyNot
    from pytorch_offline.selector.model import Rejection, Request, Selection
    from pytorch_offline.target.model import Target


def explained_refusal(
    error: UnsatisfiableError,
    request: Request,
    target: Target,
    *,
    reasons: LossReasons,
    attempt: Callable[[Request, Target], Selection],
    why_not: Sequence[str],
) -> UnsatisfiableError:
    """Add to an error what came closest, the nearest changes that work, and the answers to what was asked."""
    asked = WhyNots(reasons)
    lacking = error.project if isinstance(error, NothingFitsError) and error.code == "no-wheel" else None
    lost: tuple[Rejection, ...] = ()
    unlisted = None
    apart: dict[str, str] = {}
    with suppress(UpstreamError):  # what more could be said is no reason to say less
        if lacking is not None:
            lost = reasons.lost_by_backend(lacking)
            unlisted = asked.unlisted(lacking)
        elif error.code == "conflict":
            apart = reasons.apart()
    return explained(
        error,
        nearest_changes(request, target, error, attempt=attempt, seconds=time.monotonic),
        target=target,
        lost_by_backend=lost,
        unlisted=unlisted,
        apart=apart,
        answers=[asked.answer(text) for text in why_not],
    )


def answered(
    selection: Selection, reasons: LossReasons, *, why: Sequence[str], why_not: Sequence[str]
) -> tuple[tuple[Why, ...], tuple[WhyNot, ...]]:
    """Answer questions about a selection, each in its order."""
    asked = WhyNots(reasons)
    return (
        tuple(explain_choice(selection, text, reasons) for text in why),
        tuple(asked.answer(text) for text in why_not),
    )
