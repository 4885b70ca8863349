"""A target from what the user says: flags, a preset, and what they override.

Nothing here looks at the machine that runs it. A fact that is needed and not given is asked for by the name of its
flag; two flags that contradict each other are an error, never a precedence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from packaging.version import Version

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.glibc import Distribution, find_distribution
from pytorch_offline.knowledge.gpus import find_gpu
from pytorch_offline.target.codec import safe_name
from pytorch_offline.target.devices import with_known_capabilities
from pytorch_offline.target.markers import cpython_marker_values, marker_environment
from pytorch_offline.target.model import Accelerator, AcceleratorKind, Device, Libc, Target
from pytorch_offline.target.platforms import EXAMPLES, Platform, parse_platform
from pytorch_offline.target.tags import cpython_target_tags, platforms_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from packaging.tags import Tag

_PYTHON = re.compile(r"3\.([0-9]{1,2})(?:\.([0-9]{1,3}(?:(?:a|b|rc)[0-9]+)?))?")
_ABI = re.compile(r"cp3(?P<minor>[0-9]+)(?P<free>t?)d?(?P<pymalloc>m?)")
_CAPABILITY = re.compile(r"(?:sm_?|compute_?)?([0-9]{1,2})\.?([0-9])[a-z]?")
_GLIBC = re.compile(r"2\.([0-9]{1,2})")
_OLDEST_PYTHON = (3, 6)  # the oldest whose tags and markers are described here; the probe runs on it too
_FIRST_FREE_THREADED = (3, 13)  # PEP 703


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFlags:
    """What the user says of a target, as text; ``None`` or empty is not said."""

    preset: str | None = None
    python_version: str | None = None
    abi: str | None = None
    free_threaded: bool = False
    platform: str | None = None
    glibc: str | None = None
    accelerator: str | None = None
    driver: str | None = None
    cuda: str | None = None
    gpus: tuple[str, ...] = ()
    compute_capabilities: tuple[str, ...] = ()
    gfx: tuple[str, ...] = ()

    @property
    def speaks_of_interpreter(self) -> bool:
        """Whether any flag describes the Python."""
        return bool(self.python_version or self.abi or self.free_threaded)

    @property
    def speaks_of_platform(self) -> bool:
        """Whether any flag describes the operating system."""
        return bool(self.platform or self.preset or self.glibc)

    @property
    def speaks_of_cuda(self) -> bool:
        """Whether any flag describes an NVIDIA accelerator."""
        return bool(self.driver or self.cuda or self.gpus or self.compute_capabilities)


def build_target(
    flags: TargetFlags,
    base: Target | None = None,
    *,
    accelerator: Accelerator | None = None,
    learnt_from: Mapping[str, str] | None = None,
) -> Target:
    """Make the target that the flags describe, over a base (a target file) where there is one.

    ``accelerator`` is what pasted texts say of it, with ``learnt_from``; flags override it.

    Of a Python given as ``3.10`` the full version is taken to be ``3.10.0``, as uv does: whatever requires-python
    admits for it holds for every later 3.10, and a marker on the full version rather asks for a package too many.

    Raises:
        UsageError: what is missing, contradictory or unreadable: ``python-not-given``, ``platform-not-given``,
            ``glibc-not-given``, ``contradiction``, ``bad-flag``, ``unknown-platform``, ``unknown-preset``,
            ``unknown-gpu``.
    """
    learnt = dict(base.learnt_from if base else {}) | dict(learnt_from or {})
    distribution = find_distribution(flags.preset) if flags.preset else None
    platform = None
    if base is None or flags.speaks_of_platform:
        platform = _platform(flags, base, distribution)
    tags, markers, abi = _interpreter(flags, base, distribution, platform, learnt)
    seen = accelerator or (base.accelerator if base else None)
    shown_platform = platform or (platform_of(base) if base else None)
    libc = platform.libc if platform else (base.libc if base else None)
    if platform and libc:
        learnt["libc"] = _said_by(glibc=flags.glibc, platform=flags.platform, preset=flags.preset)
        if learnt["libc"].startswith("--preset") and distribution and distribution.at_least:
            learnt["libc"] += ", which has this one or a later one"
    built = Target(
        name=_name(flags, base, platform, abi),
        marker_environment=MappingProxyType(markers),
        tags=tags,
        libc=libc,
        pip=base.pip if base and not flags.python_version else None,
        accelerator=_accelerator(flags, seen, shown_platform, distribution, learnt),
        python_from=base.python_from if base and not flags.python_version else None,
        learnt_from=MappingProxyType(dict(sorted(learnt.items()))),
    )
    return with_known_capabilities(built)


def _said_by(**flags: str | None) -> str:
    return next((f"--{name} {value}" for name, value in flags.items() if value), "the target file")


def _contradiction(message: str) -> UsageError:
    return UsageError("contradiction", message)


def platform_of(target: Target) -> Platform | None:
    """Read the platform of a complete target back; ``None`` for a system that cannot be described by flags."""
    first = platforms_of(target.tags)[:1]
    if not first:
        return None
    try:
        platform = parse_platform(first[0])
    except UsageError:
        return None
    return replace(platform, libc=target.libc) if platform.system == "Linux" else platform


def _platform(flags: TargetFlags, base: Target | None, distribution: Distribution | None) -> Platform:
    old = platform_of(base) if base else None
    if flags.platform:
        platform = parse_platform(flags.platform)
        if old is not None and old.system == platform.system == "Linux" and platform.libc is None:
            platform = replace(platform, libc=old.libc)
    elif distribution is not None:
        # Most names do not say the architecture; then as `docker pull` on a common server has it.
        platform = parse_platform(f"linux_{distribution.arch or 'x86_64'}")
    elif old is not None:
        platform = old
    else:
        raise UsageError(
            "platform-not-given",
            "the flags describe a target without saying its platform",
            hint=f"add --platform ({EXAMPLES}) or --preset (e.g. ubuntu22.04); to override facts of this machine, "
            "write them down first: pytorch-offline detect -o here.json, then --target here.json",
        )
    _check_linux(flags, platform, distribution)
    if distribution is not None and (platform.libc is None or not flags.platform):
        platform = replace(platform, libc=_libc_of(distribution))
    if flags.glibc:
        match = _GLIBC.fullmatch(flags.glibc)
        if match is None:
            minor = re.search(r"2[.,_]([0-9]{1,2})", flags.glibc)
            hint = f"e.g. --glibc 2.{minor[1] if minor else 35}"
            raise UsageError("bad-flag", f"--glibc {flags.glibc!r} is no glibc version", hint=hint)
        libc = Libc(name="glibc", version=(2, int(match[1])))
        stated = parse_platform(flags.platform).libc if flags.platform else None
        if stated not in {None, libc}:
            raise _contradiction(f"--platform {flags.platform} and --glibc {flags.glibc} name two C libraries")
        platform = replace(platform, libc=libc)
    return platform


def _check_linux(flags: TargetFlags, platform: Platform, distribution: Distribution | None) -> None:
    """Refuse a preset or a glibc for a platform that cannot have it."""
    if platform.system != "Linux" and (flags.glibc or distribution):
        by = _said_by(glibc=flags.glibc, preset=flags.preset)
        raise _contradiction(f"{flags.platform} has no glibc, but {by} is given")
    if distribution is not None and distribution.arch not in {None, platform.arch}:
        raise _contradiction(f"{flags.preset} is for {distribution.arch}, but --platform {flags.platform} is given")


def _libc_of(distribution: Distribution) -> Libc | None:
    if distribution.musl is not None:
        return Libc(name="musl", version=distribution.musl)
    return Libc(name="glibc", version=distribution.glibc) if distribution.glibc else None


def _interpreter(
    flags: TargetFlags,
    base: Target | None,
    distribution: Distribution | None,
    platform: Platform | None,
    learnt: dict[str, str],
) -> tuple[tuple[Tag, ...], dict[str, str], str]:
    """Make the tags, the markers and the ABI; what no flag speaks of is the base's."""
    if base is not None and not flags.speaks_of_interpreter and platform is None:
        return base.tags, dict(base.marker_environment), base.tags[0].abi
    if base is not None and base.marker_environment["implementation_name"] != "cpython":
        name = base.marker_environment["platform_python_implementation"]
        raise UsageError("bad-flag", f"Python and platform of {base.name} cannot be overridden: it is {name}")
    version_text = flags.python_version or (distribution.python if distribution and base is None else None)
    if version_text is not None:
        by = "--python-version" if flags.python_version else f"--preset {flags.preset}"
        version, full = _parse_python(version_text, by)
        learnt["marker_environment.python_full_version"] = f"{by} {version_text}" + (
            "" if full == version_text else f", taken as {full}"
        )
    elif base is not None:
        full = base.marker_environment["python_full_version"]
        version = (base.python_full_version.major, base.python_full_version.minor)
    else:
        raise UsageError(
            "python-not-given",
            "the target's Python version is not known",
            hint="say it with --python-version, e.g. --python-version 3.10",
        )
    kept = base.tags[0].abi if base is not None and flags.python_version is None else None
    abi = _abi(flags, version) or kept
    learnt["compatible_tags"] = "flags"
    if base is not None and platform is None:
        platforms = platforms_of(base.tags)
        markers = dict(base.marker_environment) | cpython_marker_values(full)
    else:
        platform = platform or _platform(flags, base, distribution)
        platforms = platform.tags()
        markers = marker_environment(full, platform.markers())
    tags = cpython_target_tags(version, abi, platforms)
    return tags, markers, tags[0].abi


def _too_old(python: str, by: str) -> UsageError:
    of_preset = by.startswith("--preset")
    said = f"{by} has Python {python}, which" if of_preset else f"Python {python}"
    hint = "name the Python that torch will run on, e.g. --python-version 3.8" if of_preset else None
    return UsageError("bad-flag", f"{said} is too old: the oldest that is supported is 3.6", hint=hint)


def _parse_python(text: str, by: str) -> tuple[tuple[int, int], str]:
    match = _PYTHON.fullmatch(text.strip())
    if match is None:
        digits = re.fullmatch(r"(?:cp|py|python)?[ -]?3\.?([0-9]{1,2})t?", text.strip().lower())
        old = re.fullmatch(r"2(?:\.[0-9]+)*", text.strip())
        hint = f"e.g. --python-version 3.{digits[1] if digits else 10}, or in full, as 3.10.12"
        if old:
            raise _too_old(text.strip(), by)
        raise UsageError("bad-flag", f"{text!r} is no Python version", hint=hint)
    version = (3, int(match[1]))
    if version < _OLDEST_PYTHON:
        raise _too_old(text, by)
    return version, text.strip() if match[2] else f"{text.strip()}.0"


def _abi(flags: TargetFlags, version: tuple[int, int]) -> str | None:
    """Check and return the ABI that the flags name, ``None`` if they do not."""
    digits = f"cp3{version[1]}"
    if flags.free_threaded and version < _FIRST_FREE_THREADED:
        raise _contradiction(f"Python 3.{version[1]} has no free-threaded build; the first is 3.13")
    if flags.abi is None:
        return f"{digits}t" if flags.free_threaded else None
    match = _ABI.fullmatch(flags.abi.lower())
    if match is None:
        raise UsageError("bad-flag", f"--abi {flags.abi!r} is no ABI of CPython 3", hint="e.g. cp310, cp313t, cp37m")
    if int(match["minor"]) != version[1]:
        raise _contradiction(f"--abi {flags.abi} is not an ABI of Python 3.{version[1]}")
    if (match["free"] and version < _FIRST_FREE_THREADED) or (match["pymalloc"] and version >= (3, 8)):
        raise _contradiction(f"Python 3.{version[1]} has no ABI {flags.abi}")
    if flags.free_threaded and not match["free"]:
        raise _contradiction(f"--free-threaded and --abi {flags.abi} name two builds")
    return flags.abi.lower()


def _accelerator(
    flags: TargetFlags,
    seen: Accelerator | None,
    platform: Platform | None,
    distribution: Distribution | None,
    learnt: dict[str, str],
) -> Accelerator | None:
    kind = _accelerator_kind(flags)
    if kind is not None:
        learnt["accelerator.kind"] = f"--accelerator {kind.value}" if flags.accelerator else "flags"
    elif seen is not None:
        return seen
    elif platform and platform.system == "Darwin" and platform.arch == "arm64":
        kind = AcceleratorKind.MPS  # every Mac with arm64 has one
        learnt["accelerator.kind"] = "the platform"
    elif distribution and distribution.is_jetpack:
        kind = AcceleratorKind.CUDA  # JetPack runs on Jetson alone
        learnt["accelerator.kind"] = f"--preset {flags.preset}"
    else:
        return None
    result = seen
    if result is None or result.kind is not kind:
        result = Accelerator(kind=kind)
        _forget(learnt, "accelerator.driver", "accelerator.cuda", "accelerator.devices")
    if kind is AcceleratorKind.CUDA and distribution and distribution.l4t and result.l4t is None:
        result = replace(result, l4t=Version(distribution.l4t))
        learnt["accelerator.l4t"] = f"--preset {flags.preset}"
    if flags.driver:
        result = replace(result, driver=_parse_version("--driver", flags.driver, "535.104.05"), driver_system=None)
        learnt["accelerator.driver"] = "--driver"
    if flags.cuda:
        result = replace(result, cuda=_parse_version("--cuda", flags.cuda, "12.2"))
        learnt["accelerator.cuda"] = "--cuda"
    if devices := _devices(flags):
        result = replace(result, devices=devices)
        _forget(learnt, "accelerator.devices")
        learnt["accelerator.devices"] = "--gpu" if flags.gpus else "--gfx" if flags.gfx else "--compute-capability"
    return result


def _forget(learnt: dict[str, str], *prefixes: str) -> None:
    """Drop how facts were learnt that no longer stand."""
    for key in [key for key in learnt if key.startswith(prefixes)]:
        del learnt[key]


def _accelerator_kind(flags: TargetFlags) -> AcceleratorKind | None:
    if flags.gfx and flags.speaks_of_cuda:
        raise _contradiction("--gfx names an AMD device, the other flags an NVIDIA one")
    said = AcceleratorKind.ROCM if flags.gfx else AcceleratorKind.CUDA if flags.speaks_of_cuda else None
    if flags.accelerator is None:
        return said
    try:
        kind = AcceleratorKind(flags.accelerator.lower())
    except ValueError:
        kinds = ", ".join(AcceleratorKind)
        raise UsageError("bad-flag", f"--accelerator {flags.accelerator!r} is none of {kinds}") from None
    if said not in {None, kind}:
        raise _contradiction(f"--accelerator {kind.value} and flags that describe a {said} device exclude each other")
    return kind


def _parse_version(flag: str, text: str, example: str) -> Version:
    try:
        version = Version(text)
    except ValueError:  # InvalidVersion, or a number of thousands of digits
        version = None
    if version is None or str(version.base_version) != str(version) or version.epoch:
        number = re.fullmatch(r"\D*([0-9]+(?:[.,][0-9]+)+)\D*", text)
        meant = number[1].replace(",", ".") if number else example
        backend = "; to force a build, say --backend" if flag == "--cuda" and text.lower().startswith("cu") else ""
        raise UsageError("bad-flag", f"{flag} {text!r} is no version", hint=f"e.g. {flag} {meant}{backend}")
    return version


def _devices(flags: TargetFlags) -> tuple[Device, ...]:
    """Make the devices: by name, by capability, or by both in pairs (for a product that is not in the table)."""
    capabilities = tuple(_parse_capability(text) for text in flags.compute_capabilities)
    if not flags.gpus:
        amd = tuple(Device(gfx=gfx.lower().split(":")[0]) for gfx in flags.gfx)
        return amd or tuple(Device(compute_capability=capability) for capability in capabilities)
    if not capabilities:
        found = [find_gpu(name) for name in flags.gpus]
        return tuple(Device(name=gpu.name, compute_capability=gpu.compute_capability) for gpu in found)
    if len(capabilities) != len(flags.gpus):
        raise _contradiction("with both --gpu and --compute-capability, give one capability for each GPU")
    return tuple(_paired(name, capability) for name, capability in zip(flags.gpus, capabilities, strict=True))


def _paired(name: str, capability: tuple[int, int]) -> Device:
    try:
        known = find_gpu(name)
    except UsageError:
        return Device(name=name, compute_capability=capability)
    if known.compute_capability != capability:
        said, right = (".".join(map(str, pair)) for pair in (capability, known.compute_capability))
        raise _contradiction(f"{known.name} has compute capability {right}, not {said}")
    return Device(name=known.name, compute_capability=capability)


def _parse_capability(text: str) -> tuple[int, int]:
    match = _CAPABILITY.fullmatch(text.lower())
    if match is None:
        raise UsageError("bad-flag", f"{text!r} is no compute capability", hint="e.g. --compute-capability 8.0")
    return int(match[1]), int(match[2])


def _name(flags: TargetFlags, base: Target | None, platform: Platform | None, abi: str) -> str:
    """Name the target after everything that was said of it, so that two descriptions get two names."""
    parts: list[str] = []
    if base is not None:
        parts.append(base.name)
    if flags.preset:
        parts.append(flags.preset)
    if platform is not None and (flags.platform or not flags.preset):
        parts.append(platform.short_name)
    if flags.glibc or (platform and platform.libc and flags.platform and not flags.preset):
        libc = platform.libc if platform else None
        parts.append(f"{libc.name}{libc.version[0]}.{libc.version[1]}" if libc else "")
    if base is None or flags.speaks_of_interpreter:
        parts.append(
            flags.python_version.strip() if flags.python_version and flags.python_version.count(".") > 1 else ""
        )
        parts.append(abi)
    parts += [flags.accelerator or "", f"driver{flags.driver}" if flags.driver else ""]
    parts += [f"cuda{flags.cuda}" if flags.cuda else "", *flags.gpus, *flags.gfx]
    parts += [f"sm{text}" for text in flags.compute_capabilities if not flags.gpus]
    return safe_name("-".join(part for part in parts if part))
