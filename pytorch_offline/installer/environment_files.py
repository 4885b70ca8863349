"""What lies in an environment, and which of it belongs to which distribution: effects that only look."""

import csv
import filecmp
import os
from typing import AbstractSet, Dict, FrozenSet, Iterable, Iterator, List, Optional, Set

from pytorch_offline.errors import UsageError
from pytorch_offline.installer.model import Survey, project_name
from pytorch_offline.installer.switch import View
from pytorch_offline.installer.workshop import WORKSHOP, is_below, scheme_directories

INFORMATION_SUFFIXES = (".dist-info", ".egg-info")


class EnvironmentFiles:
    """An environment's directories, all spelt without links, so that one file has one path."""

    def __init__(self, survey: Survey) -> None:
        self._roots = {os.path.realpath(survey.prefix), *map(os.path.realpath, scheme_directories(survey))}
        self._directories: Dict[str, Optional[str]] = {}
        self.sites = sorted({os.path.realpath(survey.paths[key]) for key in ("purelib", "platlib")})
        kept: Set[str] = set()
        for root in self._roots:
            directory = root
            while directory not in kept:
                kept.add(directory)
                directory = os.path.dirname(directory)
        self.kept: FrozenSet[str] = frozenset(kept)
        somewhere = os.path.realpath(survey.prefix)
        self._folds = os.path.exists(os.path.join(os.path.dirname(somewhere), os.path.basename(somewhere).swapcase()))

    def place_of(self, path: str) -> Optional[str]:
        """Spell a file's path without links to directories on the way; None if it lies outside of the environment."""
        directory, name = os.path.split(path)
        if directory not in self._directories:
            self._directories[directory] = self.inside(directory)
        real = self._directories[directory]
        return None if real is None or name in ("", ".", "..") else os.path.join(real, name)

    def inside(self, directory: str) -> Optional[str]:
        """Follow all links of a directory's path; None if they lead out of the environment."""
        real = os.path.realpath(directory)
        return real if any(is_below(real, root) for root in self._roots) else None

    def view(self) -> View:
        """Give the eyes with which a switch is planned."""
        fold = str.casefold if self._folds else str
        return View(kind=kind_of, names=os.listdir, follow=self.inside, same=_same_bytes, fold=fold)


def kind_of(path: str) -> Optional[str]:
    """Say what is at a path: ``directory``, ``file``, ``link`` (to a directory), or None."""
    if not os.path.lexists(path):
        return None
    if os.path.isdir(path):
        return "link" if os.path.islink(path) else "directory"
    return "file"


def find_leaving(survey: Survey, projects: AbstractSet[str], files: EnvironmentFiles) -> FrozenSet[str]:
    """Find the files of the installed distributions of some projects that no other distribution names too.

    Raises:
        UsageError: ``not-replaceable`` if nothing says which files are theirs.
    """
    known = {os.path.realpath(held.information): held.name for held in survey.distributions.values()}
    leaving: Set[str] = set()
    staying: Set[str] = set()
    for site in files.sites:
        for name in sorted(os.listdir(site)) if os.path.isdir(site) else ():
            if name.endswith(INFORMATION_SUFFIXES):
                information = os.path.join(site, name)
                project = known.get(information, _project_of_information(name))
                recorded = _recorded_paths(information)
                if project not in projects:
                    staying.update(_places_inside(recorded or (), files))
                elif recorded is None:
                    raise UsageError(
                        "not-replaceable",
                        f"{project} is installed without a record of its files, and cannot be replaced",
                        facts={"it lies at": information},
                        hint="take it away by the tool that installed it (conda, apt, distutils), or use a new --venv",
                    )
                else:
                    leaving.update(_places_inside((*recorded, *_files_below(information)), files))
    return frozenset(leaving - staying)


def _project_of_information(name: str) -> str:
    """Read the project from the name of an information directory: ``a_b-1.0.dist-info``, ``a-1.0-py3.6.egg-info``."""
    stem = name.rpartition(".")[0]
    return project_name(stem.rpartition("-")[0] if name.endswith(".dist-info") else stem.split("-", 1)[0])


def _recorded_paths(information: str) -> Optional[List[str]]:
    """List the files that a distribution's record names, None if it has none."""
    for name, base in (("RECORD", os.path.dirname(information)), ("installed-files.txt", information)):
        try:
            with open(os.path.join(information, name), encoding="utf-8", errors="surrogateescape", newline="") as file:
                rows = csv.reader(file) if name == "RECORD" else ([line.rstrip("\r\n")] for line in file)
                return [os.path.join(base, *row[0].split("/")) if row[0][:1] != "/" else row[0] for row in rows if row]
        except (FileNotFoundError, NotADirectoryError):
            continue
    return None


def _files_below(information: str) -> Iterator[str]:
    for directory, _, names in os.walk(information):
        for name in names:
            yield os.path.join(directory, name)


def _places_inside(paths: Iterable[str], files: EnvironmentFiles) -> Iterator[str]:
    for path in paths:
        place = files.place_of(path)
        if place is not None and WORKSHOP not in place.split(os.sep):
            yield place


def _same_bytes(one: str, other: str) -> bool:
    return filecmp.cmp(one, other, shallow=False)
