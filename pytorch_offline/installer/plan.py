"""Plan an installation: everything that can be known beforehand is checked here, and nothing is changed."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.errors import UnsatisfiableError, UpstreamError, UsageError
from pytorch_offline.installer.closure import walk_closure, whole_lock
from pytorch_offline.installer.destination import (
    Survey,
    find_interpreter,
    free_bytes,
    interpreter_of,
    is_empty_or_missing,
    read_survey,
)
from pytorch_offline.installer.fitness import Misfit, choose_lock, misfits
from pytorch_offline.installer.installer_line import (
    INSTALLS_WITHOUT_UNPACKING,
    Installer,
    Pip,
    choose_pip,
    clean_environment,
)
from pytorch_offline.installer.lock import Lock, LockedWheel, read_locks
from pytorch_offline.installer.pips import find_pips
from pytorch_offline.installer.preflight import WheelContents, check_files, read_metadata_of, total_bytes
from pytorch_offline.installer.proof import is_version, judge_files
from pytorch_offline.mirror.manifest import parse_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import PurePosixPath

    from packaging.requirements import Requirement
    from packaging.utils import NormalizedName
    from packaging.version import Version

    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.target.model import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asks for.

    Args:
        mirror: the directory to install from.
        python: the interpreter to install for, or the base of ``venv``.
        venv: the virtual environment to install into, created if it is missing.
        requirements: only these and what they need; empty for the whole lock.
        target: the lock to use, by its target's name; None to find the one that fits.
        installer: pip or uv.
    """

    mirror: Path
    python: Path | None = None
    venv: Path | None = None
    requirements: tuple[Requirement, ...] = ()
    target: str | None = None
    installer: Installer = Installer.PIP


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be done: everything checked, nothing changed yet.

    Args:
        mirror: the directory to install from.
        lock: the lock that was chosen.
        tolerated: reasons why it does not fit that the user overrode by naming it.
        target: the destination as it describes itself.
        interpreter: the destination's, or the base's while ``creates`` is to be created.
        survey: what that interpreter's environment is and holds.
        creates: the virtual environment that will be created; None if the destination exists.
        install: the wheels to put in place.
        keep: those that are there already, byte for byte.
        contents: what each wheel holds, by project.
        needed_bytes: what the destination's file system must have free.
        program: the pip that will run, or the path of uv.
    """

    mirror: Path
    lock: Lock
    tolerated: tuple[Misfit, ...]
    target: Target
    interpreter: Path
    survey: Survey
    creates: Path | None
    install: tuple[LockedWheel, ...]
    keep: tuple[LockedWheel, ...]
    contents: Mapping[NormalizedName, WheelContents]
    needed_bytes: int
    program: Pip | Path

    @property
    def program_name(self) -> str:
        """Name the installer, for people."""
        return str(self.program) if isinstance(self.program, Pip) else f"uv ({self.program})"

    @property
    def wheels(self) -> tuple[LockedWheel, ...]:
        """All wheels that will be there, sorted by project."""
        return tuple(sorted((*self.install, *self.keep), key=lambda wheel: wheel.project))


def plan_installation(request: Request, *, describe: Callable[[Path], Target], say: Callable[[str], None]) -> Plan:
    """Check everything that can be checked beforehand; change nothing.

    Args:
        request: what the user asks for.
        describe: runs the probe under an interpreter and returns the machine as that one sees it.
        say: takes a line about what is going on.

    Raises:
        UsageError: the destination or the lock is not named well enough, or cannot be installed into.
        IntegrityError: ``bad-files``, ``bad-lock``, ``bad-manifest``.
        UnsatisfiableError: ``no-lock-fits``, ``not-in-lock``, ``no-usable-pip``.
        UpstreamError: ``disk-full``.
    """
    environment = clean_environment(os.environ)
    interpreter, creates = _find_destination(request, environment)
    survey = read_survey(interpreter, environment)
    if creates is None:
        _refuse_unsuitable(survey, request)
    target = describe(interpreter)
    installed = survey.versions() if creates is None else {}
    manifest = read_manifest(request.mirror)
    lock, tolerated, needed = _choose(request, target, installed, manifest)
    wheels = [wheel for wheel in lock.wheels if wheel.project in needed]
    say(f"checking {len(wheels)} files of target {lock.target}")
    contents = check_files(request.mirror, wheels, manifest)
    keep = _already_there(wheels, contents, interpreter, survey) if creates is None else ()
    install = tuple(wheel for wheel in wheels if wheel not in keep)
    program = _find_program(request, survey, target, install, manifest, creating=creates is not None)
    unpacks_twice = isinstance(program, Pip) and program.version < INSTALLS_WITHOUT_UNPACKING
    needed_bytes = total_bytes(contents[wheel.project] for wheel in install) * (2 if unpacks_twice else 1)
    _require_space(creates or survey.purelib, needed_bytes)
    return Plan(
        mirror=request.mirror,
        lock=lock,
        tolerated=tolerated,
        target=target,
        interpreter=interpreter,
        survey=survey,
        creates=creates,
        install=install,
        keep=keep,
        contents=contents,
        needed_bytes=needed_bytes,
        program=program,
    )


def read_manifest(mirror: Path) -> dict[PurePosixPath, MirrorFile]:
    """Read a mirror's manifest without opening the mirror for writing: it may lie on read-only media.

    Raises:
        UsageError: ``not-a-mirror`` if there is none.
        IntegrityError: ``bad-manifest``.
    """
    try:
        body = (mirror / "manifest.json").read_bytes()
    except OSError as error:
        raise UsageError("not-a-mirror", f"{mirror} is no mirror directory: {error.strerror or error}") from error
    return {file.path: file for file in parse_manifest(body)}


def _find_destination(request: Request, environment: Mapping[str, str]) -> tuple[Path, Path | None]:
    """Return the interpreter, and the virtual environment that is to be created from it, if any."""
    if request.venv is None:
        if request.python is None:
            raise UsageError(
                "no-destination",
                "say where to install: a new or existing virtual environment, or an interpreter",
                hint="--venv DIR, or --python EXE (of a conda environment: --python $CONDA_PREFIX/bin/python)",
            )
        return find_interpreter(request.python), None
    venv = request.venv.absolute()
    if is_empty_or_missing(venv):
        return find_interpreter(request.python or Path(sys.executable)), venv
    interpreter = interpreter_of(venv) if venv.is_dir() else None
    if interpreter is None:
        raise UsageError("not-an-environment", f"{venv} exists and is no virtual environment; nothing was changed")
    if request.python is not None:
        base = read_survey(find_interpreter(request.python), environment).base_prefix
        if read_survey(interpreter, environment).base_prefix.resolve() != base.resolve():
            raise UsageError("other-base", f"{venv} exists and was not created from {request.python}")
    return interpreter, None


def _refuse_unsuitable(survey: Survey, request: Request) -> None:
    if request.venv is not None and survey.prefix.resolve() == Path(sys.prefix).resolve():
        raise UsageError(
            "own-environment",
            f"{request.venv} is the environment that this tool runs in",
            hint=f"install elsewhere; if this is what you mean, say --python {sys.executable}",
        )
    if survey.externally_managed is not None:
        raise UsageError(
            "externally-managed",
            f"{survey.executable} belongs to the operating system's package manager (PEP 668)",
            facts={"marker": survey.externally_managed},
            hint="install into an environment of its own: --venv DIR",
        )
    if not survey.writable:
        raise UsageError("not-writable", f"{survey.purelib} cannot be written to by this user", hint="use --venv DIR")


def _choose(
    request: Request,
    target: Target,
    installed: Mapping[NormalizedName, Version],
    manifest: Mapping[PurePosixPath, MirrorFile],
) -> tuple[Lock, tuple[Misfit, ...], frozenset[NormalizedName]]:
    """Choose the lock, and the projects of it that the request needs."""
    locks = read_locks(request.mirror, named=request.target)
    metadata = {lock.target: read_metadata_of(request.mirror, lock, manifest) for lock in locks}
    reasons = {lock.target: misfits(lock, target, metadata[lock.target], installed) for lock in locks}
    lock, tolerated = choose_lock(locks, reasons, named=request.target)
    roots = request.requirements or whole_lock(lock)
    closure = walk_closure(roots, lock, metadata[lock.target], target.marker_environment, installed)
    if closure.gaps:
        raise UnsatisfiableError(
            "not-in-lock",
            f"the lock of target {lock.target} does not hold what is asked for",
            facts={str(gap.requirement): str(gap) for gap in closure.gaps},
            hint="fetch it on the connected machine, for the same target",
        )
    return lock, tolerated, frozenset(closure.projects)


def _already_there(
    wheels: Sequence[LockedWheel],
    contents: Mapping[NormalizedName, WheelContents],
    interpreter: Path,
    survey: Survey,
) -> tuple[LockedWheel, ...]:
    """Say which wheels need not be installed: those whose version is there, with these very files.

    One that is there without a RECORD (a conda package, an old distutils one) cannot be taken away by any installer; it
    is left alone too, and the proof tells so.
    """
    held = survey.distributions
    same = [w for w in wheels if w.project in held and is_version(held[w.project].version, w.name.version)]
    if not same:
        return ()
    hashed = read_survey(interpreter, clean_environment(os.environ), hashed=[wheel.project for wheel in same])
    return tuple(
        wheel
        for wheel in same
        if (distribution := hashed.distributions[wheel.project]).record is None
        or not judge_files(wheel.project, distribution, contents[wheel.project], kept=False)
    )


def _find_program(
    request: Request,
    survey: Survey,
    target: Target,
    wheels: Sequence[LockedWheel],
    manifest: Mapping[PurePosixPath, MirrorFile],
    *,
    creating: bool,
) -> Pip | Path:
    if request.installer is Installer.UV:
        beside = shutil.which("uv", path=str(Path(sys.executable).parent))
        uv = shutil.which("uv") or beside
        if uv is None:
            raise UsageError("no-uv", "uv is neither on PATH nor beside this tool", hint="use --installer pip")
        return Path(uv)
    tags = frozenset(target.tags)
    pips = find_pips(survey, request.mirror, manifest, creating=creating)
    pip, refused = choose_pip(pips, target.python_full_version, [wheel.name.tags & tags for wheel in wheels])
    if pip is None:
        raise UnsatisfiableError(
            "no-usable-pip",
            f"no pip at hand can install these wheels for Python {target.python_full_version}",
            facts={f"pip {number}": reason for number, reason in enumerate(refused, start=1)},
            hint="fetch `pip` too, for the same target: it is then run out of the mirror",
        )
    return pip


def _require_space(place: Path, needed: int) -> None:
    free = free_bytes(place)
    if needed > free:
        raise UpstreamError(
            "disk-full",
            f"{place} needs {needed:,} bytes, {free:,} are free; nothing was changed",
            facts={"needed": needed, "free": free},
        )
