"""Why requirements contradict each other: the chain from what was asked for down to both sides, and no step more.

A resolver that gives up knows its last dead end only. So the contradiction is derived anew, from what the search has
read, by two rules over the wheels that each project still has:

- if every wheel that is left of a project requires another one, then that one is needed, within those bounds;
- a wheel that requires what nothing is left of is out.

If a needed project has no wheel left, the steps that led there are a proof. From it each step is then taken away of
which the rest is a proof by itself. What cannot be proved so (a contradiction that takes guessing) has no chain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from packaging.version import Version

    from pytorch_offline.selector.model import Candidate

# So many of the requirements of a project's versions are named where they differ.
NAMED_REQUIREMENTS = 2
# Above this, steps that do not matter may stay in: each is tried in turn, and nobody waits longer for an error.
MOST_TRIALS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user says of a project: a requirement, or only a bound (``-c``), which brings nothing into the closure.

    Args:
        on: the identifier that it is about: a project, or one with extras.
        text: the requirement.
        admits: the addresses of the wheels that it admits.
        brings: whether it makes the project needed.
    """

    on: str
    text: str
    admits: frozenset[str]
    brings: bool = True


class Examined(Protocol):
    """What a search has read; nothing more is read to explain it."""

    def asked(self) -> Sequence[Asked]:
        """List what the user says, in the user's order."""

    def required(self, identifier: str, wheel: str) -> Sequence[Asked] | None:
        """List what a wheel requires, with the extras of the identifier; None if that was never read."""

    def wheel(self, address: str) -> Candidate:
        """Give the wheel at an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a chain, in words and as values.

    Args:
        text: the sentence.
        identifier: whose requirement it is; None for what the user asked for.
        versions: the versions of it that were left, the newest first.
        requirements: what they require, each once, in the order of the versions.
    """

    text: str
    identifier: str | None
    versions: tuple[Version, ...]
    requirements: tuple[str, ...]

    def as_data(self) -> dict[str, object]:
        """Make the form for ``--json``."""
        return {
            "text": self.text,
            "project": self.identifier,
            "versions": [str(version) for version in self.versions],
            "requires": list(self.requirements),
        }


# A premise of a proof: the number of what was asked, or who requires whom.
_Premise = int | tuple[str, str]


def conflict_chain(examined: Examined) -> tuple[Step, ...]:
    """Explain a contradiction, from the roots down to both sides, one step each; empty if it is not of this kind."""
    premises = _derive(examined, lambda _: True).proof
    if premises is None:
        return ()
    kept = set(premises)
    for premise in sorted(premises, key=_weight, reverse=True)[:MOST_TRIALS]:
        if _derive(examined, (kept - {premise}).__contains__).proof is not None:
            kept.remove(premise)
    return tuple(_told(examined, kept, _derive(examined, kept.__contains__)))


@dataclass(slots=True)
class _Derivation:
    """What follows from some premises.

    ``left`` holds the addresses that are left of an identifier of which something is known, ``why`` the premises that
    this depends on, ``said`` what each wheel requires where that had a consequence, ``whole`` where that was so of all
    wheels that were left.
    """

    left: dict[str, frozenset[str]] = field(default_factory=dict)
    why: dict[str, set[_Premise]] = field(default_factory=dict)
    needed: dict[str, None] = field(default_factory=dict)
    said: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    whole: set[tuple[str, str]] = field(default_factory=set)
    proof: set[_Premise] | None = None

    def say(self, edge: tuple[str, str], texts: Mapping[str, str], *, whole: bool) -> None:
        """Note what wheels require; ``whole`` if no other wheel was left."""
        self.said.setdefault(edge, {}).update(texts)
        if whole:
            self.whole.add(edge)

    def narrow(self, identifier: str, admits: frozenset[str], why: Iterable[_Premise]) -> bool:
        """Leave only what is admitted; whether that changes anything."""
        before = self.left.get(identifier)
        after = admits if before is None else before & admits
        if after == before:
            return False
        self.left[identifier] = after
        self.why.setdefault(identifier, set()).update(why)
        return True


def _derive(examined: Examined, allowed: Callable[[_Premise], bool]) -> _Derivation:
    """Apply both rules until nothing new follows, or a needed project has nothing left."""
    found = _Derivation()
    for number, one in enumerate(examined.asked()):
        if allowed(number):
            found.narrow(one.on, one.admits, [number])
            if one.brings:
                found.needed[one.on] = None
                found.why[one.on].add(number)
    changed = True
    while changed:
        changed = False
        for identifier in tuple(found.needed):
            if not found.left[identifier]:
                found.proof = found.why[identifier]
                return found
            changed |= _follow(examined, identifier, found, allowed)
    return found


def _follow(examined: Examined, identifier: str, found: _Derivation, allowed: Callable[[_Premise], bool]) -> bool:
    """Apply both rules to what a needed project's wheels require; whether anything follows."""
    required: dict[str, dict[str, list[Asked]]] = {}
    unread = False
    for wheel in sorted(found.left[identifier]):  # a set's order changes from run to run, and the words with it
        requires = examined.required(identifier, wheel)
        unread |= requires is None
        for one in requires or ():
            if allowed((identifier, one.on)):
                required.setdefault(one.on, {}).setdefault(wheel, []).append(one)
    changed = False
    for on, of_wheel in required.items():
        edge = (identifier, on)
        admits = {wheel: frozenset.intersection(*(one.admits for one in asks)) for wheel, asks in of_wheel.items()}
        texts = {wheel: " and ".join(one.text for one in asks) for wheel, asks in of_wheel.items()}
        left = found.left.get(on)
        out = {wheel for wheel, some in admits.items() if not (some if left is None else some & left)}
        out &= found.left[identifier]
        whole = out == found.left[identifier]
        if out and (on in found.needed or any(one.brings for asks in of_wheel.values() for one in asks)):
            found.narrow(identifier, found.left[identifier] - out, {edge, *found.why.get(on, ())})
            found.say(edge, {wheel: texts[wheel] for wheel in sorted(out)}, whole=whole)
            changed = True
        rest = found.left[identifier]
        if unread or not rest or not rest <= admits.keys():
            continue
        brings = all(one.brings for wheel in rest for one in of_wheel[wheel])
        if not brings and on not in found.needed:
            continue
        why = {edge, *found.why[identifier]}
        narrowed = found.narrow(on, frozenset().union(*(admits[wheel] for wheel in rest)), why)
        if narrowed or on not in found.needed:
            found.needed[on] = None
            found.why.setdefault(on, set()).update(why)
            found.say(edge, {wheel: texts[wheel] for wheel in sorted(rest)}, whole=True)
            changed = True
    return changed


def _weight(premise: _Premise) -> tuple[bool, str]:
    """Try to do without requirements of wheels first, then without what was asked."""
    return isinstance(premise, tuple), str(premise)


def _told(examined: Examined, premises: set[_Premise], found: _Derivation) -> Iterable[Step]:
    """Put the premises in order: each root, and below it what its project requires, as far as it matters."""
    told: set[_Premise] = set()

    edges = sorted(premise for premise in premises if isinstance(premise, tuple))

    def below(identifier: str) -> Iterable[Step]:
        for premise in edges:
            if premise[0] == identifier and premise not in told:
                told.add(premise)
                step = _required(examined, premise, found)
                if step is not None:
                    yield step
                yield from below(premise[1])

    for number, one in enumerate(examined.asked()):
        if number in premises:
            text = f"you asked for {one.text}" if one.brings else f"you allow only {one.text}"
            yield Step(text=text, identifier=None, versions=(), requirements=(one.text,))
            yield from below(one.on)


def _required(examined: Examined, edge: tuple[str, str], found: _Derivation) -> Step | None:
    """Say what the wheels of a project require of another; None where it says nothing to people."""
    identifier, on = edge
    said = found.said.get(edge, {})
    if not said or (on != identifier and on == identifier.partition("[")[0]):
        return None  # a project with extras is the project
    of_version: dict[Version, str] = {}
    for address, text in said.items():
        of_version.setdefault(examined.wheel(address).version, text)
    versions = tuple(sorted(of_version, reverse=True))
    texts = tuple(dict.fromkeys(of_version[version] for version in versions))
    span = f"{versions[0]} to {versions[-1]}"
    who = f"every {identifier} that fits ({span})" if edge in found.whole else f"{identifier} {span}"
    if len(versions) == 1:
        sentence = f"{identifier} {versions[0]} requires {texts[0]}"
    elif len(texts) == 1:
        sentence = f"{who} requires {texts[0]}"
    else:
        named = [f"{one} requires {of_version[one]}" for one in versions[:NAMED_REQUIREMENTS]]
        more = f", … {len(versions)} versions in all" if len(versions) > len(named) else ""
        sentence = f"{who} has a bound on {on}: {', '.join(named)}{more}"
    return Step(text=sentence, identifier=identifier, versions=versions, requirements=texts)
