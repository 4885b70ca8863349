"""Which combinations of torch, system, Python and backend the mirror holds, and the choice among them.

The picker asks the questions that pytorch.org asks. An answer that no held wheel has together with the others is not
refused: the other answers give way, and the page says which. So nobody ends in a corner, and what is shown exists.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from pytorch_offline.knowledge.family import TORCH
from pytorch_offline.matrix.builds import platform_order, platforms_of
from pytorch_offline.matrix.pythons import python_age, pythons_of
from pytorch_offline.mirror.layout import ROOT, channel_of
from pytorch_offline.selector.rules.candidates import backend_of
from pytorch_offline.wheels.backend import BackendKind, is_backend, parse_backend
from pytorch_offline.wheels.filename import WheelName, parse_wheel_name
from pytorch_offline.wheels.versions import release_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytorch_offline.mirror.model import Listed, MirrorFile

# Where a build has no directory of its own and the tables do not say what it was built for: it is what one gets
# without asking.
PLAIN = "default"


class Question(StrEnum):
    """What the picker asks about the machine and the build, in the order in which it asks."""

    TORCH = "torch"
    SYSTEM = "system"
    PYTHON = "python"
    BACKEND = "backend"


# Which answers are kept first when not all can be: the machine's facts before what somebody would like to have on it.
_KEPT_FIRST = (Question.SYSTEM, Question.PYTHON, Question.TORCH, Question.BACKEND)

# Backends as they are offered, from what most people come for.
_KINDS = (BackendKind.CUDA, BackendKind.ROCM, BackendKind.XPU, BackendKind.CPU)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A wheel of torch, for one system and one Python.

    Args:
        torch: version without the local label; behind the channel where that is not stable, ``nightly/2.10.0.dev…``.
        system: ``linux_x86_64``, ``win_amd64`` …
        python: ``3.12``, ``3.13t``, ``3.9+`` for the stable ABI, ``3`` for any.
        backend: upstream's directory (``cu126``, ``cpu-cxx11-abi``), or what a file outside of them was built for.
    """

    torch: str
    system: str
    python: str
    backend: str
    file: MirrorFile
    name: WheelName

    def answer(self, question: Question) -> str:
        """What this wheel answers."""
        return str(getattr(self, question.value))


class Offers:
    """All wheels of torch that a mirror holds, the most wanted first.

    Sets of offers are whole numbers with a bit for each, the first offer being the lowest: a full copy of upstream has
    four thousand wheels of torch, and a page tries a hundred answers against all of them.
    """

    def __init__(self, offers: Iterable[Offer]) -> None:
        self._offers = sorted(offers, key=_wanted_order)
        having: dict[tuple[Question, str], int] = defaultdict(int)
        for position, offer in enumerate(self._offers):
            for question in Question:
                having[question, offer.answer(question)] |= 1 << position
        self._having = dict(having)

    def __bool__(self) -> bool:
        return bool(self._offers)

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._offers)

    @cached_property
    def answers(self) -> Mapping[Question, tuple[str, ...]]:
        """What can be answered to each question by any wheel, in the order in which it is shown."""
        found = {question: {one.answer(question): one for one in self._offers} for question in Question}
        return {
            question: tuple(sorted(answers, key=lambda answer: _ORDERS[question](answers[answer])))
            for question, answers in found.items()
        }

    def choose(self, wanted: Mapping[Question, str], insisted: Iterable[Question] = ()) -> Offer:
        """Give the most wanted offer that keeps as many of the answers as possible.

        Args:
            wanted: answers; one that no wheel has says nothing.
            insisted: whose answers are kept before all others: those that were just given.
        """
        order = list(dict.fromkeys((*insisted, *_KEPT_FIRST)))
        left = (1 << len(self._offers)) - 1
        for question in order:
            kept = left & self._having.get((question, wanted.get(question, "")), 0)
            left = kept or left
        return self._offers[(left & -left).bit_length() - 1]

    def instead(self, chosen: Offer, question: Question, answer: str) -> Offer:
        """Give what is chosen when one answer is given anew, and the others give way where they must."""
        wanted = {one: chosen.answer(one) for one in Question} | {question: answer}
        return self.choose(wanted, (question,))


def offers_of(files: Iterable[MirrorFile]) -> Offers:
    """Find the wheels of torch among the rows of a manifest: one offer for each combination."""
    found: dict[tuple[str, ...], Offer] = {}
    for file in files:
        if not file.path.name.startswith("torch-"):
            continue
        name = parse_wheel_name(file.path.name)
        if name.project != TORCH or file.yanked is not None:
            continue
        torch, backend = torch_answer(file, name), backend_answer(file, name)
        for system in platforms_of(name):
            for python in pythons_of(name):
                offer = Offer(torch=torch, system=system, python=python, backend=backend, file=file, name=name)
                found.setdefault((torch, system, python, backend), offer)
    return Offers(found.values())


def torch_answer(file: MirrorFile, name: WheelName) -> str:
    """Spell a version as an answer: its channel, where that is not stable, and no local label."""
    channel = channel_of(file.path).relative_to(ROOT)
    return (channel / str(release_of(name.version))).as_posix()


def backend_answer(file: Listed, name: WheelName) -> str:
    """Spell what a wheel was built for as an answer.

    A special directory is an answer of its own. In a backend's the wheel's name has the last word: ``cu111/`` once held
    builds for the CPU (``backend_of``).
    """
    directory = file.path.parent
    has_own = directory != channel_of(file.path)
    if has_own and not is_backend(directory.name):
        return directory.name
    backend = backend_of(name, file.path.as_posix(), indexed_by_backend=False)
    return str(backend) if backend is not None else directory.name if has_own else PLAIN


def _torch_order(offer: Offer) -> tuple[object, ...]:
    version = offer.name.version
    stable = "/" not in offer.torch
    return not stable, version.is_prerelease, offer.torch.rpartition("/")[0], _Descending(release_of(version))


def _system_order(offer: Offer) -> tuple[object, ...]:
    return platform_order(offer.system)


def _python_order(offer: Offer) -> tuple[object, ...]:
    return (_Descending(python_age(offer.python)),)


def _backend_order(offer: Offer) -> tuple[object, ...]:
    if not is_backend(offer.backend):  # special builds last: who needs one knows
        return len(_KINDS), offer.backend != PLAIN, offer.backend
    backend = parse_backend(offer.backend)
    return _KINDS.index(backend.kind), _Descending(backend.order)


_ORDERS = {
    Question.TORCH: _torch_order,
    Question.SYSTEM: _system_order,
    Question.PYTHON: _python_order,
    Question.BACKEND: _backend_order,
}


def _wanted_order(offer: Offer) -> tuple[object, ...]:
    return tuple(_ORDERS[question](offer) for question in Question)


class _Descending:
    """A sort key turned round."""

    __slots__ = ("_key",)

    def __init__(self, key: object) -> None:
        self._key = key

    def __lt__(self, other: _Descending) -> bool:
        return bool(other._key < self._key)  # type: ignore[operator]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and bool(self._key == other._key)

    __hash__ = None  # type: ignore[assignment]  # a key to sort by, never kept
