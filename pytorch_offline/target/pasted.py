"""A target from pasted texts: what nvidia-smi, ldd, os-release, uname and the like printed on a machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.glibc import find_distribution
from pytorch_offline.target import probe
from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.target.codec import accelerator_of
from pytorch_offline.target.devices import with_known_capabilities
from pytorch_offline.target.platforms import parse_platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytorch_offline.target.model import Accelerator, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Pasted:
    """What the texts say; ``learnt_from`` as in a target; ``notes`` is for people, about what is not used."""

    python_version: str | None
    platform: str | None
    glibc: str | None
    accelerator: Accelerator | None
    learnt_from: dict[str, str]
    notes: tuple[str, ...]


def parse_pasted(texts: Sequence[tuple[str, str]]) -> Pasted:
    """Read (source, text) pairs; what the texts do not say stays unknown.

    Raises:
        UsageError: ``nothing-recognised`` if no text holds anything that is known to be readable.
    """
    seen = [probe.parse_text(source, text) for source, text in texts]
    if all(item == probe.Observation(item.source) for item in seen):
        raise UsageError(
            "nothing-recognised",
            f"nothing that describes a machine was recognised in {', '.join(item.source for item in seen)}",
            hint="paste what these print: nvidia-smi; nvidia-smi --query-gpu=name,driver_version,compute_cap "
            "--format=csv; ldd --version; cat /etc/os-release; uname -m; python3 -V",
        )
    document, learnt = probe.merge_accelerator(seen)
    notes = [f"nvcc {item.nvcc} was shown; it says what compiles there, not what runs" for item in seen if item.nvcc]
    notes += contradictions(seen)
    python = next((item for item in seen if item.python), None)
    machine = next((item for item in seen if item.machine), None)
    libc = next((item for item in seen if item.libc), None)
    release = next((item for item in seen if item.distribution), None)
    glibc = f"{libc.libc[1]}" if libc and libc.libc else None
    musl = bool(libc and libc.libc and libc.libc[0] == "musl")
    if libc:
        learnt["libc"] = libc.source
    elif release and release.distribution:
        try:
            found = find_distribution(release.distribution)
        except UsageError as error:
            notes.append(error.message)
        else:
            musl = found.musl is not None
            version = found.musl or found.glibc
            glibc = ".".join(map(str, version)) if version else None
            learnt["libc"] = f"{release.source}: {found.name}"
            if found.python and not python:
                notes.append(f"the own Python of {found.name} is {found.python}")
    platform = None
    macos = next((item.macos for item in seen if item.macos), None)
    if machine:
        arch = machine.machine
        platform = f"macosx_{macos.replace('.', '_')}_{arch}" if macos else None
        platform = platform or (f"musllinux_{glibc.replace('.', '_')}_{arch}" if musl and glibc else f"linux_{arch}")
        learnt["marker_environment.platform_machine"] = machine.source
    if python:
        learnt["marker_environment.python_full_version"] = python.source
    return Pasted(
        python_version=python.python if python else None,
        platform=platform,
        glibc=None if musl else glibc,
        accelerator=accelerator_of(document),
        learnt_from=learnt,
        notes=tuple(notes),
    )


def contradictions(seen: Sequence[probe.Observation]) -> list[str]:
    """Say where texts disagree, as those of two machines do; the first is what counts."""
    notes = []
    for name, fact in (
        ("the driver is", "driver"),
        ("CUDA is", "cuda"),
        ("the C library is", "libc"),
        ("the distribution is", "distribution"),
        ("Python is", "python"),
        ("the machine is", "machine"),
    ):
        said = [(item.source, getattr(item, fact)) for item in seen if getattr(item, fact)]
        others = [(source, value) for source, value in said[1:] if value != said[0][1]]
        if others:
            listed = ", ".join(f"{_shown(value)} in {source}" for source, value in (said[0], *others))
            notes.append(f"the texts disagree: {name} {listed}; the first is taken")
    makers = {bool(device.gfx) for item in seen for device in item.devices}
    if len(makers) > 1 or (True in makers and any(item.driver for item in seen)):
        notes.append("the texts show NVIDIA and AMD devices; the NVIDIA ones are taken")
    return notes


def _shown(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else " ".join(value)


def target_of_pasted(pasted: Pasted, flags: TargetFlags) -> Target:
    """Make the target that texts and flags describe together; flags override the texts.

    Raises:
        UsageError: ``target-incomplete`` naming everything that neither says and no target can be without; or what
            ``build_target`` objects to.
    """
    distribution = find_distribution(flags.preset) if flags.preset else None
    python = flags.python_version or pasted.python_version or (distribution.python if distribution else None)
    platform = flags.platform or (None if flags.preset else pasted.platform)
    stated = parse_platform(platform) if platform else None
    glibc = flags.glibc
    if glibc is None and not distribution and (stated is None or (stated.system == "Linux" and stated.libc is None)):
        glibc = pasted.glibc
    may_need_libc = stated is None or (stated.system == "Linux" and stated.libc is None)
    unknown = {}
    if python is None:
        unknown["the Python version"] = "--python-version, or the output of python3 -V"
    if platform is None and not distribution:
        unknown["the platform"] = "--platform, or the output of uname -m"
    if may_need_libc and glibc is None and not distribution:
        unknown["the C library"] = "--glibc or --preset, or the output of ldd --version"
    if unknown:
        noticed = {"noticed": "; ".join(pasted.notes)} if pasted.notes else {}
        raise UsageError(
            "target-incomplete",
            f"the texts do not say {', '.join(unknown)}, which no target can be without",
            facts=unknown | noticed,
            hint="add what is missing, or run the file of `pytorch-offline detect --standalone` on the machine",
        )
    spoken = replace(flags, python_version=python, platform=platform, glibc=glibc)
    accelerator_facts = {key: said for key, said in pasted.learnt_from.items() if key.startswith("accelerator.")}
    target = build_target(spoken, accelerator=pasted.accelerator, learnt_from=accelerator_facts)
    of_texts = {
        "marker_environment.python_full_version": flags.python_version is None,
        "marker_environment.platform_machine": flags.platform is None and not flags.preset,
        "libc": target.libc is not None and flags.glibc is None and (glibc is not None or platform != flags.platform),
    }
    own = {key: pasted.learnt_from[key] for key, holds in of_texts.items() if holds and key in pasted.learnt_from}
    return with_known_capabilities(replace(target, learnt_from=MappingProxyType({**target.learnt_from, **own})))
