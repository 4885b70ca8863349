"""A target in words: what is known of it, and by name what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.target.model import AcceleratorKind

if TYPE_CHECKING:
    from pytorch_offline.target.model import Device, Target

# Of the kernel; no wheel that torch needs asks for them. The JSON document names them as unknown all the same.
_DECIDES_NOTHING = {"marker_environment.platform_release", "marker_environment.platform_version"}
# What to say or paste so that it becomes known.
_IN_WORDS = {
    "libc": "the C library (--glibc, or what ldd --version prints)",
    "accelerator": "whether it has a GPU (--driver, or what nvidia-smi prints; --accelerator none if it has none)",
    "accelerator.driver": "the NVIDIA driver (--driver, or what nvidia-smi prints)",
    "accelerator.cuda": "the user-mode CUDA (--cuda; the driver decides where no compat package is installed)",
    "accelerator.devices": "which GPUs it has (--gpu, or what nvidia-smi prints)",
}
_SHOWS_DEVICES = {AcceleratorKind.CUDA, AcceleratorKind.ROCM, AcceleratorKind.XPU}


def unknown_facts(target: Target) -> tuple[str, ...]:
    """Name every fact that is not known, by its dotted key in the target file."""
    unknown = [f"marker_environment.{name}" for name, value in sorted(target.marker_environment.items()) if not value]
    if target.libc is None and target.system == "Linux":
        unknown.append("libc")
    accelerator = target.accelerator
    if accelerator is None:
        return (*unknown, "accelerator")
    if accelerator.kind is AcceleratorKind.CUDA:
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


def render_summary(target: Target) -> str:
    """Describe a target for people, a line for each fact."""
    markers = target.marker_environment
    accelerator = target.accelerator
    lines = [
        ("target", target.name),
        (
            "Python",
            f"{markers['platform_python_implementation']} {markers['python_full_version']} ({target.tags[0].abi})"
            + (f", of a {target.python_from} environment" if target.python_from else ""),
        ),
        ("platform", f"{target.system} {target.machine} ({target.tags[0].platform})"),
    ]
    if target.libc:
        lines.append(("C library", f"{target.libc.name} {target.libc.version[0]}.{target.libc.version[1]}"))
    if target.pip:
        lines.append(("pip", str(target.pip)))
    if accelerator:
        lines.append(("accelerator", accelerator.kind.value))
        if accelerator.driver_text:
            suffix = f" (of {accelerator.driver_system})" if accelerator.driver_system else ""
            lines.append(("driver", accelerator.driver_text + suffix))
        if accelerator.cuda:
            lines.append(("user-mode CUDA", str(accelerator.cuda)))
        lines += [("device", render_device(device)) for device in accelerator.devices]
    lines.append(("tags", f"{len(target.tags)}, best {target.tags[0]}"))
    unknown = [fact for fact in unknown_facts(target) if fact not in _DECIDES_NOTHING]
    lines += [("not known", _IN_WORDS.get(fact, fact)) for fact in unknown]
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name + ':':<{width}}{value}" for name, value in lines)
