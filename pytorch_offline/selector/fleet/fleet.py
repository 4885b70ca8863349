"""Many targets at once: what their closures have in common, what that saves, and which of them cannot be served."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

from pytorch_offline.errors import PytorchOfflineError, UnsatisfiableError, UsageError
from pytorch_offline.selector.explaining.render import WIDTH, render_size, render_tree
from pytorch_offline.selector.lost_wheels import name_first

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytorch_offline.crawler.model import IndexFile
    from pytorch_offline.selector.model import Selection
    from pytorch_offline.wheels.filename import WheelName

# How many of a group's wheels are named; they are named largest first, and the large ones are what counts.
NAMED_WHEELS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The wheels that serve exactly these targets, largest first; ``size`` in bytes, of those whose size is known."""

    targets: tuple[str, ...]
    wheels: tuple[WheelName, ...]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What several closures come to: wheels and bytes, one by one and together.

    Sizes in bytes; ``unknown`` counts the wheels of unknown size, which no size here includes.
    """

    each: Mapping[str, int]
    union: int
    wheels: int
    unknown: int
    groups: tuple[Group, ...]

    @property
    def saved(self) -> int:
        """How many bytes need not be fetched because targets share them."""
        return sum(self.each.values()) - self.union


def tally(selections: Sequence[Selection], known_sizes: Mapping[str, int]) -> Tally:
    """Count wheels and bytes; groups are ordered by how many targets they serve, then by size."""
    files: dict[str, IndexFile] = {}
    users: dict[str, list[str]] = {}
    for selection in selections:
        for choice in selection.choices:
            file = choice.candidate.file
            files[file.link.url] = file
            users.setdefault(file.link.url, []).append(selection.target.name)
    sizes = {url: known_sizes.get(url, file.link.size) for url, file in files.items()}

    def total(urls: Iterable[str]) -> int:
        return sum(sizes[url] or 0 for url in urls)

    members: dict[tuple[str, ...], list[str]] = {}
    for url, names in users.items():
        members.setdefault(tuple(names), []).append(url)
    groups = [
        Group(
            targets=names,
            wheels=tuple(files[url].name for url in sorted(urls, key=lambda url: (-(sizes[url] or 0), url))),
            size=total(urls),
        )
        for names, urls in members.items()
    ]
    return Tally(
        each={
            selection.target.name: total(choice.candidate.file.link.url for choice in selection.choices)
            for selection in selections
        },
        union=total(files),
        wheels=len(files),
        unknown=sum(size is None for size in sizes.values()),
        groups=tuple(sorted(groups, key=lambda group: (-len(group.targets), -group.size, group.targets))),
    )


def render_selections(
    selections: Sequence[Selection], known_sizes: Mapping[str, int], summary: Sequence[str] = ()
) -> str:
    """Render the closures as trees, and what several of them share; ``summary`` says what was done to share more.

    Targets that get the same wheels for the same reasons have one tree together.
    """
    if len(selections) == 1:
        return render_tree(selections[0], known_sizes)
    alike: dict[object, list[Selection]] = {}
    for selection in selections:
        same = tuple((choice.candidate.file.link.url, choice.why) for choice in selection.choices)
        alike.setdefault(same, []).append(selection)
    parts: list[str] = []
    for group in alike.values():
        names = ", ".join(selection.target.name for selection in group)
        parts += [f"target{'s' if len(group) > 1 else ''} {names}:", render_tree(group[0], known_sizes), ""]
    return "\n".join([*parts, render_fleet(selections, known_sizes), *summary])


def render_fleet(selections: Sequence[Selection], known_sizes: Mapping[str, int]) -> str:
    """Say what several targets need together: torch of each, which wheels they share, and the totals."""
    counted = tally(selections, known_sizes)
    width = max(len(selection.target.name) for selection in selections)
    lines = [
        f"  {selection.target.name:<{width}}  {len(selection.choices):>3} wheels  "
        f"{render_size(counted.each[selection.target.name]):>9}{_torch_of(selection)}"
        for selection in selections
    ]
    lines += [line for group in counted.groups if len(group.targets) > 1 for line in _group_lines(group, counted)]
    if not any(len(group.targets) > 1 for group in counted.groups):
        lines.append("nothing is shared: no wheel serves two of these targets")
    missing = f", {counted.unknown} of unknown size" if counted.unknown else ""
    alone = sum(len(selection.choices) for selection in selections)
    lines.append(
        f"together: {counted.wheels} wheels, {render_size(counted.union)}{missing} "
        f"(one by one {alone} wheels; sharing saves {render_size(counted.saved)})"
    )
    return "\n".join([f"{len(selections)} targets:", *lines])


def _torch_of(selection: Selection) -> str:
    return "".join(
        f"  torch {choice.candidate.version}" for choice in selection.choices if choice.candidate.project == "torch"
    )


def _group_lines(group: Group, counted: Tally) -> Iterator[str]:
    who = "all" if len(group.targets) == len(counted.each) else ", ".join(group.targets)
    named = name_first([f"{wheel.project} {wheel.version}" for wheel in group.wheels], NAMED_WHEELS)
    size = render_size(group.size or None)
    count = f"{len(group.wheels)} wheel{'s' if len(group.wheels) > 1 else ''}"
    text = f"shared by {who}: {count}, {size}: {named}"
    yield fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def fleet_document(counted: Tally) -> dict[str, Any]:
    """Make the totals of the ``--json`` document for several targets; sizes are null where a part is not known."""
    known = counted.unknown == 0
    return {
        "total_size": counted.union if known else None,
        "saved_by_sharing": counted.saved if known else None,
        "shared": [
            {
                "targets": list(group.targets),
                "filenames": [wheel.filename for wheel in group.wheels],
                "size": group.size,
            }
            for group in counted.groups
            if len(group.targets) > 1
        ],
    }


def fleet_refusal(refusals: Mapping[str, PytorchOfflineError], asked: int) -> PytorchOfflineError:
    """Put the refusals of some of ``asked`` targets, by name, into one error that hides none of them.

    It is the refusal itself where there is one target. Among several the error is that of the target's own family: a
    request that cannot be meant (an unknown driver) only if no target is unsatisfiable.
    """
    if asked == 1:
        (only,) = refusals.values()
        return only
    names = ", ".join(refusals)
    kind = UnsatisfiableError if any(isinstance(one, UnsatisfiableError) for one in refusals.values()) else UsageError
    first = next(iter(refusals.values()))
    return kind(
        "targets-unsatisfiable" if kind is UnsatisfiableError else "targets-unknown",
        f"{len(refusals)} of {asked} targets cannot be served: {names}",
        facts={
            f"{name}: {key}" if key else name: value
            for name, one in refusals.items()
            for key, value in {"": one.message, **one.facts}.items()
        },
        hint=first.hint if len(refusals) == 1 else "ask for each of them alone: the answer may name what would help",
        sections={f"{name}: {title}": lines for name, one in refusals.items() for title, lines in one.sections.items()},
        data={
            "targets": {
                name: {"code": one.code, "message": one.message, "facts": one.facts, "hint": one.hint, **one.data}
                for name, one in refusals.items()
            }
        },
    )
