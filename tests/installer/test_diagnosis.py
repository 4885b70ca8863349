"""Each known cause is told by what was seen of it; the messages are as they stand in public reports."""

from __future__ import annotations

import string
from typing import Any

import pytest

from pytorch_offline.bundle.format.model import CudaNeed
from pytorch_offline.bundle.writing.driver_facts import make_driver_facts
from pytorch_offline.installer.accelerator_fit import judge_backend
from pytorch_offline.installer.causes_chinese import CAUSES_IN_CHINESE
from pytorch_offline.installer.causes_loading import KNOWN_CAUSES
from pytorch_offline.installer.diagnosis import Diagnosis, Seen, diagnose
from pytorch_offline.installer.machine_facts import DeviceFile, MachineFacts
from pytorch_offline.installer.torch_report import TorchReport, TrialStep

NEED = CudaNeed(cuda="12.8", toolkit_driver="570.26", minor_floor="525.60.13", capabilities=("8.0", "9.0"))
A100 = {"kind": "cuda", "driver": "570.26", "cuda": "12.8", "devices": [{"name": "A100", "compute_capability": "8.0"}]}
FILES = tuple(DeviceFile(f"/dev/{name}", True) for name in ("nvidia0", "nvidiactl", "nvidia-uvm"))  # noqa: FBT003
SOUND = MachineFacts(
    devices=FILES, modules=("nvidia", "nvidia_uvm"), nvidia_cards=1, cpu_flags=("sse2", "sse4_2", "avx", "avx2", "fma")
)
BUILT = {"version": "2.7.0+cu128", "cuda": "12.8", "file": "/env/torch/__init__.py"}


def step(name: str, error: str = "", /, **facts: Any) -> TrialStep:  # noqa: ANN401
    return TrialStep(name, True, facts=facts, error=error)  # noqa: FBT003


def report(*steps: TrialStep, status: int = 0, **more: Any) -> TorchReport:  # noqa: ANN401
    return TorchReport(steps, status, **more)


def seen(told: TorchReport | None, facts: MachineFacts = SOUND, **more: Any) -> Seen:  # noqa: ANN401
    accelerator = more.pop("accelerator", A100)
    backend = more.pop("backend", "cu128")
    need = NEED if backend == "cu128" else None
    fit = judge_backend(backend, need, accelerator, "Linux", make_driver_facts())
    return Seen(
        report=told,
        facts=facts,
        machine={"accelerator": accelerator},
        backend=backend,
        need=need,
        fit=fit,
        **more,
    )


def found(one: Seen) -> list[str]:
    return [diagnosis.code for diagnosis in diagnose(one, KNOWN_CAUSES)]


def no_cuda(error: str, **facts: Any) -> Seen:  # noqa: ANN401
    return seen(report(step("import", **BUILT), step("cuda", error)), SOUND._replace(**facts))


def unexpected(number: int, words: str) -> str:
    return (
        "RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling "
        f"NumCudaDevices() that might have already set an error? Error {number}: {words}"
    )


# What torch's CUDA says when it does not start, and the first cause that is to be told.
CUDA_TEXTS = {
    "fabric-manager": unexpected(802, "system not yet initialized"),
    "compat-too-old": unexpected(803, "system has unsupported display driver / cuda driver combination"),
    "compat-on-consumer-gpu": unexpected(804, "forward compatibility was attempted on non supported HW"),
    "driver-stub": unexpected(34, "CUDA driver is a stub library"),
    "driver-too-old": "RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please update",
    "cuda-unknown": "RuntimeError: CUDA unknown error - this may be due to an incorrectly set up environment, e.g. "
    "changing env variable CUDA_VISIBLE_DEVICES after program start.",
    "invalid-device": "RuntimeError: CUDA error: invalid device ordinal",
    "no-driver": "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
    "device-busy": "RuntimeError: CUDA error: all CUDA-capable devices are busy or unavailable",
    "gpu-memory": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.",
    "gpu-lost": "RuntimeError: CUDA error: uncorrectable ECC error encountered",
    "ptx-unsupported": "RuntimeError: CUDA error: the provided PTX was compiled with an unsupported toolchain.",
    "no-kernel-image": "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    "other-cuda-libraries": "RuntimeError: cuDNN version incompatibility: PyTorch was compiled against (9, 1, 0) but",
}
# What the import says.
IMPORT_TEXTS = {
    "glibc-too-old": "ImportError: /lib64/libm.so.6: version `GLIBC_2.27' not found (required by libtorch_cpu.so)",
    "libstdcxx-too-old": "ImportError: /lib/libstdc++.so.6: version `GLIBCXX_3.4.29' not found (required by _C.so)",
    "other-cuda-libraries": "ImportError: /env/torch/lib/../../nvidia/cusparse/lib/libcusparse.so.12: undefined "
    "symbol: __nvJitLinkComplete_12_4, version libnvJitLink.so.12",
    "mkl-mixture": "ImportError: /env/lib/libtorch_cpu.so: undefined symbol: iJIT_NotifyEvent",
    "undefined-symbol": "ImportError: /env/torch/lib/libtorch_python.so: undefined symbol: _ZN3c1017RegisterD1Ev",
    "openmp-missing": "OSError: libgomp.so.1: cannot open shared object file: No such file or directory",
    "system-library-missing": "ImportError: libnuma.so.1: cannot open shared object file: No such file or directory",
    "cuda-library-missing": "ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory",
    "static-tls": "ImportError: /env/torch.libs/libgomp-4dbbc2f2.so.1.0.0: cannot allocate memory in static TLS block",
    "no-exec": "ImportError: /env/torch/lib/libtorch.so: failed to map segment from shared object",
    "executable-stack": "ImportError: libtorch_cpu.so: cannot enable executable stack as shared object requires: "
    "Invalid argument",
    "wrong-architecture": "OSError: /env/torch/lib/libtorch_global_deps.so: wrong ELF class: ELFCLASS64",
    "windows-runtime": "OSError: [WinError 126] The specified module could not be found. Error loading c10.dll",
}
COMPANION_TEXTS = {
    "torchvision-pairing": ("torchvision", "RuntimeError: operator torchvision::nms does not exist"),
    "torchaudio-pairing": ("torchaudio", "OSError: /env/torchaudio/lib/libtorchaudio.so: undefined symbol: _ZN2at"),
    "numpy-abi": ("numpy", "RuntimeError: Numpy is not available"),
}
SMI_TEXTS = {
    "driver-library-mismatch": "Failed to initialize NVML: Driver/library version mismatch\nNVML version: 550.144",
    "smi-no-driver": "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the",
    "cgroup-forbids": "Failed to initialize NVML: Unknown Error",
    "gpu-lost": "Unable to determine the device handle for GPU0000:65:00.0: Unknown Error",
}
SILENT = "RuntimeError: No CUDA GPUs are available"
# Facts that give a cause away where torch says nothing of use.
FACTS: dict[str, dict[str, Any]] = {
    "devices-hidden": {"variables": {"CUDA_VISIBLE_DEVICES": ""}},
    "capabilities-without-compute": {"variables": {"NVIDIA_DRIVER_CAPABILITIES": "utility,graphics"}},
    "container-without-gpu": {"container": "Docker", "devices": ()},
    "mig": {"nvidia_smi": "| MIG M. |\n|  Enabled |", "nvidia_list": "GPU 0: NVIDIA A100 (UUID: GPU-1)"},
    "wsl-linux-driver": {
        "wsl": True,
        "libcuda": ("/usr/lib/x86_64-linux-gnu/libcuda.so.1 -> /usr/lib/libcuda.so.535",),
    },
    "wsl-without-libcuda": {"wsl": True, "libcuda": ()},
    "nouveau": {"modules": ("nouveau",), "devices": ()},
    "secure-boot": {"modules": (), "devices": (), "secure_boot": True},
    "module-not-loaded": {"modules": (), "devices": ()},
    "no-uvm": {"devices": FILES[:2]},
    "no-numbered-device": {"devices": FILES[1:]},
    "device-permission": {"devices": (DeviceFile("/dev/nvidia0", False), *FILES[1:])},  # noqa: FBT003
    "no-gpu": {"devices": (), "modules": (), "nvidia_cards": 0},
}
NOTES: dict[str, dict[str, Any]] = {
    "no-avx2": {"cpu_flags": ("sse2", "avx")},
    "little-shared-memory": {"shared_memory": 64 * 1024 * 1024},
    "home-read-only": {"home_writable": False},
}
WORKS = report(
    step("import", **BUILT), step("cuda", available=True, count=1), step("cuda:0", name="A100", capability="8.0")
)


@pytest.mark.parametrize("code", CUDA_TEXTS)
def test_what_cuda_says(code: str) -> None:
    assert found(no_cuda(CUDA_TEXTS[code]))[0] == code


@pytest.mark.parametrize("code", IMPORT_TEXTS)
def test_what_an_import_says(code: str) -> None:
    assert found(seen(report(step("import", IMPORT_TEXTS[code]), status=1)))[0] == code


@pytest.mark.parametrize("code", COMPANION_TEXTS)
def test_what_companions_say(code: str) -> None:
    name, text = COMPANION_TEXTS[code]
    assert found(seen(report(*WORKS.steps, step(name, text))))[0] == code


@pytest.mark.parametrize("code", SMI_TEXTS)
def test_what_nvidia_smi_says(code: str) -> None:
    assert code in found(no_cuda(SILENT, nvidia_smi=SMI_TEXTS[code]))


@pytest.mark.parametrize("code", FACTS)
def test_what_the_machine_shows(code: str) -> None:
    assert found(no_cuda(SILENT, **FACTS[code]))[0] == code


@pytest.mark.parametrize("code", NOTES)
def test_notes_are_told_where_all_works(code: str) -> None:
    (note,) = diagnose(seen(WORKS, SOUND._replace(**NOTES[code])), KNOWN_CAUSES)
    assert (note.code, note.note) == (code, True)


def test_a_machine_that_works_has_no_cause() -> None:
    assert found(seen(WORKS)) == []
    assert found(seen(report(step("import", version="2.7.0+cpu")), MachineFacts(), backend="cpu", accelerator={})) == []


def ended(status: int, **facts: Any) -> Seen:  # noqa: ANN401
    begun = TrialStep("cpu linear", False)  # noqa: FBT003
    return seen(report(step("import", **BUILT), begun, status=status), SOUND._replace(**facts), backend="cpu")


def test_how_a_process_ended() -> None:
    (illegal, *_) = diagnose(ended(-4, cpu_flags=("sse2",)), KNOWN_CAUSES)
    assert illegal.code == "illegal-instruction"
    assert illegal.seen.endswith("during 'cpu linear'; this CPU has no sse4_2, avx, avx2, fma")
    (killed, *_) = diagnose(ended(-9, memory_limit=512 * 1024**2), KNOWN_CAUSES)
    assert (killed.code, killed.seen[-21:]) == ("memory-killed", "; memory limit 512 MiB"[-21:])
    assert found(ended(-7))[0] == "disk-bad"
    assert found(ended(-11))[0] == "crash"
    hung = report(step("import", **BUILT), TrialStep("cuda", False), status=-9, timed_out=True)  # noqa: FBT003
    assert found(seen(hung))[0] == "hanging"


def verdict(driver: str, capability: str = "8.0", **more: Any) -> Diagnosis:  # noqa: ANN401
    devices = [{"name": "GPU", "compute_capability": capability}]
    accelerator = {"kind": "cuda", "driver": driver, "cuda": None, "devices": devices}
    one = seen(report(step("import", **BUILT), step("cuda", SILENT)), accelerator=accelerator, **more)
    return diagnose(one, KNOWN_CAUSES)[0]


def test_the_verdict_names_what_is_needed_and_what_would_run() -> None:
    old = verdict("470.82.01", runnable=("cpu", "cu118"))
    assert old.code == "driver-too-old-by-table"
    assert "here is driver 470.82.01" in old.means
    assert "driver 525.60.13 or later" in old.remedy
    assert "cpu, cu118" in old.remedy
    assert verdict("580.65.06", "12.0").code == "device-not-served"
    bridged = diagnose(
        seen(WORKS, accelerator={"kind": "cuda", "driver": "535.104.05", "cuda": None, "devices": []}), KNOWN_CAUSES
    )
    assert [(one.code, one.note) for one in bridged] == [("minor-version-compatibility", True)]


def test_other_machines_and_builds() -> None:
    other = seen(report(step("import", version="2.7.0+cpu", file="/home/me/torch/__init__.py", cuda=None)))
    assert found(other)[0] == "wrong-build"
    jetson: dict[str, Any] = {"kind": "cuda", "driver": None, "cuda": None, "devices": [], "l4t": "35.4"}
    assert "jetson" in found(seen(report(step("import", **BUILT), step("cuda", SILENT)), accelerator=jetson))
    amd = report(step("import", version="2.7.0+rocm6.3", hip="6.3"), step("cuda", "RuntimeError: No HIP GPUs"))
    rocm: dict[str, Any] = {"kind": "rocm", "devices": []}
    assert found(seen(amd, MachineFacts(), backend="rocm6.3", accelerator=rocm))[0] == "no-kfd"
    intel = report(
        step("import", version="2.7.0+xpu", xpu="2025"), step("xpu", "RuntimeError: XPU device count is zero!")
    )
    xpu: dict[str, Any] = {"kind": "xpu", "devices": []}
    assert "xpu-runtime" in found(seen(intel, MachineFacts(), backend="xpu", accelerator=xpu))


def test_what_comes_first_on_the_path_is_told() -> None:
    crowded = seen(WORKS, shadows=("torch 1.0 in /home/me (user site)",), conda={"pytorch": "2.1.0"})
    assert found(crowded) == ["shadowed", "conda-torch"]
    libraries = step("libraries", files=["/opt/cuda/lib64/libcublas.so.12", "/env/torch/lib/libtorch.so"])
    failed = report(step("import", "ImportError: something strange"), libraries, status=1)
    foreign = seen(failed, SOUND._replace(variables={"LD_LIBRARY_PATH": "/opt/cuda/lib64"}))
    (first, *_) = diagnose(foreign, KNOWN_CAUSES)
    assert (first.code, first.seen[-32:]) == ("foreign-libraries", ": /opt/cuda/lib64/libcublas.so.12"[-32:])


def test_every_cause_is_tried_here_and_told_in_both_languages() -> None:
    tried = {*CUDA_TEXTS, *IMPORT_TEXTS, *COMPANION_TEXTS, *SMI_TEXTS, *FACTS, *NOTES}
    tried |= {"illegal-instruction", "memory-killed", "disk-bad", "crash", "hanging", "driver-too-old-by-table"}
    tried |= {"device-not-served", "minor-version-compatibility", "wrong-build", "jetson", "no-kfd", "xpu-runtime"}
    tried |= {"shadowed", "conda-torch", "foreign-libraries"}
    codes = [cause.code for cause in KNOWN_CAUSES]
    assert sorted(tried) == sorted(codes)
    assert sorted(codes) == sorted(CAUSES_IN_CHINESE)
    for cause in KNOWN_CAUSES:
        names = [
            [name for _, name, _, _ in string.Formatter().parse(text) if name] for text in (cause.means, cause.remedy)
        ]
        chinese = CAUSES_IN_CHINESE[cause.code]
        theirs = [[name for _, name, _, _ in string.Formatter().parse(text) if name] for text in chinese]
        assert [set(one) for one in theirs] == [set(one) for one in names], cause.code


def test_a_long_message_is_cut_around_what_tells() -> None:
    text = "ImportError: " + "x" * 5000 + " undefined symbol: cudnnGetLibConfig " + "y" * 5000
    (first, *_) = diagnose(seen(report(step("import", text), status=1)), KNOWN_CAUSES)
    assert first.code == "other-cuda-libraries"
    assert "cudnnGetLibConfig" in first.seen
    assert len(first.seen) < 600
