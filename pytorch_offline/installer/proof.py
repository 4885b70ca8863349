"""Judge an installation by what was seen of it: values in, findings out.

Four witnesses: the versions in the destination against the lock; every installed file against its RECORD and against
the RECORD of the wheel whose hash was checked; the requirements of everything there, before and after
(``conflicts.py``); and torch itself, which is imported and computes (``torch_trial.py``).
"""

from typing import Iterable, List, Mapping, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import LockedWheel
from pytorch_offline.installer.accelerator_fit import kind_of_backend
from pytorch_offline.installer.hashed_wheels import HashedWheel
from pytorch_offline.installer.model import Distribution, Finding, same_version
from pytorch_offline.installer.record_files import keeping_their_place
from pytorch_offline.installer.torch_report import TorchReport, TrialStep

# A broken RECORD can name every file of torch; the first few tell the story, the number tells the rest.
MAX_FILES_NAMED = 5


def public_version(text: str) -> str:
    """Leave a version's local part away."""
    return text.split("+", 1)[0]


def judge_versions(wheels: Iterable[LockedWheel], distributions: Mapping[str, Distribution]) -> Tuple[Finding, ...]:
    """Compare the installed versions with the lock, exactly: ``2.4.0+cpu`` is not ``2.4.0``."""
    findings = []
    for wheel in wheels:
        there = distributions.get(wheel.project)
        if there is None or not same_version(there.version, wheel.version):
            is_there = there.version if there is not None else "not installed"
            findings.append(Finding("versions", wheel.project, f"is {is_there}, the lock says {wheel.version}"))
    return tuple(findings)


def judge_files(hashed: HashedWheel, *, kept: bool) -> Tuple[Finding, ...]:
    """Compare a distribution's installed files with its RECORD and with the wheel's.

    Args:
        hashed: the hashes on disk, and those of the verified wheel's RECORD.
        kept: it was there before in this very version and was left alone; what cannot be proven is then only told.
    """
    problems = [f"{path}: {detail}" for path, detail in hashed.problems]
    named = {path for path, _ in hashed.problems}
    for path, expected in sorted(keeping_their_place(hashed.expected).items()):
        found = hashed.on_disk.get(path)
        if found is None and path not in named:
            problems.append(f"{path}: is in the wheel and not in the installed RECORD")
        elif found is not None and found != expected and found.partition("=")[0] == expected.partition("=")[0]:
            problems.append(f"{path}: has {found}, the wheel has {expected}")
    if not problems and not hashed.expected:
        detail = "was compared with its installed RECORD alone: the bundle at hand does not hold its wheel"
        return (Finding("files", hashed.project, detail, fails=False),)
    if not problems:
        return ()
    more = f" (and {len(problems) - MAX_FILES_NAMED} more)" if len(problems) > MAX_FILES_NAMED else ""
    detail = "; ".join(problems[:MAX_FILES_NAMED]) + more
    if kept:
        detail = f"was there before in the locked version and was left alone: {detail}"
    return (Finding("files", hashed.project, detail, fails=not kept),)


def judge_change(before: Optional[Sequence[str]], after: Optional[Sequence[str]]) -> Tuple[Finding, ...]:
    """Tell the conflicts that an installation brought, which fail, from those that were there before.

    Args:
        before: one sentence for each, before anything was changed; None where they could not be judged.
        after: the same now.
    """
    if after is None:
        detail = "were not looked for: nobody there can judge requirements (no pip)"
        return (Finding("conflicts", "", detail, fails=False),)
    known = set(after if before is None else before)
    return tuple(
        Finding("conflicts", "there before" if line in known else "new", line, fails=line not in known)
        for line in after
    )


def judge_torch(
    report: TorchReport,
    locked: str,
    backend: Optional[str],
    *,
    has_device: bool,
    tolerated: bool,
) -> Tuple[Finding, ...]:
    """Compare what torch says and computes with the lock and with the machine.

    A wheel without a local version may be built for CUDA and say so (the default index's Linux builds report
    ``2.4.0+cu121``), so then only the public versions are compared. A GPU that cannot be used is a failure only where
    the machine has one of that kind and the user did not ask for a build that does not fit it.

    Args:
        report: of the trial.
        locked: the version in the lock.
        backend: that the lock's torch was built for.
        has_device: whether the machine has a device of that kind.
        tolerated: whether the user named the lock although driver or device do not fit it.
    """
    kind = kind_of_backend(backend)
    device_fails = has_device and not tolerated
    findings: List[Finding] = []
    if report.ended:
        findings.append(Finding("torch", "process", f"the trial {report.ended}"))
    for step in report.steps:
        on_device = is_device_step(step)
        if step.error:
            findings.append(Finding("torch", step.name, first_words(step.error), fails=not on_device or device_fails))
        elif step.name == "mps" and step.facts.get("built") and not step.facts.get("available"):
            findings.append(Finding("torch", "mps", "Apple's GPU is not available", fails=False))
    said = report.version
    if said is not None and not says_version(said, locked):
        findings.append(Finding("torch", "version", f"torch.__version__ is {said}, the lock says {locked}"))
    if said is not None and kind != "none":
        findings.extend(_judge_devices(report, kind, has_device=has_device, fails=device_fails))
    return tuple(findings)


def is_device_step(step: TrialStep) -> bool:
    """Whether a step is about a device beside the CPU."""
    return step.name.partition(":")[0] in ("cuda", "xpu", "mps") or " on cuda" in step.name


def says_version(said: str, locked: str) -> bool:
    """Whether ``torch.__version__`` is the lock's; a lock without a local part leaves it open."""
    return same_version(said, locked) or ("+" not in locked and same_version(public_version(said), locked))


def _judge_devices(report: TorchReport, kind: str, *, has_device: bool, fails: bool) -> Iterable[Finding]:
    imported = report.step("import")
    built = {"cuda": "cuda", "rocm": "hip"}.get(kind)
    if imported is not None and built is not None and not imported.facts.get(built):
        yield Finding("torch", kind, f"the lock is for {kind}, and this torch was not built for it")
        return
    name = "xpu" if kind == "xpu" else "cuda"
    step = report.step(name)
    if step is None or step.error:
        return  # told already, or not come to
    if not step.facts.get("available"):
        where = "though this machine has a device for it" if has_device else "on a machine without a device for it"
        yield Finding("torch", name, f"torch sees no device {where}", fails=fails)


def first_words(text: str) -> str:
    """Give a message in one line of a readable length."""
    line = " ".join(text.split())
    return line if len(line) <= 500 else line[:500] + "…"  # noqa: PLR2004  (four lines of a terminal)
