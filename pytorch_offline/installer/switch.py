"""Which renames turn an environment and a staged tree beside it into the environment as it shall be: a rule on values.

First the files of the distributions that are replaced go out, a whole directory in one rename where everything in it
goes; then the staged ones come in, a whole directory in one rename where nothing stands, name by name where something
does (``nvidia/`` belongs to many). ``journal.py`` does it, and undoes it.
"""

import os
from typing import AbstractSet, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from pytorch_offline.errors import UnsatisfiableError

# Directories of byte code: what lies there goes with the module it was made from.
BYTE_CODE_DIRECTORY = "__pycache__"


class Step(NamedTuple):
    """One rename, or one directory made or removed; each is done at once or not at all.

    Args:
        kind: ``out`` (from its place into the trash), ``in`` (from the stage to its place), ``make`` (a directory is
            made) or ``drop`` (an emptied directory is removed).
        place: in the environment.
        aside: the other end of the rename, in the trash or on the stage.
        mode: of a directory that is dropped.
        owner: and whose it is, user and group by number.
    """

    kind: str
    place: str
    aside: str = ""
    mode: int = 0o755
    owner: Tuple[int, int] = (-1, -1)


class View(NamedTuple):
    """What is on the disk, asked lazily; a dictionary in tests.

    Args:
        kind: ``directory``, ``file``, ``link`` (a symbolic link to a directory) or None where nothing is.
        names: what a directory holds.
        follow: where a link leads, if that is inside the environment; else None.
        same: whether two files hold the same bytes.
        fold: what two names have in common if this file system takes them for one.
    """

    kind: Callable[[str], Optional[str]]
    names: Callable[[str], Sequence[str]]
    follow: Callable[[str], Optional[str]]
    same: Callable[[str, str], bool]
    fold: Callable[[str], str]


def plan_switch(
    staged: Sequence[Tuple[str, str]],
    leaving: AbstractSet[str],
    kept: AbstractSet[str],
    view: View,
    trash_for: Callable[[str], str],
) -> Tuple[Step, ...]:
    """Plan the renames.

    Args:
        staged: trees, each with the directory of the environment that it mirrors.
        leaving: the files that go, by their paths; those that are not there are passed over.
        kept: directories that stay even if nothing is left in them, such as ``site-packages``.
        view: what is on the disk.
        trash_for: the directory that takes what leaves a place; names in it are numbers.

    Raises:
        UnsatisfiableError: ``in-the-way`` if a directory stands where a file belongs, or the other way round, or a
            link that leads out of the environment.
    """
    removals = _RemovalPlan(leaving, kept, view).plan()
    arrivals = _ArrivalPlan(frozenset(map(view.fold, removals)), view)
    by_final: Dict[str, List[str]] = {}
    for tree, final in staged:
        by_final.setdefault(final, []).append(tree)
    for final in sorted(by_final):
        arrivals.place(by_final[final], final, fresh=arrivals.make_missing(final))
    outs = sorted({*removals, *arrivals.displaced})
    leave = [Step("out", place, os.path.join(trash_for(place), str(number))) for number, place in enumerate(outs)]
    return (*leave, *arrivals.steps)


class _RemovalPlan:
    """Gathers files into the largest directories that go as a whole."""

    def __init__(self, leaving: AbstractSet[str], kept: AbstractSet[str], view: View) -> None:
        self._view = view
        self._kept = kept
        self._files: Dict[str, Dict[str, str]] = {}  # directory → folded path → path
        self._below: Dict[str, Set[str]] = {}  # directory → directories in it that something leaves
        self._tops: Set[str] = set()
        self._whole: Dict[str, bool] = {}
        modules: Dict[str, Set[str]] = {}  # directory of byte code → stems of the modules that leave
        for path in sorted(leaving):
            directory, name = os.path.split(path)
            if self._add(path) and name.endswith(".py"):
                modules.setdefault(os.path.join(directory, BYTE_CODE_DIRECTORY), set()).add(name[: -len(".py")])
        for directory, stems in sorted(modules.items()):
            if view.kind(directory) == "directory":
                for name in view.names(directory):
                    if name.split(".", 1)[0] in stems:
                        self._add(os.path.join(directory, name))

    def plan(self) -> List[str]:
        """List what goes; no path in it lies below another."""
        found: List[str] = []
        agenda = sorted(self._tops, reverse=True)
        while agenda:
            directory = agenda.pop()
            if self._goes_as_a_whole(directory):
                found.append(directory)
                continue
            found.extend(sorted(self._files.get(directory, {}).values()))
            agenda.extend(sorted(self._below.get(directory, set()), reverse=True))
        return found

    def _add(self, path: str) -> bool:
        """Note a file that goes; False if it is not there."""
        if self._view.kind(path) not in ("file", "link"):
            return False
        directory = os.path.dirname(path)
        self._files.setdefault(directory, {})[self._view.fold(path)] = path
        while directory not in self._kept and directory != os.path.dirname(directory):
            parent = os.path.dirname(directory)
            self._below.setdefault(parent, set()).add(directory)
            directory = parent
        self._tops.add(directory)
        return True

    def _goes_as_a_whole(self, directory: str) -> bool:
        if directory not in self._whole:
            files, below = self._files.get(directory, {}), self._below.get(directory, set())
            self._whole[directory] = directory not in self._kept and all(
                self._view.fold(path) in files or (path in below and self._goes_as_a_whole(path))
                for path in (os.path.join(directory, name) for name in self._view.names(directory))
            )
        return self._whole[directory]


class _ArrivalPlan:
    """Finds the largest staged directories that come in as a whole."""

    def __init__(self, gone: AbstractSet[str], view: View) -> None:
        self._gone = gone
        self._view = view
        self._made: Set[str] = set()
        self.steps: List[Step] = []
        self.displaced: List[str] = []

    def make_missing(self, directory: str) -> bool:
        """Make a directory that is not there, and those above it; False where it is there."""
        if self._view.kind(directory) is not None or directory in self._made:
            return directory in self._made
        self.make_missing(os.path.dirname(directory))
        self.steps.append(Step("make", directory))
        self._made.add(directory)
        return True

    def place(self, trees: Sequence[str], final: str, *, fresh: bool) -> None:
        """Bring staged directories into one place; ``fresh`` where nothing will stand there."""
        entries: Dict[str, List[str]] = {}
        for tree in trees:
            for name in sorted(self._view.names(tree)):
                entries.setdefault(name, []).append(os.path.join(tree, name))
        for name in sorted(entries):
            self._place_one(entries[name], os.path.join(final, name), fresh=fresh)

    def _place_one(self, sources: Sequence[str], place: str, *, fresh: bool) -> None:
        directories = [source for source in sources if self._view.kind(source) == "directory"]
        standing = None if fresh or self._view.fold(place) in self._gone else self._view.kind(place)
        if directories and len(directories) < len(sources):
            raise _stands_in_the_way(place, "one of the wheels has a file there, another one a directory")
        if not directories:
            self._place_file(sources[-1], place, standing)
        elif standing is None and len(directories) == 1:
            self.steps.append(Step("in", place, directories[0]))
        elif standing is None:
            self.steps.append(Step("make", place))
            self.place(directories, place, fresh=True)
        elif standing == "directory":
            self.place(directories, place, fresh=False)
        else:
            inside = self._view.follow(place) if standing == "link" else None
            if inside is None:
                what = "a link that leads out of the environment" if standing == "link" else "a file"
                raise _stands_in_the_way(place, f"{what} stands where a directory belongs")
            self.place(directories, inside, fresh=False)

    def _place_file(self, source: str, place: str, standing: Optional[str]) -> None:
        if standing == "directory":
            raise _stands_in_the_way(place, "a directory stands where a file belongs, with files of nobody")
        if standing is not None:
            if standing == "file" and self._view.same(source, place):
                return  # a neighbour's file, and the same: nvidia/__init__.py comes with each of that family
            self.displaced.append(place)
        self.steps.append(Step("in", place, source))


def _stands_in_the_way(place: str, reason: str) -> UnsatisfiableError:
    return UnsatisfiableError(
        "in-the-way",
        f"{place} is in the way: {reason}",
        facts={"place": place},
        hint="look at what it is, and move it away; nothing was changed",
    )
