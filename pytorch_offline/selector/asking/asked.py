"""All that a user asks for, from the command line, requirements files and locks, and the request it makes for a target.

Markers decide per target which lines count, so what a line says beside its requirement (a hash, an address) counts with
it: ``uv export`` writes one project on several lines, each for other machines with other hashes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from pytorch_offline.errors import UsageError
from pytorch_offline.selector.asking.index_options import IndexOptions, combine_options
from pytorch_offline.selector.asking.requirement_files import OptionLine, Place, RequirementLine, read_lines
from pytorch_offline.selector.asking.requirements import Ask, parse_ask
from pytorch_offline.selector.model import Request
from pytorch_offline.target.markers import applies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from packaging.utils import NormalizedName

    from pytorch_offline.selector.asking.locks import LockInput
    from pytorch_offline.selector.model import DirectWheel
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend

# Files that people try, by what they are called, and how to make requirements of them.
_OTHER_FILES = (
    (r"uv\.lock", "write `uv export --format pylock.toml -o pylock.toml` (or requirements.txt), and name that"),
    (r"poetry\.lock", "write `poetry export -o requirements.txt`, and name that"),
    (r"pdm\.lock", "write `pdm export -o requirements.txt`, and name that"),
    (r"Pipfile(\.lock)?", "write `pipenv requirements --hash > requirements.txt`, and name that"),
    (r"pyproject\.toml|setup\.(py|cfg)", "write `uv pip compile pyproject.toml -o requirements.txt`, and name that"),
    (
        r".*\.ya?ml",
        "copy what stands below `- pip:` into a requirements.txt, and name that; the others are conda's",
    ),
    (r".*\.(whl|zip|tar\.gz)", "leave out -r: a wheel is named by itself"),
)
COMMAND_LINE = Place(location="command line")
# What follows -c in conda's commands: its channels.
_CONDA_CHANNELS = frozenset({"pytorch", "pytorch-nightly", "nvidia", "conda-forge", "defaults", "anaconda"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for, by whomever: lines, the options about indexes, a lock."""

    asks: tuple[Ask, ...] = ()
    options: IndexOptions
    lock: LockInput | None = None

    def request_for(self, target: Target, *, backend: Backend | None, pre: bool, no_deps: bool) -> Request:
        """Make the request for one target.

        Raises:
            UsageError: ``contradiction`` if two addresses are given for one project; what ``locked_wheels`` says.
            UnsatisfiableError: ``lock-does-not-fit``.
        """
        if self.lock is not None:
            from pytorch_offline.selector.asking.locks import locked_wheels  # noqa: PLC0415  (few ask for a lock)

            wheels = locked_wheels(self.lock, target)
            pins = tuple(Requirement(f"{wheel.name.project}=={wheel.name.version}") for wheel in wheels)
            return Request(requirements=pins, backend=backend, pre=True, no_deps=True, wheels=wheels)
        asks = [ask for ask in self.asks if applies(ask.requirement, target.marker_environment)]
        hashes = _hashes(asks)
        said = self.options.require_hashes
        return Request(
            requirements=tuple(ask.requirement for ask in self.asks if not ask.constraint),
            constraints=tuple(ask.requirement for ask in self.asks if ask.constraint),
            backend=backend,
            pre=pre or self.options.pre,
            no_deps=no_deps,
            wheels=_wheels(asks),
            hashes=hashes,
            # One --hash turns pip's hash-checking mode on, also in a line that is for other machines.
            require_hashes=any(ask.hashed for ask in self.asks) if said is None else said,
        )


def _hashes(asks: Iterable[Ask]) -> Mapping[NormalizedName, frozenset[str]]:
    """Give the hashes that a project's file may have: those that all lines admit which say any."""
    hashes: dict[NormalizedName, frozenset[str]] = {}
    for ask in asks:
        if ask.sha256s:
            hashes[ask.project] = hashes.get(ask.project, ask.sha256s) & ask.sha256s
    return hashes


def _wheels(asks: Iterable[Ask]) -> tuple[DirectWheel, ...]:
    wheels: dict[NormalizedName, DirectWheel] = {}
    for ask in asks:
        if ask.wheel is not None and wheels.setdefault(ask.project, ask.wheel).url != ask.wheel.url:
            raise UsageError(
                "contradiction",
                f"two different wheels of {ask.project} are asked for",
                facts={one.where: one.name.filename for one in (wheels[ask.project], ask.wheel)},
            )
    return tuple(wheels.values())


def read_asked(
    requirements: Sequence[str],
    requirement_files: Sequence[str],
    constraint_files: Sequence[str],
    *,
    read: Callable[[str], bytes],
    exists: Callable[[Path], bool],
    environment: Mapping[str, str],
    index_options: Sequence[tuple[str, str]] = (),
) -> Asked:
    """Read everything that was asked for.

    Args:
        requirements: requirements on the command line.
        requirement_files: locations given with ``-r``: requirements files, or one lock.
        constraint_files: locations given with ``-c``.
        read: gives a location's bytes; raises ``UsageError`` or ``UpstreamError``.
        exists: tells whether a path is there.
        environment: what ``${NAME}`` stands for in a file.
        index_options: pip's options about indexes on the command line; as with pip, those in files come after them.

    Raises:
        UsageError: ``nothing-requested``; ``lock-and-more`` since a lock is complete; what is wrong with a line.
    """
    lines: list[RequirementLine | OptionLine] = []
    locks: list[LockInput] = []
    if index_options:
        lines.append(OptionLine(options=tuple(index_options), place=COMMAND_LINE))
    for location in constraint_files:
        if location in _CONDA_CHANNELS and not exists(Path(location)):
            hint = f"leave out -c {location}: wheels come from PyTorch's own index and pip's, not from conda"
            raise UsageError("bad-requirements-file", f"-c {location} is a channel of conda's", hint=hint)
        lines += read_lines(location, read=read, environment=environment, constraint=True)
    lines += [RequirementLine(text=text.strip(), place=COMMAND_LINE) for text in requirements]
    for location in requirement_files:
        from pytorch_offline.selector.asking.locks import lock_name, parse_lock  # noqa: PLC0415  (see request_for)

        named = lock_name(location)
        if named is not None:
            locks.append(parse_lock(read(named[0]), *named))
            continue
        _check_kind(location)
        lines += read_lines(location, read=read, environment=environment)
    asks = tuple(parse_ask(line) for line in lines if isinstance(line, RequirementLine))
    if locks and (len(locks) > 1 or lines):
        raise UsageError(
            "lock-and-more",
            f"{locks[0].location} is complete, and nothing else can be asked for beside it",
            hint="run the command once for each; they may share a mirror",
        )
    if not locks and all(ask.constraint for ask in asks):
        raise UsageError("nothing-requested", "nothing was asked for", hint="name a project, e.g. torch, or -r FILE")
    options = combine_options((line for line in lines if isinstance(line, OptionLine)), exists=exists)
    return Asked(asks=asks, options=options, lock=locks[0] if locks else None)


def _check_kind(location: str) -> None:
    name = PurePosixPath(location.replace("\\", "/")).name
    for pattern, hint in _OTHER_FILES:
        if re.fullmatch(pattern, name):
            raise UsageError("bad-requirements-file", f"{location} is no requirements file", hint=hint)
