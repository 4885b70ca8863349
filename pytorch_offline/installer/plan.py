"""Plan an installation: everything that can be known beforehand is judged here, and nothing is changed."""

from typing import BinaryIO, Callable, Dict, FrozenSet, Optional, Tuple

from pytorch_offline.bundle.format.model import BundleFile, LockedWheel, Manifest
from pytorch_offline.installer.accelerator_fit import judge_accelerator
from pytorch_offline.installer.already_there import split_by_presence
from pytorch_offline.installer.conflicts import judge_conflicts, pip_that_judges
from pytorch_offline.installer.destination import free_bytes_at
from pytorch_offline.installer.fitness import Choice, choose_lock, closure_of, misfits
from pytorch_offline.installer.model import (
    Context,
    Destination,
    Misfit,
    Plan,
    Program,
    Request,
    Survey,
    version_numbers,
)
from pytorch_offline.installer.preflight import judge_destination, preflight_error
from pytorch_offline.installer.programs import choose_program

# The first pip that installs straight from the wheel; before it every wheel is unpacked into TMPDIR and copied.
INSTALLS_WITHOUT_UNPACKING = "20.2"

# A new environment with what ensurepip puts into it takes 12 MB (Python 3.6, 3.13) to 26 MB (3.11, with setuptools) on
# ext4, and more for the moment in which it is unpacked.
NEW_ENVIRONMENT_BYTES = 32_000_000


def plan_installation(
    request: Request,
    manifest: Manifest,
    destination: Destination,
    survey: Survey,
    context: Context,
    *,
    open_file: Callable[[str], BinaryIO],
    whole: Callable[[str], Optional[str]],
    proved: Callable[[str], Optional[str]],
) -> Plan:
    """Judge everything that can be judged before the bundle's bytes are read; change nothing.

    Args:
        request: what the user asks for.
        manifest: what there is to install from.
        destination: where it goes.
        survey: what is there, or in the base of what will be created.
        context: the surroundings.
        open_file: opens a file of the bundle by its path.
        whole: gives the path of a file of the bundle that lies in one piece, else None.
        proved: the same, once its bytes were compared with the manifest; None where they are others.

    Raises:
        UsageError: the lock is not named well enough, or the destination cannot be installed into.
        UnsatisfiableError: ``no-lock-fits``, ``not-in-lock``, ``no-usable-pip``.
        UpstreamError: ``disk-full``.
    """
    choice, projects = choose_wheels(request, manifest, survey, context)
    wheels = tuple(wheel for wheel in choice.lock.wheels if wheel.project in projects)
    install = wheels
    keep: Tuple[LockedWheel, ...] = ()
    if destination.creates is None:
        install, keep = split_by_presence(wheels, survey, open_file)
    program = None
    if install:
        program = choose_program(
            request.program,
            survey,
            manifest.tools,
            context,
            oldest_pip=choice.lock.oldest_pip,
            creating=destination.creates is not None,
        )
    needed = _needed_bytes(manifest, install, program, whole)
    if destination.creates is not None and survey.bundled_pip is not None:
        needed += NEW_ENVIRONMENT_BYTES
    free = free_bytes_at(destination.creates or survey.paths["purelib"])
    findings = judge_destination(survey, destination, install, needed=needed, free=free)
    if destination.creates is None and install:
        findings += judge_conflicts(survey, install, context, pip_that_judges(survey, _carried_pip(program, proved)))
    error = preflight_error(findings)
    if error is not None:
        raise error
    return Plan(
        request=request,
        manifest=manifest,
        lock=choice.lock,
        chosen=choice.why,
        tolerated=choice.tolerated,
        destination=destination,
        survey=survey,
        install=install,
        keep=keep,
        program=program,
        needed_bytes=needed,
        findings=findings,
    )


def _carried_pip(program: Optional[Program], proved: Callable[[str], Optional[str]]) -> Optional[str]:
    """Give the path of the pip that travels along, where it was chosen and is what it should be."""
    tool = None if program is None else program.tool
    return None if tool is None or tool.name != "pip" else proved(tool.path)


def choose_wheels(
    request: Request, manifest: Manifest, survey: Survey, context: Context
) -> Tuple[Choice, FrozenSet[str]]:
    """Choose the lock, and the projects of it that the request needs."""
    reasons: Dict[str, Tuple[Misfit, ...]] = {}
    for lock in manifest.targets:
        held = {wheel.project for wheel in lock.wheels}
        asked = [project for project in request.projects if project in held]
        reasons[lock.target] = misfits(lock, survey, closure_of(lock, asked)) + judge_accelerator(
            lock, survey.machine, manifest.drivers
        )
    choice = choose_lock(manifest.targets, reasons, survey, named=request.target)
    asked = list(request.projects) if context.wanted is None else list(context.wanted(choice.lock))
    return choice, closure_of(choice.lock, asked)


def _needed_bytes(
    manifest: Manifest,
    wheels: Tuple[LockedWheel, ...],
    program: Optional[Program],
    whole: Callable[[str], Optional[str]],
) -> int:
    """Sum what wheels take on their way into a destination, pieces joined, at the worst moment."""
    sizes = {file.path: file.size for file in manifest.files}
    unpacks = program is not None and program.name == "pip"
    if unpacks and program is not None:
        unpacks = version_numbers(program.version) < version_numbers(INSTALLS_WITHOUT_UNPACKING)
    return sum(
        wheel.installed_bytes * (2 if unpacks else 1) + (0 if whole(wheel.path) else sizes[wheel.path])
        for wheel in wheels
    )


def files_needed(plan: Plan) -> Tuple[BundleFile, ...]:
    """Name the files of the bundle that are read to carry a plan out."""
    needed = {wheel.path for wheel in plan.wheels}
    if plan.program is not None and plan.program.tool is not None:
        needed.add(plan.program.tool.path)
    return tuple(file for file in plan.manifest.files if file.path in needed)
