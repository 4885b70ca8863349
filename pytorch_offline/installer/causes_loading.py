"""Known causes of a torch that cannot be imported, that dies, or that computes on the CPU wrongly; and notes.

The texts are those of the dynamic loaders, of Python and of PyTorch, as they stand in public reports; PyTorch's CPU
builds need AVX2 for their fast paths and SSE4.2 to start at all.
"""

from typing import Tuple

from pytorch_offline.installer.causes_gpu import GPU_CAUSES
from pytorch_offline.installer.diagnosis import Cause, Seen

# Worker processes of a DataLoader hand tensors over in /dev/shm; Docker gives 64 MB of it.
SHARED_MEMORY_FLOOR = 256 * 1024 * 1024


def see_signal(seen: Seen, *names: str) -> str:
    """See a process that was killed by one of these signals."""
    ended = seen.report.ended if seen.report is not None else ""
    return f"the process {ended}" if any(f"killed by {name}" in ended for name in names) else ""


def see_illegal_instruction(seen: Seen) -> str:
    """See a CPU that does not know an instruction, and what it lacks."""
    ended = see_signal(seen, "SIGILL")
    flags = seen.facts.cpu_flags
    lacks = [name for name in ("sse4_2", "avx", "avx2", "fma") if name not in flags] if "sse2" in flags else []
    return ended + (f"; this CPU has no {', '.join(lacks)}" if lacks else "") if ended else ""


def see_memory_killer(seen: Seen) -> str:
    """See a process that the kernel killed, and how much memory it may have."""
    ended = "" if seen.report is None or seen.report.timed_out else see_signal(seen, "SIGKILL")
    limit = seen.facts.memory_limit
    return ended + (f"; memory limit {limit // 1024**2} MiB" if limit else "") if ended else ""


def see_hanging(seen: Seen) -> str:
    """See a process that had to be ended."""
    return f"the process {seen.report.ended}" if seen.report is not None and seen.report.timed_out else ""


def see_foreign_libraries(seen: Seen) -> str:
    """See CUDA or C++ libraries of the machine, loaded in the stead of those that were installed."""
    path = seen.variable("LD_LIBRARY_PATH") or seen.variable("LD_PRELOAD")
    if not path or seen.report is None:
        return ""
    step = seen.report.step("libraries")
    folders = tuple(folder for folder in path.split(":") if folder.startswith("/"))
    files = [str(one) for one in (step.facts.get("files") or ())] if step is not None else []
    foreign = [one for one in files if one.startswith(folders) and "/libcuda." not in one] if folders else []
    failed = any(one.error for one in seen.report.steps if one.name.startswith(("import", "cuda", "torch")))
    return f"loaded by LD_LIBRARY_PATH or LD_PRELOAD: {', '.join(foreign[:5])}" if foreign and failed else ""


def see_library_path(seen: Seen) -> str:
    """Say what the library path is, where that may be the cause."""
    return "LD_LIBRARY_PATH={!r}".format(seen.variable("LD_LIBRARY_PATH") or "")


def see_shadows(seen: Seen) -> str:
    """See what a normal run of the interpreter would import instead."""
    return "; ".join(seen.shadows[:3])


def see_conda_torch(seen: Seen) -> str:
    """See packages of conda's for what the wheels bring too."""
    ours = [f"{name} {version}" for name, version in sorted(seen.conda.items()) if name in ("pytorch", "torch")]
    ours += [f"{name} {version}" for name, version in sorted(seen.conda.items()) if name.startswith("pytorch-")]
    return f"conda owns {', '.join(ours)}" if ours else ""


def see_no_avx2(seen: Seen) -> str:
    """See an x86 CPU without AVX2."""
    flags = seen.facts.cpu_flags
    return "the CPU's flags have no avx2" if "sse2" in flags and "avx2" not in flags else ""


def see_little_shared_memory(seen: Seen) -> str:
    """See a small /dev/shm."""
    size = seen.facts.shared_memory
    small = size is not None and size < SHARED_MEMORY_FLOOR
    return f"/dev/shm has {size // 1024**2} MiB" if small and size is not None else ""  # noqa: S108  (not written to)


def see_home_read_only(seen: Seen) -> str:
    """See a home directory that cannot be written."""
    return "the home directory cannot be written" if seen.facts.home_writable is False else ""


LOADING_CAUSES: Tuple[Cause, ...] = (
    Cause(
        "hanging",
        seen=see_hanging,
        means="The step did not come back: a driver that hangs, a network file system that does not answer, or a GPU "
        "in error.",
        remedy="Look for Xid or hung-task messages (`dmesg`), try `nvidia-smi`; where only the disk is slow, prove "
        "again (--prove-only) once it is warm.",
    ),
    Cause(
        "illegal-instruction",
        seen=see_illegal_instruction,
        means="The CPU does not know an instruction that this build uses.",
        remedy="Use another machine, an older torch, or in a virtual machine pass the host's CPU through (cpu model "
        "host), which gives AVX2.",
    ),
    Cause(
        "memory-killed",
        seen=see_memory_killer,
        means="The kernel killed the process, mostly because memory ran out: a CUDA build of torch takes 1 to 3 GB to "
        "import and start.",
        remedy="Give the machine, container or job more memory (`dmesg | grep -i oom` tells), and prove again.",
    ),
    Cause(
        "torchvision-pairing",
        pattern=r"operator torchvision::\w+ does not exist|Couldn't load custom C\+\+ ops|"
        r"torchvision/(?:_C|image)\S*\.so: undefined symbol|"
        r"Could not run 'torchvision::\w+' with arguments from the '\w+' backend",
        means="torchvision was built for another torch than the one that is here: version or backend do not belong "
        "together.",
        remedy="Install both from one lock of the bundle into a fresh environment; in PyTorch's table each torchvision "
        "belongs to exactly one torch, and to the same backend.",
    ),
    Cause(
        "torchaudio-pairing",
        pattern=r"(?:torchaudio/\S*\.so|libtorchaudio\S*|_torchaudio\S*): (?:undefined symbol|cannot open)",
        means="torchaudio was built for another torch than the one that is here.",
        remedy="Install both from one lock of the bundle into a fresh environment; each torchaudio belongs to exactly "
        "one torch.",
    ),
    Cause(
        "glibc-too-old",
        pattern=r"version [`']?GLIBC_[0-9.]+'? not found",
        means="The C library of this system is older than the one that the build needs.",
        remedy="Use a lock for this glibc (fetch with --glibc or this machine's detect file), or a newer system or "
        "container.",
    ),
    Cause(
        "libstdcxx-too-old",
        pattern=r"version [`']?(?:GLIBCXX|CXXABI|GCC)_[0-9.]+'? not found",
        seen=see_library_path,
        means="The C++ library that was found is older than the one that the build needs: the system's, conda's, or"
        " one that LD_LIBRARY_PATH puts in front.",
        remedy="Take the directory in question out of LD_LIBRARY_PATH; in conda `conda install libstdcxx-ng` from what "
        "you have offline; else a newer system or container.",
    ),
    Cause(
        "other-cuda-libraries",
        pattern=r"undefined symbol: \S*(?:nvJitLink|cudnn|cublas|cusparse|cusolver|nccl|cudart|nvrtc|cupti)\S*|"
        r"(?:libcudnn|libcublas|libcusparse|libnccl|libnvJitLink)\S* ?: undefined symbol|"
        r"cuDNN version incompatibility|CUDNN_STATUS_(?:NOT_INITIALIZED|SUBLIBRARY_VERSION_MISMATCH|VERSION_MISMATCH)",
        seen=see_library_path,
        means="CUDA libraries of another version were loaded instead of those that were installed with torch: the "
        "library path, or a package left over, puts them in front.",
        remedy="Unset LD_LIBRARY_PATH (torch brings its own CUDA libraries and needs no toolkit) and prove again; else "
        "look for another version of the nvidia-* packages in the environment.",
    ),
    Cause(
        "foreign-libraries",
        seen=see_foreign_libraries,
        means="Libraries of the machine were loaded instead of those that were installed with torch.",
        remedy="Unset LD_LIBRARY_PATH and LD_PRELOAD and prove again.",
    ),
    Cause(
        "mkl-mixture",
        pattern=r"undefined symbol: (?:iJIT_NotifyEvent|mkl_\w+|iomp_\w+|__kmpc\w+)|libmkl_\w+\.so\S*: cannot open",
        means="Another version of Intel's MKL or OpenMP is in the way, mostly conda's beside a torch from wheels.",
        remedy="Use an environment of its own for the wheels (--venv); mixing conda's pytorch packages with wheels "
        "does not work.",
    ),
    Cause(
        "undefined-symbol",
        pattern=r"undefined symbol: \S+",
        seen=see_library_path,
        means="Two libraries that do not belong together were loaded: files of two versions in one environment, or "
        "another copy in front.",
        remedy="Install into a fresh environment (--venv), with LD_LIBRARY_PATH and LD_PRELOAD unset.",
    ),
    Cause(
        "openmp-missing",
        pattern=r"lib(?:gomp|omp|iomp5)\S*: cannot open shared object file",
        means="The OpenMP library is missing, which this torch takes from the system.",
        remedy="Install libgomp1 (Debian, Ubuntu) or libgomp (Red Hat, SUSE) from the system's media.",
    ),
    Cause(
        "system-library-missing",
        pattern=r"lib(?:numa|rdmacm|ibverbs|elf|drm\w*|tinfo|ncurses\w*|openblas|gfortran|atomic|GL|glib)\S*: "
        r"cannot open shared object file",
        means="A library of the system is missing that this build takes from there.",
        remedy="Install it from the system's media: libnuma1 or numactl-libs, libopenblas0, libelf1, libdrm2 …; the "
        "message names the file.",
    ),
    Cause(
        "cuda-library-missing",
        pattern=r"lib(?:cu\w+|nv\w+|nccl\w*)\.so\S*: cannot open shared object file",
        seen=lambda seen: "" if seen.report is None or seen.report.version else "torch could not be imported",
        means="A CUDA library that should lie in the environment's nvidia folder is not found.",
        remedy="Install the whole lock, with its nvidia-* packages; do not install torch alone with --no-deps.",
    ),
    Cause(
        "static-tls",
        pattern=r"cannot allocate memory in static TLS block|cannot load any more object with static TLS",
        means="The loader has no room left for thread-local data of a library that was loaded late (older glibc, "
        "mostly on ARM).",
        remedy="Import torch first in the program, or set LD_PRELOAD to the library that the message names.",
    ),
    Cause(
        "no-exec",
        pattern=r"failed to map segment from shared object",
        means="The environment lies on a file system that forbids execution (mounted noexec), or memory ran out.",
        remedy="Install onto a file system without noexec (`findmnt -T DIR` tells).",
    ),
    Cause(
        "executable-stack",
        pattern=r"cannot enable executable stack",
        means="This old build asks for an executable stack, which glibc 2.41 and newer, or SELinux, refuse.",
        remedy="Use a newer torch; or start Python with GLIBC_TUNABLES=glibc.rtld.execstack=2; under SELinux allow "
        "execstack for it.",
    ),
    Cause(
        "wrong-architecture",
        pattern=r"wrong ELF class|invalid ELF header|cannot open shared object file: Exec format|"
        r"incompatible architecture|file too short|not a valid Win32 application",
        means="A library is for another architecture, or is cut short.",
        remedy="Verify the bundle (--verify-only) and install again with the lock of this machine's architecture.",
    ),
    Cause(
        "windows-runtime",
        pattern=r"WinError 126|WinError 1114|WinError 127|DLL load failed|fbgemm\.dll|c10\.dll",
        means="A DLL that torch needs is missing: mostly Microsoft's Visual C++ runtime.",
        remedy="Install the Visual C++ Redistributable 2015-2022 (x64) that matches, and prove again.",
    ),
    Cause(
        "numpy-abi",
        pattern=r"compiled using NumPy 1\.x cannot be run in|_ARRAY_API not found|Numpy is not available|"
        r"numpy\.core\.multiarray failed to import",
        means="This torch was built for NumPy 1, and NumPy 2 is here (or none).",
        remedy="Lock numpy<2 with torch before 2.3 (pytorch-offline fetch … 'numpy<2'), and carry it over.",
    ),
    Cause(
        "disk-bad",
        seen=lambda seen: see_signal(seen, "SIGBUS"),
        means="A file that was mapped could not be read: it is cut short, the disk is bad, or /dev/shm is full.",
        remedy="Prove again (every file is hashed); look into `dmesg`; enlarge /dev/shm (--shm-size).",
    ),
    Cause(
        "crash",
        seen=lambda seen: see_signal(seen, "SIGSEGV", "SIGABRT", "SIGFPE"),
        means="Native code crashed: mostly libraries of two versions together, a driver in error, or broken memory.",
        remedy="Try without LD_LIBRARY_PATH and LD_PRELOAD, in a fresh environment; the step that it happened in is "
        "named above.",
    ),
    Cause(
        "shadowed",
        seen=see_shadows,
        means="A normal run of this Python finds something else before what was installed here.",
        remedy="Remove it, or start Python with -I, with PYTHONNOUSERSITE=1 and without PYTHONPATH.",
        note=True,
    ),
    Cause(
        "conda-torch",
        seen=see_conda_torch,
        means="conda has packages of its own for what the wheels bring; conda will overwrite them with its next step.",
        remedy="Use an environment that conda has no pytorch in, or a virtual environment (--venv).",
        note=True,
    ),
    Cause(
        "no-avx2",
        seen=see_no_avx2,
        means="Without AVX2 torch computes on the CPU several times slower, and some packages beside it do not start.",
        remedy="In a virtual machine pass the host's CPU through; else nothing is to be done.",
        note=True,
    ),
    Cause(
        "little-shared-memory",
        seen=see_little_shared_memory,
        means="Worker processes of a DataLoader hand tensors over in /dev/shm and fail with a bus error where it is "
        "full; NCCL uses it too.",
        remedy="Start the container with --shm-size=8g (or --ipc=host); in Kubernetes mount an emptyDir of medium "
        "Memory at /dev/shm.",
        note=True,
    ),
    Cause(
        "home-read-only",
        seen=see_home_read_only,
        means="torch.hub, torch.compile and CUDA keep caches in the home directory, and will fail or be slow.",
        remedy="Set TORCH_HOME, TORCHINDUCTOR_CACHE_DIR, TRITON_CACHE_DIR and CUDA_CACHE_PATH to a writable place.",
        note=True,
    ),
)

# A torch that cannot be loaded is told before a GPU that is not used.
KNOWN_CAUSES: Tuple[Cause, ...] = LOADING_CAUSES + GPU_CAUSES
