"""A target in words: what is known of it, and by name what is not."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from typing import TYPE_CHECKING

from pytorch_offline.target.model import AcceleratorKind

if TYPE_CHECKING:
    from pytorch_offline.target.model import Accelerator, Device, Target

# Of the kernel; no wheel that torch needs asks for them. The JSON document names them as unknown all the same.
_DECIDES_NOTHING = {"marker_environment.platform_release", "marker_environment.platform_version"}
# What it would be good for, and what to say or paste so that it becomes known.
_IN_WORDS = {
    "libc": "the C library, which decides what wheels it can load (--glibc, or what ldd --version prints)",
    "accelerator": "whether it has a GPU; if not said, it gets builds for the CPU (--driver, or what nvidia-smi or "
    "rocminfo prints; --accelerator none if it has none)",
    "accelerator.driver": "the NVIDIA driver, which decides how new a CUDA can be (--driver, or what nvidia-smi "
    "prints)",
    "accelerator.cuda": "the user-mode CUDA, which counts where a cuda-compat package is installed (--cuda, or what "
    "nvidia-smi prints)",
    "accelerator.devices": "which GPUs it has, and so which builds have code for them (--gpu, or what nvidia-smi "
    "prints; for AMD --gfx, or rocminfo)",
}
_DEVICE_FACT = re.compile(r"accelerator\.devices\[([0-9]+)\]\.(\w+)")
_WIDTH = 80
_SHOWS_DEVICES = {AcceleratorKind.CUDA, AcceleratorKind.ROCM, AcceleratorKind.XPU}


def unknown_facts(target: Target) -> tuple[str, ...]:
    """Name every fact that is not known, by its dotted key in the target file."""
    unknown = [f"marker_environment.{name}" for name, value in sorted(target.marker_environment.items()) if not value]
    if target.libc is None and target.system == "Linux":
        unknown.append("libc")
    accelerator = target.accelerator
    if accelerator is None:
        return (*unknown, "accelerator")
    if accelerator.kind is AcceleratorKind.CUDA and not accelerator.is_older_jetson:
        unknown += [f"accelerator.{name}" for name in ("driver", "cuda") if getattr(accelerator, name) is None]
    if accelerator.kind in _SHOWS_DEVICES and not accelerator.devices:
        unknown.append("accelerator.devices")
    for index, device in enumerate(accelerator.devices):
        wanted = {AcceleratorKind.CUDA: "compute_capability", AcceleratorKind.ROCM: "gfx"}.get(accelerator.kind, "name")
        if getattr(device, wanted) is None:
            unknown.append(f"accelerator.devices[{index}].{wanted}")
    return tuple(unknown)


def render_device(device: Device) -> str:
    """Say what a device is: its name, then its compute capability or gfx target."""
    facts = [device.gfx or ""]
    if device.compute_capability is not None:
        facts.append("compute capability {}.{}".format(*device.compute_capability))
    return ", ".join(fact for fact in (device.name or "", *facts) if fact) or "unknown"


def _in_words(fact: str, target: Target) -> str:
    """Say an unknown fact in words, with what makes it known."""
    found = _DEVICE_FACT.fullmatch(fact)
    if found is None or target.accelerator is None:
        return _IN_WORDS.get(fact, fact)
    name = target.accelerator.devices[int(found[1])].name or f"GPU {found[1]}"
    if found[2] == "gfx":
        return f"the gfx target of {name}, and so which builds have code for it (--gfx, or what rocminfo prints)"
    query = "nvidia-smi --query-gpu=name,compute_cap --format=csv"
    return f"the compute capability of {name}, and so which builds have code for it (--compute-capability, or {query})"


def _facts(target: Target) -> list[tuple[str, str]]:
    markers = target.marker_environment
    taken = re.search(r" (\S+), taken as ", target.learnt_from.get("marker_environment.python_full_version", ""))
    python = (f"{taken[1]}, taken as " if taken else "") + markers["python_full_version"]
    version = f"{markers['platform_python_implementation']} {python} ({target.tags[0].abi})"
    system = {"Darwin": "macOS"}.get(target.system, target.system)
    lines = [
        ("target", target.name),
        ("Python", version + (f", of a {target.python_from} environment" if target.python_from else "")),
        ("platform", f"{system} {target.machine} ({target.tags[0].platform})"),
    ]
    if target.libc:
        at_least = " or later" if "or a later one" in target.learnt_from.get("libc", "") else ""
        lines.append(("C library", f"{target.libc}{at_least}"))
    if target.pip:
        lines.append(("pip", str(target.pip)))
    if target.accelerator:
        lines += _accelerator_facts(target.accelerator)
    return [*lines, ("tags", f"{len(target.tags)}, best {target.tags[0]}")]


def _accelerator_facts(accelerator: Accelerator) -> list[tuple[str, str]]:
    lines = [("accelerator", accelerator.kind.value)]
    if accelerator.l4t:
        lines.append(("Jetson", f"L4T R{accelerator.l4t}"))
    if accelerator.driver_text:
        suffix = f" (of {accelerator.driver_system})" if accelerator.driver_system else ""
        lines.append(("driver", accelerator.driver_text + suffix))
    if accelerator.cuda:
        lines.append(("user-mode CUDA", str(accelerator.cuda)))
    alike = Counter(render_device(device) for device in accelerator.devices)
    return lines + [("device", f"{count} x {device}" if count > 1 else device) for device, count in alike.items()]


def render_summary(target: Target) -> str:
    """Describe a target for people, a fact on each line, and what is not known; no line is wider than 80 columns."""
    silent = set(_DECIDES_NOTHING)
    if target.accelerator is not None and target.accelerator.kind is AcceleratorKind.XPU:
        silent.add("accelerator.devices")  # upstream's builds for Intel are one for all of its GPUs
    unknown = [fact for fact in unknown_facts(target) if fact not in silent]
    lines = [*_facts(target), *(("not known", _in_words(fact, target)) for fact in unknown)]
    margin = max(len(name) for name, _ in lines) + 2
    rendered = []
    for name, value in lines:
        head = f"{name + ':':<{margin}}"
        rendered.append(
            textwrap.fill(value, _WIDTH, initial_indent=head, subsequent_indent=" " * margin, break_on_hyphens=False)
        )
    return "\n".join(rendered)
