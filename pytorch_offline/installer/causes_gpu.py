"""Known causes of a GPU that torch does not use: drivers, devices, containers.

The texts are those of PyTorch, CUDA, NVML and ROCm, as they stand in public reports; the numbers those of CUDA's
``cudaError``. NVIDIA's CUDA compatibility guide explains 222, 803 and 804, its fabric manager guide 802, its container
toolkit's documentation the variables.
"""

from typing import Tuple

from pytorch_offline.installer.accelerator_fit import FIRST_COMMON_L4T, dotted_numbers
from pytorch_offline.installer.diagnosis import Cause, Seen


def see_wrong_build(seen: Seen) -> str:
    """See a torch that was built for something else than the lock says."""
    imported = seen.report.step("import") if seen.report is not None else None
    if imported is None or imported.error or seen.kind == "none":
        return ""
    key = {"cuda": "cuda", "rocm": "hip", "xpu": "xpu"}[seen.kind]
    if imported.facts.get(key) or seen.kind == "xpu":
        return ""
    return "torch {} from {} says torch.version.{} = {}".format(
        imported.facts.get("version"), imported.facts.get("file"), key, imported.facts.get(key)
    )


def see_driver_too_old(seen: Seen) -> str:
    """See the verdict that the driver is below what the build needs."""
    return seen.fit.detail if seen.gpu_missing and seen.fit is not None and seen.fit.rule == "driver" else ""


def see_device_not_served(seen: Seen) -> str:
    """See the verdict that the build has no code for a device."""
    return seen.fit.detail if seen.gpu_missing and seen.fit is not None and seen.fit.rule == "device" else ""


def see_minor_compatibility(seen: Seen) -> str:
    """See a driver that runs the build by minor-version compatibility alone."""
    fit = seen.fit
    return fit.detail if seen.kind == "cuda" and fit is not None and fit.runs and not fit.native else ""


def see_hidden_devices(seen: Seen) -> str:
    """See a variable that hides every device."""
    if not seen.gpu_missing:
        return ""
    names = {
        "cuda": ("CUDA_VISIBLE_DEVICES",),
        "rocm": ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
        "xpu": ("ZE_AFFINITY_MASK", "ONEAPI_DEVICE_SELECTOR"),
    }
    for name in names[seen.kind]:
        value = seen.variable(name)
        if value is not None and (value.strip() in ("", "-1", "none", "NoDevFiles", "void") or value.startswith("-")):
            return f"{name}={value!r}"
    return ""


def see_container_without_gpu(seen: Seen) -> str:
    """See a container into which no GPU was given."""
    facts = seen.facts
    if not (seen.gpu_missing and seen.kind == "cuda" and facts.container) or facts.has_device("nvidiactl"):
        return ""
    hidden = facts.variables.get("NVIDIA_VISIBLE_DEVICES")
    told = f", NVIDIA_VISIBLE_DEVICES={hidden!r}" if hidden is not None else ""
    return f"a {facts.container} container without /dev/nvidiactl{told}"


def see_capabilities_without_compute(seen: Seen) -> str:
    """See a container whose driver capabilities leave computing out."""
    value = seen.variable("NVIDIA_DRIVER_CAPABILITIES")
    if not seen.gpu_missing or not value or {"all", "compute"} & set(value.split(",")):
        return ""
    return f"NVIDIA_DRIVER_CAPABILITIES={value!r}"


def see_nouveau(seen: Seen) -> str:
    """See nouveau in the place of NVIDIA's driver."""
    modules = seen.facts.modules
    gone = seen.gpu_missing and seen.kind == "cuda" and "nouveau" in modules and "nvidia" not in modules
    return "the kernel module nouveau is loaded, nvidia is not" if gone else ""


def see_secure_boot(seen: Seen) -> str:
    """See a firmware that only loads signed modules, and no module of NVIDIA's."""
    facts = seen.facts
    gone = seen.gpu_missing and seen.kind == "cuda" and facts.secure_boot and "nvidia" not in facts.modules
    here = facts.nvidia_cards and not facts.container
    return "Secure Boot is on, and the kernel module nvidia is not loaded" if gone and here else ""


def see_module_not_loaded(seen: Seen) -> str:
    """See a card on the bus and no driver for it."""
    facts = seen.facts
    if not (seen.gpu_missing and seen.kind == "cuda" and facts.nvidia_cards) or facts.wsl:
        return ""
    if "nvidia" in facts.modules or "nouveau" in facts.modules or facts.container:
        return ""
    return f"{facts.nvidia_cards} NVIDIA device(s) on the PCI bus, no kernel module nvidia for kernel {facts.kernel}"


def see_no_uvm(seen: Seen) -> str:
    """See NVIDIA's control device without the one for memory."""
    facts = seen.facts
    gone = seen.gpu_missing and facts.has_device("nvidiactl") and not facts.has_device("nvidia-uvm")
    return "/dev/nvidiactl is there, /dev/nvidia-uvm is not" if gone else ""


def see_no_numbered_device(seen: Seen) -> str:
    """See NVIDIA's control device without any GPU's own."""
    names = [one.path for one in seen.facts.devices]
    gone = (
        seen.gpu_missing
        and "/dev/nvidiactl" in names
        and not any(name[-1].isdigit() and "nvidia" in name for name in names)
    )
    return "/dev/nvidiactl is there, /dev/nvidia0 and the like are not" if gone else ""


def see_device_permission(seen: Seen) -> str:
    """See device files that this user may not open."""
    if not seen.gpu_missing:
        return ""
    wanted = {"cuda": "/dev/nvidia", "rocm": "/dev/", "xpu": "/dev/dri"}[seen.kind]
    shut = [one.path for one in seen.facts.devices if not one.usable and one.path.startswith(wanted)]
    return "not readable and writable by this user: {}".format(", ".join(shut[:6])) if shut else ""


def see_wsl_without_libcuda(seen: Seen) -> str:
    """See WSL without Windows' libcuda."""
    facts = seen.facts
    if not (seen.gpu_missing and facts.wsl and seen.kind == "cuda"):
        return ""
    if any("/usr/lib/wsl/" in one for one in facts.libcuda):
        return ""
    return "WSL, and no /usr/lib/wsl/lib/libcuda.so.1"


def see_wsl_linux_driver(seen: Seen) -> str:
    """See a Linux driver's libcuda in front of the one that Windows gives."""
    facts = seen.facts
    if not (seen.gpu_missing and facts.wsl and facts.libcuda) or "/usr/lib/wsl/" in facts.libcuda[0]:
        return ""
    return f"WSL, and the first libcuda in reach is {facts.libcuda[0]}"


def see_mig(seen: Seen) -> str:
    """See GPUs in MIG mode without an instance, or a choice that names none of them."""
    if not seen.gpu_missing or seen.kind != "cuda":
        return ""
    smi, listed = seen.facts.nvidia_smi or "", seen.facts.nvidia_list
    chosen = seen.variable("CUDA_VISIBLE_DEVICES") or ""
    if "No MIG devices found" in smi or ("MIG M." in smi and "Enabled" in smi and "MIG " not in listed):
        return "nvidia-smi: MIG is enabled, and no MIG device was found"
    if "MIG" in chosen and chosen.split(",")[0] not in listed:
        return f"CUDA_VISIBLE_DEVICES={chosen!r} names no MIG device that nvidia-smi -L lists"
    return ""


def see_jetson(seen: Seen) -> str:
    """See a Jetson before L4T R38."""
    release = seen.accelerator.get("l4t")
    numbers = dotted_numbers(release)
    old = numbers is not None and numbers[0] < FIRST_COMMON_L4T
    return f"L4T R{release}" if old and seen.gpu_missing else ""


def see_no_kfd(seen: Seen) -> str:
    """See no compute device of AMD's."""
    gone = seen.gpu_missing and seen.kind == "rocm" and not seen.facts.has_device("kfd")
    return "/dev/kfd is not there" if gone else ""


def see_no_gpu(seen: Seen) -> str:
    """See nothing at all of the kind of GPU that the build is for."""
    facts = seen.facts
    if not seen.gpu_missing or facts.devices or facts.nvidia_cards or facts.container or facts.wsl or facts.nvidia_smi:
        return ""
    return "no device file, kernel module, PCI device or tool of a GPU" if not facts.modules else ""


GPU_CAUSES: Tuple[Cause, ...] = (
    Cause(
        "wrong-build",
        seen=see_wrong_build,
        means="This torch is not the {backend} build that the lock names: another one is installed or is found first.",
        remedy="Install again from the bundle into a fresh environment (--venv); look for another torch in the user "
        "site, in PYTHONPATH and among conda's packages.",
    ),
    Cause(
        "fabric-manager",
        pattern=r"(?:Error 802|error \(802\)|system not yet initialized|SYSTEM_NOT_READY)",
        means="The NVSwitch fabric of this machine (HGX, DGX) is not initialised: NVIDIA's fabric manager does not "
        "run, or its version is not the driver's.",
        remedy="On the host: install nvidia-fabricmanager of exactly the driver's version ({driver}) and start it "
        "(systemctl enable --now nvidia-fabricmanager); wait until `nvidia-smi -q` shows Fabric State: Completed.",
    ),
    Cause(
        "driver-library-mismatch",
        pattern=r"Driver/library version mismatch",
        means="The kernel still runs the old driver module while the libraries are those of a newer driver: it was "
        "upgraded without a reboot.",
        remedy="Reboot; or end everything that uses a GPU and reload the modules (rmmod nvidia_uvm nvidia_drm "
        "nvidia_modeset nvidia; modprobe nvidia). In a container: restart it.",
    ),
    Cause(
        "compat-on-consumer-gpu",
        pattern=r"(?:Error 804|error \(804\)|forward compatibility was attempted on non supported HW)",
        means="A cuda-compat libcuda stands in front of the driver's own. That works on data-centre and some "
        "professional GPUs only, not on {devices}; or the driver's branch is not one that it accepts.",
        remedy="Take the cuda-compat directory (e.g. /usr/local/cuda/compat) out of LD_LIBRARY_PATH and "
        "/etc/ld.so.conf.d, or remove the package cuda-compat-*; then a driver of {needs} or later is needed for "
        "{backend}. Builds of this bundle that run here as it is: {others}.",
    ),
    Cause(
        "compat-too-old",
        pattern=r"(?:Error 803|error \(803\)|unsupported display driver / cuda driver combination|"
        r"SYSTEM_DRIVER_MISMATCH)",
        means="libcuda and the kernel driver do not belong together: an old cuda-compat package, or the libraries of "
        "another driver, are found before those of driver {driver}.",
        remedy="Remove the cuda-compat package or its directory from the library path; in a container start it anew so "
        "that the host's driver libraries are mounted; after a driver upgrade reboot.",
    ),
    Cause(
        "driver-stub",
        pattern=r"(?:Error 34\b|CUDA driver is a stub library)",
        means="The libcuda that was loaded is the stub of the CUDA toolkit, which is there for linking alone.",
        remedy="Take every .../stubs directory out of LD_LIBRARY_PATH; in a container, start it with --gpus all and "
        "the NVIDIA container toolkit, so that the driver's own library is there.",
    ),
    Cause(
        "ptx-unsupported",
        pattern=r"(?:provided PTX was compiled with an unsupported toolchain|UnsupportedPtxVersion|"
        r"unsupported PTX version)",
        means="Code had to be compiled from PTX at run time, and driver {driver} does not know the PTX of this newer "
        "CUDA: minor-version compatibility does not reach that far.",
        remedy="Install driver {toolkit} or later, the one of the build's own CUDA; or a build of the bundle that has "
        "native code for this GPU: {others}.",
    ),
    Cause(
        "driver-too-old",
        pattern=r"NVIDIA driver on your system is too old|CUDA driver version is insufficient for CUDA runtime version",
        means="The driver ({driver}) is too old for this build: {backend} needs {needs} or later.",
        remedy="Install driver {needs} or later ({toolkit} covers everything, PTX too); or a build of this bundle for "
        "the driver that is here: {others}; or on a data-centre GPU a cuda-compat package.",
    ),
    Cause(
        "driver-too-old-by-table",
        seen=see_driver_too_old,
        means="By NVIDIA's table this driver cannot run the build: {verdict}.",
        remedy="Install driver {needs} or later, or a build of this bundle for the driver that is here: {others}.",
    ),
    Cause(
        "jetson",
        seen=see_jetson,
        means="This is a Jetson: its GPU runs no code but its own, which official wheels do not have.",
        remedy="Take the wheels that NVIDIA builds for this JetPack, or the bundle's cpu build.",
    ),
    Cause(
        "no-kernel-image",
        pattern=r"no kernel image is available|is not compatible with the current PyTorch installation|"
        r"Invalid device function|NoBinaryForGpu|find (?:code object|binary) for",
        means="The build has no code for {devices}: the chip is newer or older than those that {backend} was built "
        "for.",
        remedy="Use a build whose list of architectures has this chip (older chips: cu126 or cu118; Blackwell: cu128"
        " or later); in this bundle: {others}. Newer drivers do not help.",
    ),
    Cause(
        "device-not-served",
        seen=see_device_not_served,
        means="The build has no code for a device of this machine: {verdict}.",
        remedy="Use a build whose list of architectures has this chip; in this bundle: {others}.",
    ),
    Cause(
        "devices-hidden",
        seen=see_hidden_devices,
        means="A variable of this shell hides every GPU from CUDA (or HIP, SYCL).",
        remedy="Unset it, or name devices that `nvidia-smi -L` lists. Under Slurm: ask for GPUs (--gres=gpu:1).",
    ),
    Cause(
        "capabilities-without-compute",
        seen=see_capabilities_without_compute,
        means="The container was given the driver without its compute libraries.",
        remedy="Start it with NVIDIA_DRIVER_CAPABILITIES=compute,utility (or all).",
    ),
    Cause(
        "container-without-gpu",
        seen=see_container_without_gpu,
        means="This is a container into which no GPU was given.",
        remedy="Start it with --gpus all (Docker), --device nvidia.com/gpu=all (Podman), --nv (Apptainer) or a "
        "resource nvidia.com/gpu (Kubernetes); the host needs the NVIDIA container toolkit. An image may be "
        "prepared without one: then prove again where it runs.",
    ),
    Cause(
        "mig",
        seen=see_mig,
        means="The GPU is in MIG mode, and no instance of it can be used from here.",
        remedy="Create instances (nvidia-smi mig -cgi … -C), and name one in CUDA_VISIBLE_DEVICES by the UUID that "
        "`nvidia-smi -L` prints; a process sees one MIG instance only.",
    ),
    Cause(
        "wsl-linux-driver",
        seen=see_wsl_linux_driver,
        means="Inside WSL a Linux driver was installed, whose libcuda hides the one that Windows gives.",
        remedy="Remove the Linux driver packages (libcuda1, nvidia-*, cuda-drivers) inside WSL; the driver belongs to "
        "Windows alone.",
    ),
    Cause(
        "wsl-without-libcuda",
        seen=see_wsl_without_libcuda,
        means="Windows gives this WSL no CUDA: it is WSL 1, or Windows' NVIDIA driver is missing or too old.",
        remedy="In Windows: install NVIDIA's driver, `wsl --update`, `wsl --set-version NAME 2`, `wsl --shutdown`.",
    ),
    Cause(
        "nouveau",
        seen=see_nouveau,
        means="The free driver nouveau holds the card, so NVIDIA's driver cannot; nouveau knows no CUDA.",
        remedy="Blacklist nouveau (/etc/modprobe.d, options nouveau modeset=0), rebuild the initramfs, reboot, install "
        "NVIDIA's driver.",
    ),
    Cause(
        "secure-boot",
        seen=see_secure_boot,
        means="Secure Boot loads signed kernel modules only, and NVIDIA's is not loaded: it is likely not signed "
        "with a key that this machine trusts.",
        remedy="Enrol the module's key (mokutil --import), or use the distribution's signed driver packages, or switch "
        "Secure Boot off; `dmesg | grep -i nvidia` says more.",
    ),
    Cause(
        "module-not-loaded",
        seen=see_module_not_loaded,
        means="There is an NVIDIA card, and no driver for it is loaded: none is installed, or it was not built for "
        "this kernel.",
        remedy="Install driver {needs} or later, or rebuild its module for this kernel (dkms autoinstall), and "
        "modprobe nvidia.",
    ),
    Cause(
        "smi-no-driver",
        pattern=r"couldn't communicate with the NVIDIA driver|Failed to initialize NVML: Driver Not Loaded",
        means="NVIDIA's tools are here, and the driver's kernel module does not answer.",
        remedy="modprobe nvidia, and look into `dmesg | grep -i nvrm`; after a kernel upgrade rebuild the module (dkms "
        "autoinstall); else install the driver again.",
    ),
    Cause(
        "no-uvm",
        seen=see_no_uvm,
        means="The device for unified memory is missing, without which CUDA does not start: a container was given only "
        "a part of the devices, or the module nvidia_uvm is not loaded.",
        remedy="On the host: nvidia-modprobe -c 0 -u; in a container pass /dev/nvidia-uvm and /dev/nvidia-uvm-tools "
        "in, or use --gpus all.",
    ),
    Cause(
        "no-numbered-device",
        seen=see_no_numbered_device,
        means="The driver's control device is here, and none of a GPU itself: the container, or the job, was given "
        "none.",
        remedy="Give it a GPU (--gpus all, --gres=gpu:1, a resource nvidia.com/gpu), or on the host run "
        "nvidia-modprobe -c 0.",
    ),
    Cause(
        "device-permission",
        seen=see_device_permission,
        means="The files of the devices are there, and this user may not open them.",
        remedy="NVIDIA: modes of /dev/nvidia* should be 0666 (NVreg_DeviceFileMode). AMD and Intel: add the user to "
        "the groups render and video and log in again (containers: --group-add).",
    ),
    Cause(
        "gpu-lost",
        pattern=r"GPU is lost|has fallen off the bus|Unable to determine the device handle|uncorrectable ECC error|"
        r"GPU requires reset|CUDA error: hardware",
        means="The GPU itself does not answer any more, or reports broken memory.",
        remedy="Look for Xid messages (`dmesg | grep -i xid`), reset the GPU or reboot the machine; if it comes back, "
        "power, seating or the card are at fault.",
    ),
    Cause(
        "device-busy",
        pattern=r"all CUDA-capable devices are busy or unavailable|exclusive-process|devices unavailable",
        means="Another process holds the GPU alone (compute mode exclusive), or a process that died still does.",
        remedy="See `nvidia-smi` for its processes and compute mode; `nvidia-smi -c 0` allows several.",
    ),
    Cause(
        "gpu-memory",
        pattern=r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory",
        means="Other processes have taken the GPU's memory; this proof needs some 500 MB of it.",
        remedy="End them (`nvidia-smi` lists them) and prove again.",
    ),
    Cause(
        "cuda-unknown",
        pattern=r"CUDA unknown error|cudaErrorUnknown|Error 999|unknown error \(Triggered|error \(30\)",
        means="CUDA could not be started, and the driver does not say why: mostly the module nvidia_uvm is in a bad "
        "state (after suspend), device files are missing, or a control group forbids them.",
        remedy="modprobe -r nvidia_uvm && modprobe nvidia_uvm, or reboot; in a container restart it (after a "
        "`systemctl daemon-reload` of the host it loses its devices).",
    ),
    Cause(
        "cgroup-forbids",
        pattern=r"Failed to initialize NVML: Unknown Error|Insufficient Permissions|Operation not permitted.*nvidia",
        means="The container still shows the GPU's files, but its control group no longer allows their use.",
        remedy="Restart the container; use the driver cgroupfs or list the devices (--device /dev/nvidia0 …) so that a "
        "`systemctl daemon-reload` does not take them away again.",
    ),
    Cause(
        "invalid-device",
        pattern=r"invalid device ordinal|No CUDA-capable device is detected|Error 10[01]\b",
        seen=lambda seen: (
            "CUDA_VISIBLE_DEVICES={!r}".format(seen.variable("CUDA_VISIBLE_DEVICES"))
            if seen.variable("CUDA_VISIBLE_DEVICES") is not None
            else "CUDA_VISIBLE_DEVICES is not set"
        ),
        means="CUDA runs and finds no device: the variable names one that is not there, or no GPU was given here.",
        remedy="Compare CUDA_VISIBLE_DEVICES with `nvidia-smi -L`, or unset it.",
    ),
    Cause(
        "no-kfd",
        seen=see_no_kfd,
        means="AMD's compute device is missing: the kernel module amdgpu is not loaded, or the container was not given "
        "the device.",
        remedy="Load amdgpu (ROCm's dkms package for older kernels); in a container pass --device /dev/kfd --device "
        "/dev/dri --group-add render --group-add video.",
    ),
    Cause(
        "xpu-runtime",
        pattern=r"XPU device count is zero|PI_ERROR|UR_RESULT_ERROR|ZE_RESULT_ERROR|libze_loader",
        means="Intel's compute runtime (Level Zero) finds no GPU, or is not installed.",
        remedy="Install intel-level-zero-gpu (libze1, libze-intel-gpu1) and a kernel that knows the GPU; add the "
        "user to the group render.",
    ),
    Cause(
        "no-driver",
        pattern=r"Found no NVIDIA driver on your system",
        means="There is no NVIDIA driver here that torch could find.",
        remedy="Install driver {needs} or later; if this machine is to have no GPU, take the bundle's cpu build. An "
        "image for another machine may stay as it is: prove again there.",
    ),
    Cause(
        "no-gpu",
        seen=see_no_gpu,
        means="Nothing of a GPU is to be seen on this machine.",
        remedy="If it is to have none, take the bundle's cpu build; an image for another machine may stay as it is: "
        "prove again there.",
    ),
    Cause(
        "minor-version-compatibility",
        seen=see_minor_compatibility,
        means="The driver is older than the build's CUDA, and runs it by minor-version compatibility: code that is "
        "compiled at run time (PTX, some of torch.compile) may fail.",
        remedy="Driver {toolkit} or later has no such limit.",
        note=True,
    ),
)
