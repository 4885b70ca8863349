"""The libraries of a stand-in torch: what the selector reads out of real ones, true by the tables unless told else."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pytorch_offline.knowledge.architectures import find_gfx_targets, find_kernels
from pytorch_offline.knowledge.glibc_need import find_glibc_need
from pytorch_offline.selector.rules.candidates import backend_of
from pytorch_offline.simulator.libraries import build_dll, build_elf
from pytorch_offline.wheels.backend import BackendKind
from pytorch_offline.wheels.filename import parse_wheel_name
from pytorch_offline.wheels.inspection import FIRST_WITH_ARCH_LIST

if TYPE_CHECKING:
    from pytorch_offline.wheels.backend import Backend
    from pytorch_offline.wheels.filename import WheelName


def torch_libraries(
    directory: str,
    filename: str,
    *,
    by_backend: bool,
    architectures: tuple[str, ...] | None = None,
    glibc: tuple[int, int] | None = None,
) -> dict[str, bytes]:
    """Make the libraries of a torch wheel: members by name; none for macOS.

    Args:
        directory: where upstream has it, such as ``cu121``.
        filename: the wheel's name.
        by_backend: whether that is an upstream, where a wheel without a label is for the CPU, or a plain index.
        architectures: what it shall say of itself; None for what the tables say of the real one.
        glibc: likewise what it needs.
    """
    name = parse_wheel_name(filename)
    platforms = {tag.platform for tag in name.tags}
    backend = backend_of(name, f"/{directory}/{filename}", indexed_by_backend=by_backend)
    machine = next((one for one in ("x86_64", "aarch64") if any(tag.endswith(one) for tag in platforms)), None)
    kind = None if backend is None else backend.kind
    gpu = {BackendKind.CUDA: "cuda", BackendKind.ROCM: "hip"}.get(kind) if kind is not None else None
    texts: tuple[str, ...] = ()
    if gpu is not None and backend is not None and name.version >= FIRST_WITH_ARCH_LIST:
        system = "win_amd64" if "win_amd64" in platforms else f"linux_{machine}"
        listed = _architectures(name, system, backend) if architectures is None else architectures
        texts = (" ".join(listed),) if listed else ()
    own = ["c10", *([f"c10_{gpu}"] if gpu is not None else [])]
    if any("linux" in platform for platform in platforms) and machine is not None:
        need = glibc or _glibc(name, platforms, directory.rpartition("/")[2])
        members = {f"torch/lib/lib{library}.so": _elf(machine, need, ()) for library in own}
        return {**members, "torch/lib/libtorch_python.so": _elf(machine, need, texts)}
    if any(platform.startswith("win") for platform in platforms):
        members = {f"torch/lib/{library}.dll": _dll(()) for library in own}
        return {**members, "torch/lib/torch_python.dll": _dll(texts)}
    return {}


def _architectures(name: WheelName, system: str, backend: Backend) -> tuple[str, ...]:
    if backend.kind is BackendKind.ROCM:
        return tuple(sorted(find_gfx_targets(str(backend)) or ()))
    kernels = find_kernels(name.version, system, str(backend))
    if kernels is None:
        return ()
    cubins = (f"sm_{major}{minor}" for major, minor in sorted(kernels.cubins))
    return (*cubins, *(f"compute_{major}{minor}" for major, minor in sorted(kernels.ptx)))


def _glibc(name: WheelName, platforms: set[str], variant: str) -> tuple[int, int]:
    row = find_glibc_need(name.project, name.version, platforms, variant)
    if row is not None:
        return row.need
    return (2, 28) if any("2_28" in platform for platform in platforms) else (2, 17)


@cache
def _elf(machine: str, need: tuple[int, int], texts: tuple[str, ...]) -> bytes:
    first = "GLIBC_2.2.5" if machine == "x86_64" else "GLIBC_2.17"
    return build_elf(machine, needs=list(dict.fromkeys([first, f"GLIBC_{need[0]}.{need[1]}"])), texts=texts)


@cache
def _dll(texts: tuple[str, ...]) -> bytes:
    return build_dll(texts)
