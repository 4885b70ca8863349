"""Which lock of a bundle fits a destination: rule by rule why one does not, and which of several is the better one."""

import re
from typing import Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import LockedWheel, TargetLock
from pytorch_offline.errors import UnsatisfiableError, UsageError
from pytorch_offline.installer.model import Misfit, Survey, version_numbers

# How far away a lock is that fails by a rule: another machine, Python or driver. The nearest lock is told first.
DISTANCES = {
    "platform": 32,
    "implementation": 16,
    "python": 8,
    "tags": 8,
    "glibc": 4,
    "markers": 2,
    "device": 1,
    "driver": 1,
    "requirement": 1,
}
# What a user may overrule by naming the target: whoever prepares an image for another machine has not its GPU.
OVERRULED_BY_NAME = ("driver", "device")
# The names of glibc's ladder before PEP 600.
LADDER_BEFORE_2014 = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


def misfits(lock: TargetLock, survey: Survey, projects: FrozenSet[str]) -> Tuple[Misfit, ...]:
    """Say what keeps a lock from fitting, beside the driver and the devices (``accelerator_fit.py``).

    Args:
        lock: the lock.
        survey: the destination, as it describes itself.
        projects: those of the lock that are wanted.
    """
    markers: Mapping[str, str] = survey.machine["marker_environment"]
    wheels = [wheel for wheel in lock.wheels if wheel.project in projects]
    found = _tag_misfits(lock, wheels, survey)
    if not found:
        found += _python_misfits(wheels, markers["python_full_version"])
    glibc = _glibc_misfit(lock, survey)
    if glibc is not None and not any(misfit.rule == "glibc" for misfit in found):
        found.append(glibc)
    if not found:  # else these only repeat that it is another machine's lock
        found += _marker_misfits(lock, markers)
        found += _open_requirements(lock, survey, projects)
    return tuple(found)


def _tag_misfits(lock: TargetLock, wheels: Sequence[LockedWheel], survey: Survey) -> List[Misfit]:
    """Group the wheels whose tags this interpreter has not by what is in the way."""
    tags = frozenset(survey.machine["compatible_tags"])
    pythons = frozenset(tag.rsplit("-", 1)[0] for tag in tags)
    markers: Mapping[str, str] = survey.machine["marker_environment"]
    by_rule: Dict[str, List[LockedWheel]] = {}
    for wheel in wheels:
        if tags.isdisjoint(wheel.tags):
            fitting = [tag for tag in wheel.tags if tag.rsplit("-", 1)[0] in pythons]
            if not fitting:
                other = lock.implementation != markers["platform_python_implementation"]
                rule = "implementation" if other else "tags" if _is_python(lock, markers) else "python"
            elif markers["platform_system"] == "Linux" and any(glibc_of_tag(t, markers) for t in fitting):
                rule = "glibc"
            else:
                rule = "platform"
            by_rule.setdefault(rule, []).append(wheel)
    return [Misfit(rule, _words_for(rule, lock, found, survey)) for rule, found in by_rule.items()]


def _is_python(lock: TargetLock, markers: Mapping[str, str]) -> bool:
    return lock.python == markers["python_version"]


def _words_for(rule: str, lock: TargetLock, wheels: Sequence[LockedWheel], survey: Survey) -> str:
    markers: Mapping[str, str] = survey.machine["marker_environment"]
    here = "here is {} {}".format(markers["platform_python_implementation"], markers["python_full_version"])
    files = wheels[0].path.rsplit("/", 1)[-1] + (f" and {len(wheels) - 1} more" if len(wheels) > 1 else "")
    if rule in ("implementation", "python"):
        return f"is for {lock.implementation} {lock.python}, {here} ({files})"
    if rule == "tags":
        return f"{files}: made for another ABI of Python {lock.python}, {here}"
    if rule == "platform":
        machine = "{} on {}".format(markers["platform_system"], markers["platform_machine"])
        return f"is for {lock.system} on {lock.machine}, here is {machine} ({files})"
    needed = [min(filter(None, (glibc_of_tag(tag, markers) for tag in wheel.tags)), default=(0, 0)) for wheel in wheels]
    return "needs glibc {}.{}, here is {} ({})".format(*max(needed), _libc_words(survey), files)


def _libc_words(survey: Survey) -> str:
    libc: Optional[Mapping[str, str]] = survey.machine.get("libc")
    return "{name} {version}".format(**libc) if libc else "none that is known"


def glibc_of_tag(tag: str, markers: Mapping[str, str]) -> Optional[Tuple[int, int]]:
    """Return the glibc that a tag promises to be content with on this architecture, None if it promises none."""
    platform = tag.rsplit("-", 1)[-1]
    machine = markers["platform_machine"]
    if not platform.endswith("_" + machine):
        return None
    name = platform[: -len(machine) - 1]
    match = re.match(r"manylinux_([0-9]+)_([0-9]+)$", name)
    return (int(match.group(1)), int(match.group(2))) if match else LADDER_BEFORE_2014.get(name)


def _glibc_misfit(lock: TargetLock, survey: Survey) -> Optional[Misfit]:
    """Compare what the lock's libraries really need, whatever their tags say."""
    libc: Optional[Mapping[str, str]] = survey.machine.get("libc")
    if lock.glibc is None or libc is None or libc["name"] != "glibc":
        return None
    if version_numbers(libc["version"]) >= version_numbers(lock.glibc):
        return None
    return Misfit("glibc", f"needs glibc {lock.glibc}, here is {_libc_words(survey)}")


def _python_misfits(wheels: Sequence[LockedWheel], python: str) -> List[Misfit]:
    """Judge Requires-Python: a lock of pure wheels may have been made for another Python."""
    return [
        Misfit("python", f"{wheel.project} {wheel.version} asks for Python {wheel.requires_python}, here is {python}")
        for wheel in wheels
        if wheel.requires_python and not admits_python(wheel.requires_python, python)
    ]


def admits_python(requirement: str, python: str) -> bool:
    """Judge a Requires-Python of METADATA, whose versions are Pythons' and so plain numbers.

    What is not understood is taken for a refusal. The clauses are PEP 440's, on releases alone: a pre-release of Python
    counts as its release.
    """
    here = version_numbers(python)
    return all(_admits(clause.strip(), here) for clause in requirement.split(",") if clause.strip())


def _admits(clause: str, here: Tuple[int, ...]) -> bool:
    match = re.match(r"(~=|===?|!=|<=?|>=?)\s*v?([0-9]+(?:\.[0-9]+)*)(\.\*)?$", clause)
    if not match:
        return False
    operator, numbers, prefix = match.group(1), version_numbers(match.group(2)), match.group(3)
    if prefix:
        same = here[: len(numbers)] == numbers
        return same if operator in ("==", "===") else not same if operator == "!=" else False
    width = max(len(here), len(numbers))
    ours, theirs = (parts + (0,) * (width - len(parts)) for parts in (here, numbers))
    if operator == "~=":
        return ours >= theirs and here[: len(numbers) - 1] == numbers[:-1]
    return {
        "==": ours == theirs,
        "===": ours == theirs,
        "!=": ours != theirs,
        "<": ours < theirs,
        "<=": ours <= theirs,
        ">": ours > theirs,
        ">=": ours >= theirs,
    }[operator]


def _marker_misfits(lock: TargetLock, markers: Mapping[str, str]) -> List[Misfit]:
    return [
        Misfit("markers", "holds with {} {}, here it is {}".format(name, " or ".join(values[:5]), markers.get(name)))
        for name, values in sorted(lock.markers.items())
        if markers.get(name) not in values
    ]


def _open_requirements(lock: TargetLock, survey: Survey, projects: FrozenSet[str]) -> List[Misfit]:
    return [
        Misfit("requirement", f"{missing.required_by} needs {missing.requirement}, which is missing")
        for missing in lock.missing
        if missing.required_by in projects and missing.project not in survey.distributions
    ]


class Choice(NamedTuple):
    """The lock that was chosen, why it and no other (empty if no other fitted), and what the user overruled."""

    lock: TargetLock
    why: str = ""
    tolerated: Tuple[Misfit, ...] = ()


def choose_lock(
    locks: Sequence[TargetLock], reasons: Mapping[str, Sequence[Misfit]], survey: Survey, *, named: Optional[str]
) -> Choice:
    """Choose the lock to install from.

    Args:
        locks: those of the bundle.
        reasons: the misfits of each, by target.
        survey: the destination.
        named: the target that the user named, which may ask for another driver or device than is found.

    Raises:
        UsageError: ``unknown-target`` if no lock has the name given, ``several-locks-fit`` if the choice is open.
        UnsatisfiableError: ``no-lock-fits`` with the reasons per lock, the nearest first.
    """
    if named is not None and named not in [lock.target for lock in locks]:
        facts = {"targets": ", ".join(lock.target for lock in locks)}
        raise UsageError("unknown-target", f"there is no lock for target {named!r}", facts=facts)
    candidates = [lock for lock in locks if named in (None, lock.target)]
    tolerated = OVERRULED_BY_NAME if named is not None else ()
    fitting = [lock for lock in candidates if all(misfit.rule in tolerated for misfit in reasons[lock.target])]
    if not fitting:
        candidates.sort(key=lambda lock: (distance(reasons[lock.target]), lock.target))
        raise UnsatisfiableError(
            "no-lock-fits",
            f"the lock of target {named} does not fit this machine" if named else "no lock here fits this machine",
            facts={f"target {lock.target}": "; ".join(map(str, reasons[lock.target])) for lock in candidates},
            hint=remedy_for(candidates, reasons, survey),
        )
    if len({lock.wheels for lock in fitting}) == 1:
        return Choice(fitting[0], tolerated=tuple(reasons[fitting[0].target]))
    better = better_of(fitting, survey)
    if better is None:
        raise UsageError(
            "several-locks-fit",
            "several locks fit this machine, and they name different files",
            facts={f"target {lock.target}": in_short(lock) for lock in fitting},
            hint="choose one with --target NAME",
        )
    return better


def remedy_for(candidates: Sequence[TargetLock], reasons: Mapping[str, Sequence[Misfit]], survey: Survey) -> str:
    """Say what to do where no lock fits: another Python where that is all, else what to fetch on the other side."""
    markers: Mapping[str, str] = survey.machine["marker_environment"]
    kind = (markers["platform_system"], markers["platform_machine"])  # another Python's tags hide another machine's
    same_kind = [lock for lock in candidates if (lock.system, lock.machine) == kind]
    only_python = [lock for lock in same_kind if {misfit.rule for misfit in reasons[lock.target]} == {"python"}]
    # Requires-Python alone, of a lock of pure wheels, may be what fails: then it is for the Python that runs this.
    pythons = list(dict.fromkeys(lock.python for lock in only_python if lock.python != markers["python_version"]))
    libc = "" if survey.machine.get("libc") is None else f", {_libc_words(survey)}"
    here = "{} {} on {} {}{}".format(
        markers["platform_python_implementation"],
        markers["python_version"],
        markers["platform_system"],
        markers["platform_machine"],
        libc,
    )
    bring = f"on the connected machine fetch for this one ({here}) and write the bundle anew"
    if not pythons:
        return bring
    return "name a Python {} of this machine: --python EXE (with --venv: its base); or {}".format(
        " or ".join(pythons), bring
    )


def distance(reasons: Sequence[Misfit]) -> int:
    """Say how far a lock is from fitting."""
    return sum(DISTANCES[rule] for rule in {misfit.rule for misfit in reasons})


def better_of(fitting: Sequence[TargetLock], survey: Survey) -> Optional[Choice]:
    """Choose among locks that differ in nothing but what torch computes on, where this machine decides it."""
    if len({torch_release(lock) for lock in fitting}) != 1 or torch_release(fitting[0]) is None:
        return None
    accelerator: Optional[Mapping[str, object]] = survey.machine.get("accelerator")
    kind = str(accelerator["kind"]) if accelerator else "none"
    for_cpu = [lock for lock in fitting if lock.backend == "cpu"]
    for_device = [lock for lock in fitting if lock.backend not in (None, "cpu")]
    if kind == "none" and len(for_cpu) == 1:
        return Choice(for_cpu[0], f"{for_cpu[0].target}: no GPU was found here, and it is the one for the CPU alone")
    if kind != "none" and len(for_device) == 1:
        (lock,) = for_device
        return Choice(lock, f"{lock.target}: a GPU is here, and it is the one that uses it ({lock.backend})")
    return None


def torch_release(lock: TargetLock) -> Optional[str]:
    """Return the version of a lock's torch without its local part, None without torch."""
    for wheel in lock.wheels:
        if wheel.project == "torch":
            return wheel.version.split("+")[0]
    return None


def in_short(lock: TargetLock) -> str:
    """Describe a lock in a few words."""
    torch = [wheel.version for wheel in lock.wheels if wheel.project == "torch"]
    return f"{len(lock.wheels)} wheels" + (f", torch {torch[0]}" if torch else "")


def closure_of(lock: TargetLock, projects: Sequence[str]) -> FrozenSet[str]:
    """Name the projects of a lock that some of them need, themselves among them; all if none is named.

    Raises:
        UnsatisfiableError: ``not-in-lock``.
    """
    held = {wheel.project: wheel for wheel in lock.wheels}
    absent = [project for project in projects if project not in held]
    if absent:
        raise UnsatisfiableError(
            "not-in-lock",
            f"the lock of target {lock.target} does not hold what is asked for",
            facts={project: f"you ask for {project}, which is missing" for project in absent},
            hint="fetch it on the connected machine, for the same target",
        )
    needed = set(projects or held)
    agenda = list(needed)
    while agenda:
        new = set(held[agenda.pop()].needs) & set(held) - needed
        needed |= new
        agenda.extend(new)
    return frozenset(needed)
