"""Unpack the wheels of a plan into a staging directory by pip or uv, and have every file looked at: effects.

Nothing of the environment changes here. Several pips run side by side where there is much to unpack, and what one has
unpacked is hashed and compiled while it goes on.
"""

import os
import shutil
import stat
import subprocess
import time
import zipfile
from contextlib import ExitStack, contextmanager
from typing import Callable, Collection, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import LockedWheel
from pytorch_offline.bundle.reading.sources import Source
from pytorch_offline.bundle.reading.wheel_contents import require_sound_wheel
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UnsatisfiableError, UpstreamError
from pytorch_offline.installer.byte_code import ByteCompiler
from pytorch_offline.installer.hashed_wheels import HashedWheel
from pytorch_offline.installer.model import Context, Plan, Program, Survey
from pytorch_offline.installer.record_files import record_of_wheel
from pytorch_offline.installer.staged_files import (
    StagedDistribution,
    StageHands,
    complete_record,
    hashed_wheel,
    read_recorded_files,
    scripts_with_old_hashes,
    staged_distributions,
)
from pytorch_offline.installer.staging_lines import (
    pip_staging_arguments,
    render_pins,
    share_wheels,
    uv_staging_arguments,
)
from pytorch_offline.installer.surroundings import clean_environment
from pytorch_offline.installer.workplace import Work
from pytorch_offline.installer.workshop import LITTLE_ROOM, disk_trouble

# How often it is looked whether an installer has unpacked another wheel: often enough to keep the other hands busy.
SECONDS_BETWEEN_LOOKS = 0.05
# How much of an installer's output an error repeats, and what pip says of every wheel before anything can go wrong.
LINES_REPEATED = 15
BYTES_OF_OUTPUT_READ = 1024 * 1024
ROUTINE = ("Looking in links:", "Processing ", "Collecting ")


class Staged(NamedTuple):
    """What lies ready.

    Args:
        roots: directories, each of which mirrors the file system from its root.
        hashed: the files of each wheel, looked at.
    """

    roots: Tuple[str, ...]
    hashed: Tuple[HashedWheel, ...]


class InstallerShare(NamedTuple):
    """One installer's part: its wheels, where it unpacks them, the command that does it, and where its words go."""

    wheels: Tuple[LockedWheel, ...]
    root: str
    command: Tuple[str, ...]
    output: str


def stage(plan: Plan, source: Source, work: Work, context: Context, *, compiles: Optional[bool] = None) -> Staged:
    """Unpack, hash and compile the wheels that are to be installed.

    Args:
        plan: what will be done.
        source: has the wheels' bytes.
        work: where.
        context: what surrounds us.
        compiles: whether to make byte code; None as the program itself does: pip does, uv does not.

    Raises:
        IntegrityError: ``unsafe-wheel``; ``hash-mismatch`` if the installer found other bytes than were checked;
            ``staged-damaged``.
        UnsatisfiableError: ``installer-failed`` with its output.
        UpstreamError: ``disk-full``, ``disk-failed``.
    """
    program = plan.program
    if program is None or not plan.install:
        return Staged((), ())
    by_pip = program.name == "pip"
    processors = _usable_processors()
    with disk_trouble(work.survey.prefix), ExitStack() as stack:
        environment = clean_environment(context.environment, _new_directory(work.directory, "tmp"))
        shares = _lay_shares_ready(plan, program, source, work, processors if by_pip else 1)
        context.say(f"unpacking {len(plan.install)} wheels with {program}")
        compilers = [
            stack.enter_context(_started_compiler(work, environment))
            for _ in range(processors if (by_pip if compiles is None else compiles) else 0)
        ]
        hands = StageHands(compilers, processors)
        stack.callback(hands.close)
        running = [stack.enter_context(_started_installer(share, environment, work)) for share in shares]
        while any(process.poll() is None for process in running):
            if by_pip:
                _hand_over(shares, hands, work.survey)
            time.sleep(SECONDS_BETWEEN_LOOKS)
        for share, process in zip(shares, running):
            if process.returncode != 0:
                full = shutil.disk_usage(work.directory).free < LITTLE_ROOM  # then its words found no room either
                raise _installer_error(_installer_output(share), str(program), work.survey.prefix, full=full)
        if not by_pip:
            _into_final_layout(shares[0].root, work.survey)
        _hand_over(shares, hands, work.survey)
        hashed = [found for share in shares for found in _finish_share(share, source, hands, work.survey)]
    return Staged(tuple(share.root for share in shares), tuple(sorted(hashed, key=lambda wheel: wheel.project)))


def staged_path(root: str, path: str) -> str:
    """Say where a path of the file system is mirrored below a staged root, as pip's ``--root`` does."""
    return os.path.join(root, os.path.splitdrive(os.path.abspath(path))[1].lstrip("\\/"))


def _usable_processors() -> int:
    """How many processors this process may use: a container may have been given fewer than the machine has."""
    affinity: Optional[Callable[[int], Collection[int]]] = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _new_directory(*parts: str) -> str:
    path = os.path.join(*parts)
    os.makedirs(path)
    return path


def _lay_shares_ready(
    plan: Plan, program: Program, source: Source, work: Work, many: int
) -> Tuple[InstallerShare, ...]:
    """Lay the files of the plan ready under their own names, a directory for each installer, and build its command."""
    command = _program_command(program, source, work)
    shares = []
    for number, wheels in enumerate(share_wheels(plan.install, plan.manifest, many)):
        place = _new_directory(work.directory, "work", str(number))
        root = _new_directory(work.directory, "stage", str(number))
        links, requirements = _new_directory(place, "wheels"), os.path.join(place, "requirements.txt")
        for wheel in wheels:
            require_sound_wheel(lay_wheel_ready(source, wheel.path, links), wheel)
        with open(requirements, "w", encoding="utf-8") as file:
            file.write(render_pins(wheels, plan.manifest))
        if program.name == "pip":
            arguments = pip_staging_arguments(wheels=links, requirements=requirements, root=root)
        else:
            arguments = uv_staging_arguments(
                python=work.interpreter,
                wheels=links,
                requirements=requirements,
                cache=_new_directory(place, "cache"),
                prefix=staged_path(root, work.survey.paths["data"]),
            )
        shares.append(InstallerShare(wheels, root, (*command, *arguments), os.path.join(place, "output.txt")))
    return tuple(shares)


def lay_wheel_ready(source: Source, path: str, directory: str) -> str:
    """Make a file of the bundle appear under its own name in a directory: a link where it lies whole, else a copy.

    A name may have suffered on its medium, and a link gives it back; the bytes are hashed once more by the installer.
    """
    place = os.path.join(directory, path.rsplit("/", 1)[-1])
    whole = source.whole(path)
    if whole is None:
        with open(place, "wb") as file:
            file.writelines(source.read_file(path))
        return place
    for way in (os.symlink, os.link):
        try:
            way(os.path.abspath(whole), place)
        except (OSError, NotImplementedError, AttributeError):
            continue
        return place
    shutil.copyfile(whole, place)
    return place


def _program_command(program: Program, source: Source, work: Work) -> Tuple[str, ...]:
    """Build the start of the command line, laying ready what travels along."""
    if program.tool is None:
        if program.command:
            return (*program.command, *(("--python", work.interpreter) if program.name == "pip" else ()))
        return (work.interpreter, *program.arguments)
    wheel = lay_wheel_ready(source, program.tool.path, _new_directory(work.directory, "tools"))
    if program.name == "pip":
        return (work.interpreter, "-I", "-B", os.path.join(wheel, "pip"))
    return (_unpack_program(wheel, os.path.dirname(wheel)),)


def _unpack_program(wheel: str, directory: str) -> str:
    """Take the one program out of a wheel that is a program, such as uv's.

    Raises:
        IntegrityError: ``bad-wheel`` if there is none in it.
    """
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith((".data/scripts/uv", ".data/scripts/uv.exe")):
                place = os.path.join(directory, name.rsplit("/", 1)[1])
                with archive.open(name) as packed, open(place, "wb") as file:
                    shutil.copyfileobj(packed, file, BYTES_OF_OUTPUT_READ)
                os.chmod(place, stat.S_IRWXU)
                return place
    raise IntegrityError("bad-wheel", f"{os.path.basename(wheel)} holds no uv")


@contextmanager
def _started_compiler(work: Work, environment: Dict[str, str]) -> Iterator[ByteCompiler]:
    compiler = ByteCompiler(work.interpreter, environment, work.inherited)
    try:
        yield compiler
    finally:
        compiler.close()


@contextmanager
def _started_installer(
    share: InstallerShare, environment: Dict[str, str], work: Work
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start an installer; its words go to a file, so that it never waits for us; it ends with us."""
    with open(share.output, "wb") as output:
        process = subprocess.Popen(
            share.command,
            env=environment,
            cwd=os.path.dirname(share.output),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=work.inherited,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _installer_output(share: InstallerShare) -> str:
    with open(share.output, encoding="utf-8", errors="replace") as file:
        return file.read(BYTES_OF_OUTPUT_READ)


def _staged_sites(root: str, survey: Survey) -> List[Tuple[str, str]]:
    """Pair each staged ``site-packages`` with the real one."""
    finals = sorted({survey.paths["purelib"], survey.paths["platlib"]})
    return [(staged_path(root, final), final) for final in finals]


def _hand_over(shares: Sequence[InstallerShare], hands: StageHands, survey: Survey) -> None:
    """Hand over every distribution that its installer is done with, and that was not handed over yet."""
    for share in shares:
        for site, final in _staged_sites(share.root, survey):
            for distribution in staged_distributions(site, hands.has):
                if not hands.has(distribution):
                    hands.give(distribution, read_recorded_files(distribution.information, final))


def _finish_share(share: InstallerShare, source: Source, hands: StageHands, survey: Survey) -> Iterator[HashedWheel]:
    """Wait for what the hands found in each wheel, have it judged, and write the byte code into RECORD.

    Raises:
        IntegrityError: ``staged-damaged``.
        UnsatisfiableError: ``installer-failed`` if a wheel is not there.
    """
    found: Dict[str, Tuple[StagedDistribution, str]] = {}
    for site, final in _staged_sites(share.root, survey):
        for distribution in staged_distributions(site, hands.has):
            found[distribution.project] = (distribution, final)
    for wheel in share.wheels:
        if wheel.project not in found:
            raise UnsatisfiableError(
                "installer-failed",
                f"{wheel.project} was unpacked elsewhere than {survey.paths['purelib']}",
                facts={"it says": _last_words_of_installer(_installer_output(share))},
            )
        distribution, final = found[wheel.project]
        files, handled = hands.results(wheel.project)
        with source.open_file(wheel.path) as stream:
            expected = record_of_wheel(stream)
        yield hashed_wheel(wheel, final, expected, files, handled)
        made = [result.byte_code for result in handled if result.byte_code]
        complete_record(distribution.information, made, scripts_with_old_hashes(expected, files, handled))


def _into_final_layout(root: str, survey: Survey) -> None:
    """Put what uv unpacked for a virtual environment's layout where this Python looks: Debian has ``dist-packages``.

    Raises:
        UnsatisfiableError: ``installer-failed`` where RECORD would not fit the other layout.
    """
    data, purelib = survey.paths["data"], survey.paths["purelib"]
    own_lock = os.path.join(staged_path(root, data), ".lock")  # uv's, of what it takes for an environment
    if os.path.isfile(own_lock):
        os.unlink(own_lock)
    of_unix = ("lib", "python" + ".".join(survey.python.split(".")[:2]), "site-packages")
    places = [os.path.join(staged_path(root, data), *parts) for parts in (of_unix, ("Lib", "site-packages"))]
    final = staged_path(root, purelib)
    if os.path.isdir(final):
        return
    for place in places:
        if os.path.isdir(place):
            if os.path.relpath(staged_path(root, data), place) != os.path.relpath(data, purelib):
                break
            os.makedirs(os.path.dirname(final), exist_ok=True)
            os.rename(place, final)
            return
    raise UnsatisfiableError(
        "installer-failed",
        f"uv cannot unpack for the layout of {survey.executable}",
        facts={"its site-packages": purelib, "its prefix": data},
        hint="install with pip: --installer pip",
    )


def _last_words_of_installer(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith(ROUTINE)]
    return "\n    ".join(lines[-LINES_REPEATED:])


def _installer_error(output: str, program: str, prefix: str, *, full: bool) -> PytorchOfflineError:
    """Turn an installer's failure into ours."""
    facts = {"it says": _last_words_of_installer(output), "state": f"{prefix} is as it was"}
    if full or "No space left on device" in output or "os error 28" in output:
        return UpstreamError("disk-full", f"the destination's disk filled up while {program} ran", facts=facts)
    if "DO NOT MATCH THE HASHES" in output or "Hash mismatch" in output:
        return IntegrityError(
            "hash-mismatch", f"{program} found other bytes than were checked a moment ago", facts=facts
        )
    return UnsatisfiableError("installer-failed", f"{program} did not unpack the wheels", facts=facts)
