"""A project's candidates, best first, of which a resolution asks again and again which ones a specifier admits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import Version

from pytorch_offline.selector.rules.candidates import admitted, preference
from pytorch_offline.wheels.versions import is_pin, release_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.specifiers import SpecifierSet

    from pytorch_offline.selector.model import Candidate


class RankedCandidates:
    """Answers as ``candidates.admitted`` does, in order of ``candidates.preference``, and each question once.

    A walk through two thousand releases, each of which pins another project exactly, would otherwise compare two
    thousand versions for each of them: an exact pin is looked up.
    """

    def __init__(self, candidates: Iterable[Candidate], *, pre: bool) -> None:
        self._pre = pre
        self._ranked = sorted(candidates, key=preference, reverse=True)
        self._by_release: dict[Version, list[Candidate]] | None = None
        self._answers: dict[SpecifierSet, tuple[Candidate, ...]] = {}

    def admitted(self, specifier: SpecifierSet) -> tuple[Candidate, ...]:
        """Give the candidates that a specifier admits, best first."""
        answer = self._answers.get(specifier)
        if answer is None:
            answer = self._answers[specifier] = tuple(admitted(self._within(specifier), specifier, pre=self._pre))
        return answer

    def _within(self, specifier: SpecifierSet) -> list[Candidate]:
        """Give all candidates that an exact pin in the specifier could mean, else all there are.

        A pin admits no other public version than its own (PEP 440); whether a pre-release is admitted depends only on
        what the whole specifier matches.
        """
        pin = next((one for one in specifier if one.operator == "==" and is_pin(one)), None)
        if pin is None:
            return self._ranked
        if self._by_release is None:
            self._by_release = {}
            for candidate in self._ranked:
                self._by_release.setdefault(release_of(candidate.version), []).append(candidate)
        return self._by_release.get(_public(pin.version), [])


def _public(text: str) -> Version:
    return release_of(Version(text))
