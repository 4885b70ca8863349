"""A target from pasted texts: what nvidia-smi, ldd, os-release, uname, pip and the like printed on a machine.

``parse_pasted`` reads texts into facts; ``target_of_pasted`` makes a target of them and of the flags, or says by name
what is still missing. The readers of the single shapes are ``probe``, ``gpu_texts``, ``system_texts`` and
``pip_reports``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.glibc import Distribution, find_distribution
from pytorch_offline.target import probe
from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.target.codec import accelerator_of, libc_of_tags
from pytorch_offline.target.contradictions import contradictions, repetitions
from pytorch_offline.target.devices import with_known_capabilities
from pytorch_offline.target.gpu_texts import GpuFacts, failures, parse_gpus
from pytorch_offline.target.model import Target
from pytorch_offline.target.pip_reports import InterpreterReport, parse_interpreter_report
from pytorch_offline.target.platforms import parse_platform
from pytorch_offline.target.system_texts import SystemFacts, parse_system

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from packaging.tags import Tag

    from pytorch_offline.target.model import Accelerator

_LONGEST_LINE = 1_000
_MOST_LINES = 20_000  # nvidia-smi -q prints some 250 for each GPU
_WHAT_TO_PASTE = (
    "paste what these print: nvidia-smi; nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv; "
    "ldd --version; cat /etc/os-release; uname -m; python3 -V; pip debug --verbose"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pasted:
    """What the texts say; ``learnt_from`` as in a target; ``notes`` is for people, about what is not used.

    ``system`` is as ``platform.system()`` spells it, ``machine`` as tags do; ``platform`` is what both make with the
    version that macOS needs. ``tags`` and ``markers`` are those that an interpreter stated itself.
    """

    python_version: str | None
    free_threaded: bool
    system: str | None
    machine: str | None
    platform: str | None
    glibc: str | None
    pip: Version | None
    tags: tuple[Tag, ...] | None
    markers: Mapping[str, str] | None
    python_from: str | None
    accelerator: Accelerator | None
    learnt_from: dict[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Texts:
    """The texts as read: one entry for each, in the order given; ``repeated`` are notes on single texts."""

    sources: tuple[str, ...]
    repeated: tuple[str, ...]
    systems: tuple[SystemFacts, ...]
    gpus: tuple[GpuFacts, ...]
    reports: tuple[tuple[str, InterpreterReport], ...]


def _prose(text: str) -> str:
    """Give what the readers of prose are to see of a text: no JSON, no line longer than any tool prints.

    A JSON report quotes what other projects write of themselves, which says nothing of the machine. The bounds keep
    the time in bounds in which a file that is something else altogether is found to say nothing.
    """
    if text.lstrip().startswith("{"):
        return ""
    return "\n".join(line[:_LONGEST_LINE] for line in text.split("\n", _MOST_LINES)[:_MOST_LINES])


def _read(texts: Sequence[tuple[str, str]]) -> _Texts:
    texts = [(source, text.replace("\r\n", "\n").replace("\r", "\n")) for source, text in texts]
    reports = [(source, report) for source, text in texts if (report := parse_interpreter_report(text))]
    prose = [(source, _prose(text)) for source, text in texts]
    return _Texts(
        tuple(source for source, _ in texts),
        tuple(note for source, text in prose for note in (*repetitions(source, text), *failures(source, text))),
        tuple(parse_system(source, text) for source, text in prose),
        tuple(parse_gpus(source, text) for source, text in prose),
        tuple(reports),
    )


def parse_pasted(texts: Sequence[tuple[str, str]]) -> Pasted:
    """Read (source, text) pairs; what the texts do not say stays unknown.

    Raises:
        UsageError: ``nothing-recognised`` if no text holds anything that is known to be readable.
    """
    read = _read(texts)
    if (
        not read.reports
        and all(item == SystemFacts(source=item.source) for item in read.systems)
        and all(item == GpuFacts(nvidia=probe.Observation(item.nvidia.source)) for item in read.gpus)
    ):
        raise UsageError(
            "nothing-recognised",
            f"nothing that describes a machine was recognised in {', '.join(read.sources)}",
            hint=_WHAT_TO_PASTE,
        )
    learnt: dict[str, str] = {}
    notes = _notes(read)
    system = _system(read)
    accelerator = _accelerator(read, system, learnt, notes)
    python, free_threaded = _python(read, learnt)
    libc = _libc(read, learnt, notes) if system in {None, "Linux"} else None
    machine = _machine(read, learnt)
    if system == "Linux" and machine == "arm64":  # as dpkg and Docker spell it
        machine = "aarch64"
    macos = next((item.macos for item in read.systems if item.macos), None)
    report = next((report for _, report in read.reports if report.tags), None)
    markers = next((report.markers for _, report in read.reports if report.markers), None)
    pips = [report.pip for _, report in read.reports] + [_version(item.pip) for item in read.systems]
    return Pasted(
        python_version=python,
        free_threaded=free_threaded,
        system=system,
        machine=machine,
        platform=_platform(system, machine, macos, libc),
        glibc=libc[1] if libc and libc[0] == "glibc" else None,
        pip=next((pip for pip in pips if pip), None),
        tags=report.tags if report else None,
        markers=(report.markers if report else None) or markers,
        python_from="conda" if any(item.conda and item.python for item in read.systems) else None,
        accelerator=accelerator,
        learnt_from=learnt,
        notes=tuple(notes),
    )


def _notes(read: _Texts) -> list[str]:
    compilers = [item.nvcc for item in read.systems if item.nvcc]
    notes = [f"nvcc {version} was shown; it says what compiles there, not what runs" for version in compilers]
    notes += [*read.repeated, *contradictions(read.systems, read.gpus)]
    notes += [
        f"{source} holds only the first tags; paste the whole output of pip debug --verbose"
        for source, report in read.reports
        if report.cut
    ]
    if any(item.pypy for item in read.systems):
        notes.append("the texts show a PyPy; run the file of `pytorch-offline detect --standalone` with it")
    return notes


def _version(text: str | None) -> Version | None:
    try:
        return Version(text) if text else None
    except ValueError:
        return None


def _system(read: _Texts) -> str | None:
    """Say which system it is: Linux where anything speaks of it, for nvidia-smi.exe may be run from WSL."""
    said = [item.system for item in read.systems if item.system]
    said += [report.markers["platform_system"] for _, report in read.reports if report.markers]
    if any(item.nvidia.tegra or item.tegra for item in read.gpus):
        said.append("Linux")
    return "Linux" if "Linux" in said else said[0] if said else None


def _python(read: _Texts, learnt: dict[str, str]) -> tuple[str | None, bool]:
    """Find the fullest version that is said, and whether it is a free-threaded build."""
    said = [(source, report.markers["python_full_version"], False) for source, report in read.reports if report.markers]
    said += [(item.source, item.python, item.free_threaded) for item in read.systems if item.python and not item.pypy]
    if not said:
        return None, False
    first = said[0][1]
    source, python, _ = max(said, key=lambda item: (item[1].startswith(first), len(item[1])))
    learnt["marker_environment.python_full_version"] = source
    return python.removesuffix("+"), any(free for _, version, free in said if version.startswith(first))


def _machine(read: _Texts, learnt: dict[str, str]) -> str | None:
    said = [(item.source, item.machine) for item in read.systems if item.machine]
    said += [(source, report.markers["platform_machine"]) for source, report in read.reports if report.markers]
    if not said:
        return None
    learnt["marker_environment.platform_machine"] = said[0][0]
    return {"AMD64": "x86_64", "ARM64": "arm64"}.get(said[0][1], said[0][1])


def _libc(read: _Texts, learnt: dict[str, str], notes: list[str]) -> tuple[str, str] | None:
    """Find the C library: as a text says it, as tags imply it, or as the distribution has it."""
    for item in read.systems:
        if item.libc:
            learnt["libc"] = item.source
            return item.libc
    for source, report in read.reports:
        if report.libc:
            learnt["libc"] = f"{source}: compatible tags"
            return report.libc.name, ".".join(map(str, report.libc.version))
    for item in read.systems:
        if found := _distribution(item, notes):
            learnt["libc"] = f"{item.source}: {found.name}" + (", at least" if found.at_least else "")
            if found.python and not any(other.python for other in read.systems):
                notes.append(f"the own Python of {found.name} is {found.python}")
            return ("musl" if found.musl else "glibc"), ".".join(map(str, found.musl or found.glibc or ()))
    return None


def _distribution(system: SystemFacts, notes: list[str]) -> Distribution | None:
    """Look the distribution up by each of its names; a note if none is known."""
    unknown: UsageError | None = None
    for name in system.distributions:
        try:
            return find_distribution(name)
        except UsageError as error:
            unknown = unknown or error
    if unknown:
        notes.append(unknown.message)
    return None


def _platform(system: str | None, machine: str | None, macos: str | None, libc: tuple[str, str] | None) -> str | None:
    if machine is None or (system is None and machine == "arm64"):  # so spelt by macOS, and by Debian's packages
        return None
    if system == "Windows":
        return {"x86_64": "win_amd64", "arm64": "win_arm64", "aarch64": "win_arm64"}.get(machine)
    if system == "Darwin":
        number = re.match(r"([0-9]+)(?:\.([0-9]+))?", macos or "")
        return f"macosx_{number[1]}_{number[2] or 0}_{machine}" if number else None
    if libc and libc[0] == "musl":
        return f"musllinux_{libc[1].replace('.', '_')}_{machine}"
    return f"linux_{machine}"


def _accelerator(read: _Texts, system: str | None, learnt: dict[str, str], notes: list[str]) -> Accelerator | None:
    """Merge what all texts say of GPUs; an NVIDIA one is taken before AMD's, AMD's before Intel's."""
    for source, report in read.reports:
        if report.accelerator:
            learnt["accelerator.kind"] = source
            return accelerator_of(dict(report.accelerator))
    seen = [item.nvidia for item in read.gpus]
    seen += [probe.Observation(item.nvidia.source, devices=item.amd) for item in read.gpus if _has_gfx(item.amd)]
    document, said = probe.merge_accelerator(seen)
    if document is None:
        document, said = _without_gfx(read.gpus)
    if document is None:
        return None
    learnt.update(said)
    windows_beside_linux = system == "Linux" and any(item.system == "Windows" for item in read.systems)
    if document.get("driver") and (windows_beside_linux or any(item.wsl for item in read.systems)):
        document["driver_system"] = "Windows"
    if any(item.tegra for item in read.gpus) and "l4t" not in document:
        notes.append("the kernel is that of a Jetson; cat /etc/nv_tegra_release says which release it is")
    return accelerator_of(document)


def _has_gfx(devices: tuple[probe.Device, ...]) -> bool:
    return any(device.gfx for device in devices)


def _without_gfx(gpus: Sequence[GpuFacts]) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """Describe AMD's devices that are known by name alone, Intel's, or a Jetson of which only the kernel is known."""
    for item in gpus:
        source = item.nvidia.source
        learnt = {"accelerator.kind": source, "accelerator.devices": source}
        if item.amd:
            return {"kind": "rocm", "devices": [{"name": device.name} for device in item.amd]}, learnt
        if item.intel:
            return {"kind": "xpu", "devices": [{"name": name} for name in item.intel]}, learnt
        if item.tegra:
            return {"kind": "cuda", "devices": []}, {"accelerator.kind": source}
    return None, {}


def target_of_pasted(pasted: Pasted, flags: TargetFlags) -> Target:
    """Make the target that texts and flags describe together; flags override the texts.

    Raises:
        UsageError: ``target-incomplete`` naming everything that neither says and no target can be without; or what
            ``build_target`` objects to.
    """
    if pasted.tags and pasted.markers:
        return with_known_capabilities(_stated_target(pasted, pasted.tags, pasted.markers, flags))
    spoken = _spoken(pasted, flags)
    accelerator_facts = {key: said for key, said in pasted.learnt_from.items() if key.startswith("accelerator.")}
    target = build_target(spoken, accelerator=pasted.accelerator, learnt_from=accelerator_facts)
    of_texts = {
        "marker_environment.python_full_version": flags.python_version is None,
        "marker_environment.platform_machine": flags.platform is None and not flags.preset,
        "libc": target.libc is not None
        and flags.glibc is None
        and not flags.preset
        and (spoken.glibc is not None or spoken.platform != flags.platform),
    }
    own = {key: pasted.learnt_from[key] for key, holds in of_texts.items() if holds and key in pasted.learnt_from}
    markers = dict(target.marker_environment)
    if pasted.markers and flags.python_version is flags.platform is flags.preset is None:
        markers = dict(pasted.markers)
    return with_known_capabilities(
        replace(
            target,
            marker_environment=MappingProxyType(markers),
            pip=pasted.pip if flags.python_version is None else None,
            python_from=pasted.python_from if flags.python_version is None else None,
            learnt_from=MappingProxyType(dict(sorted({**target.learnt_from, **own}.items()))),
        )
    )


def _stated_target(pasted: Pasted, tags: tuple[Tag, ...], markers: Mapping[str, str], flags: TargetFlags) -> Target:
    """Make a target of the tags and markers that an interpreter stated itself, over which the flags go."""
    base = Target(
        name="pasted",
        marker_environment=markers,
        tags=tags,
        libc=libc_of_tags(tags),
        pip=pasted.pip,
        accelerator=pasted.accelerator,
        python_from=pasted.python_from,
        learnt_from=MappingProxyType(pasted.learnt_from | {"compatible_tags": "the interpreter"}),
    )
    return base if flags == TargetFlags() else build_target(flags, base)


def _spoken(pasted: Pasted, flags: TargetFlags) -> TargetFlags:
    """Fill the flags up with what the texts say, or name everything that is missing."""
    distribution = find_distribution(flags.preset) if flags.preset else None
    python = flags.python_version or pasted.python_version or (distribution.python if distribution else None)
    platform = flags.platform or (None if flags.preset else pasted.platform)
    if distribution and not distribution.arch and not flags.platform and pasted.system in {None, "Linux"}:
        platform = f"linux_{pasted.machine}" if pasted.machine else None  # whichever the texts say; else the common one
    stated = parse_platform(platform) if platform else None
    may_need_libc = stated is None or (stated.system == "Linux" and stated.libc is None)
    glibc = flags.glibc or (pasted.glibc if may_need_libc and not distribution else None)
    unknown: dict[str, str] = {}
    if python is None:
        unknown["the Python version"] = "--python-version, or the output of python3 -V"
    if pasted.markers and pasted.markers["implementation_name"] != "cpython" and not flags.python_version:
        unknown["the tags"] = "the output of pip debug --verbose: they do not follow from the markers of this Python"
    if platform is None and not distribution:
        unknown |= _unknown_platform(pasted)
    if may_need_libc and glibc is None and not distribution and pasted.system in {None, "Linux"}:
        unknown["the C library"] = "--glibc or --preset, or the output of ldd --version"
    if unknown:
        noticed = {"noticed": "; ".join(pasted.notes)} if pasted.notes else {}
        raise UsageError(
            "target-incomplete",
            f"the texts do not say {', '.join(unknown)}, which no target can be without",
            facts=unknown | noticed,
            hint="add what is missing, or run the file of `pytorch-offline detect --standalone` on the machine",
        )
    free_threaded = flags.free_threaded or (pasted.free_threaded and not flags.abi and not flags.python_version)
    return replace(flags, python_version=python, platform=platform, glibc=glibc, free_threaded=free_threaded)


def _unknown_platform(pasted: Pasted) -> dict[str, str]:
    if pasted.system == "Windows":
        return {"the architecture": "--platform win_amd64 or win_arm64, or the output of systeminfo"}
    if pasted.system == "Darwin":
        if pasted.machine is None:
            return {"the architecture": "--platform macosx_14_0_arm64, or the output of uname -m"}
        return {"the version of macOS": "--platform macosx_14_0_arm64, or the output of sw_vers"}
    if pasted.system == "Linux":
        return {"the architecture": "--platform linux_x86_64 or linux_aarch64, or the output of uname -m"}
    return {"the platform": "--platform, or the output of uname -a"}
