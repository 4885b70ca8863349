"""What an installer has unpacked: each distribution on the stage, as soon as it is there in whole, hashed and compiled.

Every byte is read once, here: the switch that follows consists of renames. The installed RECORD then gets a line for
each file of byte code, as pip itself writes them, so that a later ``pip uninstall`` takes them away too.
"""

import csv
import io
import os
import queue
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import LockedWheel
from pytorch_offline.errors import IntegrityError
from pytorch_offline.installer.byte_code import ByteCompiler
from pytorch_offline.installer.hashed_wheels import HashedWheel
from pytorch_offline.installer.model import project_name
from pytorch_offline.installer.record_files import hash_as_in_record, keeping_their_place

# Files that one thread takes at a time: enough that handing them out costs nothing, few enough to share torch's 15,000.
FILES_AT_A_TIME = 64


class StagedDistribution(NamedTuple):
    """A distribution on the stage.

    Args:
        project: normalised.
        information: its ``*.dist-info`` there.
        state: size and time of its RECORD, by which a RECORD that is still being written is told.
    """

    project: str
    information: str
    state: Tuple[int, int]


class RecordedFile(NamedTuple):
    """A file of a distribution: its path in RECORD, where it is staged, what it must hash to, and its final path."""

    path: str
    staged: str
    expected: str
    final: str


class HandledFile(NamedTuple):
    """What came of a file: its hash (None if it cannot be read), its size, and the byte code made of it."""

    sha256: Optional[str]
    size: int
    byte_code: Optional[str]


def staged_distributions(site: str, known: Callable[[StagedDistribution], bool]) -> List[StagedDistribution]:
    """List the distributions in a staged ``site-packages`` that an installer is done with.

    It is done when RECORD names INSTALLER: the wheel's own RECORD, which is unpacked with the rest, never does.

    Args:
        site: the directory.
        known: says which ones are known to be done, and need not be read.
    """
    found = []
    for name in sorted(os.listdir(site)) if os.path.isdir(site) else ():
        information = os.path.join(site, name)
        record = os.path.join(information, "RECORD")
        if not name.endswith(".dist-info") or not os.path.isfile(os.path.join(information, "INSTALLER")):
            continue
        try:
            state = os.stat(record)
            project = project_name(name[: -len(".dist-info")].rpartition("-")[0])
            distribution = StagedDistribution(project, information, (state.st_size, state.st_mtime_ns))
            if not known(distribution):
                with open(record, encoding="utf-8", newline="") as file:
                    if f"{name}/INSTALLER," not in file.read():
                        continue
        except (OSError, UnicodeDecodeError):
            continue
        found.append(distribution)
    return found


class StageHands:
    """Threads that hash staged files and have them compiled, while the installer still unpacks others."""

    def __init__(self, compilers: Sequence[ByteCompiler], threads: int) -> None:
        self._compilers: queue.Queue[ByteCompiler] = queue.Queue()
        for compiler in compilers:
            self._compilers.put(compiler)
        self._compiles = bool(compilers)
        self._pool = ThreadPoolExecutor(threads)
        self._given: Dict[str, Tuple[StagedDistribution, List[RecordedFile], List[Future[List[HandledFile]]]]] = {}

    def give(self, distribution: StagedDistribution, files: Sequence[RecordedFile]) -> None:
        """Hand over a distribution; one that was handed over and has changed since is handed over again."""
        runs = [files[start : start + FILES_AT_A_TIME] for start in range(0, len(files), FILES_AT_A_TIME)]
        work = [self._pool.submit(self._handle, run) for run in runs]
        self._given[distribution.project] = (distribution, list(files), work)

    def has(self, distribution: StagedDistribution) -> bool:
        """Whether a distribution was handed over, and is as it was then."""
        return distribution.project in self._given and self._given[distribution.project][0] == distribution

    def results(self, project: str) -> Tuple[List[RecordedFile], List[HandledFile]]:
        """Wait for a distribution's files, once all installers are done.

        Several wheels may hold one file, as NVIDIA's do ``nvidia/__init__.py``, and pip takes it away to unpack the
        next one's: what was met in that moment, gone or half written, is looked at again. So is all that several
        name, for byte code holds the time at which its module was written.
        """
        _, files, work = self._given[project]
        handled = [found for run in work for found in run.result()]
        named = Counter(file.staged for _, each, _ in self._given.values() for file in each)
        again = [
            number
            for number, file in enumerate(files)
            if handled[number].sha256 != file.expected or named[file.staged] > 1
        ]
        for number, found in zip(again, self._handle([files[number] for number in again])):
            handled[number] = found
        return files, handled

    def close(self) -> None:
        """Let the threads end, without what is not begun."""
        for _, _, work in self._given.values():
            for run in work:
                run.cancel()
        self._pool.shutdown(wait=True)

    def _handle(self, files: Sequence[RecordedFile]) -> List[HandledFile]:
        made: Dict[str, Optional[str]] = {}
        modules = [(file.staged, file.final) for file in files if file.path.endswith(".py")] if self._compiles else []
        if modules:
            compiler = self._compilers.get()
            try:
                made = dict(zip([staged for staged, _ in modules], compiler.compile(modules)))
            finally:
                self._compilers.put(compiler)
        return [self._look_at(file, made.get(file.staged)) for file in files]

    @staticmethod
    def _look_at(file: RecordedFile, byte_code: Optional[str]) -> HandledFile:
        try:
            size = os.stat(file.staged).st_size
        except OSError:
            return HandledFile(None, 0, None)
        return HandledFile(hash_as_in_record(file.staged, file.expected.partition("=")[0]), size, byte_code)


def read_recorded_files(information: str, final_site: str) -> List[RecordedFile]:
    """List the files that a staged RECORD names with a hash, with their places on the stage and at last."""
    site = os.path.dirname(information)
    with open(os.path.join(information, "RECORD"), encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return [
        RecordedFile(
            row[0],
            os.path.normpath(os.path.join(site, *row[0].split("/"))),
            row[1].rstrip("="),
            os.path.normpath(os.path.join(final_site, *row[0].split("/"))),
        )
        for row in rows
        if len(row) > 1 and "=" in row[1]
    ]


def hashed_wheel(
    wheel: LockedWheel,
    final_site: str,
    expected: Mapping[str, str],
    files: Sequence[RecordedFile],
    handled: Sequence[HandledFile],
) -> HashedWheel:
    """Put together what the files of a wheel hash to.

    Raises:
        IntegrityError: ``staged-damaged`` if they are not what the verified wheel says they are.
    """
    on_disk = {file.path: result.sha256 for file, result in zip(files, handled) if result.sha256 is not None}
    rewritten = scripts_with_old_hashes(expected, files, handled)
    problems = [
        (file.path, "cannot be read" if result.sha256 is None else f"RECORD says {file.expected}, not {result.sha256}")
        for file, result in zip(files, handled)
        if result.sha256 != file.expected and file.path not in rewritten
    ]
    # What lies in .data goes elsewhere, and scripts there get the interpreter's name: the installed RECORD vouches.
    problems += [
        (path, f"the wheel has {sha256}, unpacked is {on_disk.get(path, 'nothing')}")
        for path, sha256 in sorted(keeping_their_place(expected).items())
        if on_disk.get(path) != sha256
    ]
    if problems:
        raise IntegrityError(
            "staged-damaged",
            f"{wheel.project} {wheel.version} was unpacked with other bytes than its wheel holds; nothing was changed",
            facts=dict(problems[:10]),
            hint="the destination's disk or memory may be failing, or another program changes files there",
        )
    size = sum(result.size for result in handled)
    return HashedWheel(wheel.project, wheel.version, final_site, on_disk, (), dict(expected), size)


def scripts_with_old_hashes(
    expected: Mapping[str, str], files: Sequence[RecordedFile], handled: Sequence[HandledFile]
) -> Dict[str, Tuple[str, str]]:
    """Find scripts whose RECORD has the hash from before the interpreter's name was put in, each with the right one.

    pip 22.0.4 writes it so with ``--root`` (tried here with Python 3.7's), and nobody could check such a script.
    """
    of_wheel = {path.rsplit("/", 1)[1]: sha256 for path, sha256 in expected.items() if ".data/scripts/" in path}
    return {
        file.path: (result.sha256, str(result.size))
        for file, result in zip(files, handled)
        if result.sha256 is not None
        and result.sha256 != file.expected
        and of_wheel.get(file.path.rsplit("/", 1)[-1]) == file.expected
    }


def complete_record(information: str, made: Sequence[str], corrected: Mapping[str, Tuple[str, str]]) -> None:
    """Add byte code to a staged RECORD, in pip's form: no hash, no size, rows in order; and put hashes right."""
    if not made and not corrected:
        return
    site = os.path.dirname(information)
    path = os.path.join(information, "RECORD")
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    read = [tuple(row) for row in csv.reader(io.StringIO(text, newline="")) if row]
    rows = {(row[0], *corrected[row[0]]) if row[0] in corrected else row for row in read}
    rows.update((os.path.relpath(byte_code, site).replace(os.sep, "/"), "", "") for byte_code in made)
    with open(path + ".new", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\r\n" if "\r\n" in text else "\n").writerows(sorted(rows))
    os.chmod(path + ".new", os.stat(path).st_mode)
    os.replace(path + ".new", path)
