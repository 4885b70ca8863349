"""Can this machine run what torch of a lock was built for? The selector's verdicts, from values alone.

The rules are those of ``selector/rules/drivers.py``, ``forward_compat.py`` and ``architectures.py``, whose docstrings
name the sources; here they decide over what the probe saw and what the manifest carries (``DriverFacts``,
``CudaNeed``), with neither tables nor libraries. The tests hold the two against each other.
"""

from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from pytorch_offline.bundle.format.driver_facts import (
    CompatBranches,
    DriverFacts,
    LeastDriver,
    product_key,
    sounds_like_consumer,
)
from pytorch_offline.bundle.format.model import CudaNeed, TargetLock
from pytorch_offline.installer.model import Misfit

# The first CUDA major with minor-version compatibility (NVIDIA, CUDA compatibility).
FIRST_MINOR_COMPATIBLE_CUDA = 11
# Parts of Jetson, which run no code but their own (CUDA programming guide; cc_runs.csv).
TEGRA_CHIPS = frozenset([(3, 2), (5, 3), (6, 2), (7, 2), (8, 7), (10, 1)])
# Those of them that official builds never served: a Jetson from before L4T R38 (target/model.py).
OLDER_TEGRA_CHIPS = TEGRA_CHIPS - frozenset([(10, 1)])
FIRST_COMMON_L4T = 38
# Thor was called 10.1 before CUDA 13, and runs code of either name.
RENAMED_CHIPS = {(11, 0): (10, 1)}
JETSON_BRANDS = ("jetson", "tegra", "orin", "xavier", "thor")

MACHINE_KINDS = {"cuda": "an NVIDIA GPU", "rocm": "an AMD GPU", "xpu": "an Intel GPU", "mps": "Apple's GPU"}
BUILD_KINDS = {"cuda": "NVIDIA GPUs", "rocm": "AMD GPUs", "xpu": "Intel GPUs"}

Chip = Tuple[int, int]


class AcceleratorFit(NamedTuple):
    """What became of the question.

    Args:
        rule: what it fails by: ``accelerator`` (another kind of machine, or none), ``driver``, ``device``; empty if it
            runs.
        detail: a sentence that says why.
        caveats: what is to be told all the same.
        native: nothing has to be bridged by compatibility modes.
    """

    rule: str
    detail: str
    caveats: Tuple[str, ...] = ()
    native: bool = False

    @property
    def runs(self) -> bool:
        """Whether torch of the lock can compute on the machine as it was built to."""
        return not self.rule

    @property
    def hinders(self) -> bool:
        """Whether this is a reason not to choose the lock.

        A machine without a GPU may be given a CUDA build, by whoever prepares an image for another machine, and a
        machine with one a CPU build; a GPU that the build cannot use is a reason.
        """
        return self.rule in ("driver", "device")

    @property
    def rank(self) -> int:
        """How well it suits the machine, the higher the better: natively, with caveats, for another machine."""
        return 0 if not self.runs else 2 if self.native else 1


class UserModeVerdict(NamedTuple):
    """The CUDA that a machine's libcuda reports and that counts; else in words why it does not (``refused``)."""

    counts: Optional[Tuple[int, ...]]
    text: str = ""
    raised: str = ""
    refused: str = ""


def kind_of_backend(backend: Optional[str]) -> str:
    """Say what kind of accelerator a backend is for: ``cuda``, ``rocm``, ``xpu``; else ``none``."""
    text = backend or ""
    if text.startswith("cu") and text[2:3].isdigit():
        return "cuda"
    return next((kind for kind in ("rocm", "xpu") if text.startswith(kind)), "none")


def dotted_numbers(text: Optional[str]) -> Optional[Tuple[int, ...]]:
    """Read dotted numbers, trailing zeros away, so that 580 is 580.0; None for anything else."""
    parts = (text or "").split(".")
    if not all(part.isdigit() for part in parts):
        return None
    numbers = [int(part) for part in parts]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def branch_of_driver(driver: Tuple[int, ...]) -> int:
    """Name a driver's branch: 535 for 535.104.05 and for Windows' 537.13."""
    return driver[0] - driver[0] % 5


def chip_of(device: Mapping[str, Any]) -> Optional[Chip]:
    """Read the compute capability of one of the probe's devices."""
    numbers = dotted_numbers(device.get("compute_capability"))
    if numbers is None:
        return None
    return numbers[0], numbers[1] if len(numbers) > 1 else 0


def name_of_device(device: Mapping[str, Any]) -> str:
    """Name a device for people."""
    kind = device.get("gfx") or "compute capability {}".format(device.get("compute_capability") or "unknown")
    return f"{device['name']} ({kind})" if device.get("name") else kind


def judge_accelerator(lock: TargetLock, machine: Mapping[str, Any], facts: Optional[DriverFacts]) -> Tuple[Misfit, ...]:
    """Say why a machine, as the probe describes it, hinders a lock; empty if nothing does."""
    fit = judge_backend(lock.backend, lock.cuda, machine.get("accelerator"), system_of(machine), facts)
    return (Misfit(fit.rule, fit.detail),) if fit.hinders else ()


def system_of(machine: Mapping[str, Any]) -> str:
    """Name the operating system of a machine that the probe described."""
    return str((machine.get("marker_environment") or {}).get("platform_system") or "Linux")


def judge_backend(
    backend: Optional[str],
    need: Optional[CudaNeed],
    accelerator: Optional[Mapping[str, Any]],
    system: str,
    facts: Optional[DriverFacts],
) -> AcceleratorFit:
    """Judge what torch of a lock was built for against a machine.

    Args:
        backend: as the lock has it; None without torch.
        need: of a CUDA build.
        accelerator: as the probe describes it (``describe()["accelerator"]``); None where nothing is known.
        system: the machine's ``platform.system()``.
        facts: the manifest's tables; without them only what ``need`` itself says counts.
    """
    wanted = kind_of_backend(backend)
    there = str((accelerator or {}).get("kind") or "none")
    if wanted == "none":
        if there in ("none", "mps") or backend is None:
            return AcceleratorFit("", "CPU builds run everywhere", native=True)
        return AcceleratorFit("", f"a CPU build runs everywhere, and leaves {MACHINE_KINDS[there]} unused")
    if wanted != there:
        owner = MACHINE_KINDS.get(there, "no GPU that is known")
        detail = f"{backend} is for {BUILD_KINDS[wanted]}; this machine has {owner}"
        return AcceleratorFit("accelerator", detail)
    machine = accelerator or {}
    if wanted != "cuda" or need is None:
        return AcceleratorFit("", f"{backend} is for {BUILD_KINDS[wanted]}", native=True)
    by_driver = judge_cuda_driver(str(backend), need, machine, system, facts)
    if not by_driver.runs:
        return by_driver
    lacking = describe_unserved(need, machine)
    if lacking:
        return AcceleratorFit("device", f"{backend} has {lacking}", by_driver.caveats)
    return by_driver


def judge_cuda_driver(
    backend: str, need: CudaNeed, machine: Mapping[str, Any], system: str, facts: Optional[DriverFacts]
) -> AcceleratorFit:
    """Judge an NVIDIA machine's driver, and the user-mode CUDA beside it, against a CUDA build."""
    system = "Windows" if (machine.get("driver_system") or system) == "Windows" else "Linux"
    driver, cuda = dotted_numbers(machine.get("driver")), dotted_numbers(need.cuda) or (0,)
    if driver is None and dotted_numbers(machine.get("cuda")) is None:
        if is_older_jetson(machine):
            detail = f"{backend} is built for servers; the GPU of a Jetson before L4T R38 runs no code but its own"
            return AcceleratorFit("device", detail)
        detail = "there is an NVIDIA device, but neither its driver nor its CUDA version could be found out"
        return AcceleratorFit("driver", detail)
    mode = judge_user_mode_cuda(machine, system, facts)
    caveats: Tuple[str, ...] = (mode.refused,) if mode.refused else ()
    has = "driver {}".format(machine["driver"]) if driver is not None else f"user-mode CUDA {mode.text}"
    lacks = f"{has} ({mode.refused})" if mode.refused else has
    for device in _devices_of(machine):
        first = _branches_of_chip(facts, chip_of(device))[0]
        if driver is not None and first is not None and branch_of_driver(driver) < first:
            detail = f"{backend} needs driver {first} or later to know {name_of_device(device)} at all; here is {has}"
            return AcceleratorFit("driver", detail)
        caveats += _left_behind(facts, machine, device)
    raised = f" ({mode.raised})" if mode.raised else ""
    if mode.counts is not None and mode.counts >= cuda:
        return AcceleratorFit("", f"user-mode CUDA {mode.text} covers {backend}{raised}", caveats, native=True)
    own_text = _least_of(facts.toolkits[system], need.cuda) if facts else need.toolkit_driver
    own = dotted_numbers(own_text)
    if driver is not None and own is not None and driver >= own:
        return AcceleratorFit("", f"{has} covers {backend} (needs {own_text})", caveats, native=True)
    if cuda[0] < FIRST_MINOR_COMPATIBLE_CUDA:
        needs = f"driver {own_text} or later" if own else "a driver that no table knows"
        return AcceleratorFit("driver", f"{backend} needs {needs}; here is {lacks}", caveats)
    floor_text = _least_of(facts.floors[system], str(cuda[0])) if facts else need.minor_floor
    floor = dotted_numbers(floor_text)
    caveat = f"; code compiled at run time, PTX, needs driver {own_text}" if own else ""
    if mode.counts is not None and mode.counts[0] >= cuda[0]:
        detail = f"user-mode CUDA {mode.text} runs {backend} by minor-version compatibility{raised}{caveat}"
        return AcceleratorFit("", detail, caveats)
    if driver is not None and floor is not None and driver >= floor:
        detail = f"{has} runs {backend} by minor-version compatibility (floor {floor_text}){caveat}"
        return AcceleratorFit("", detail, caveats)
    needs = f"driver {floor_text} or later" if floor else "a driver that no table knows"
    return AcceleratorFit("driver", f"{backend} needs {needs}; here is {lacks}", caveats)


def judge_user_mode_cuda(machine: Mapping[str, Any], system: str, facts: Optional[DriverFacts]) -> UserModeVerdict:
    """Judge whether the CUDA that libcuda reports counts: above or below the driver's own, cuda-compat is at work."""
    text = str(machine.get("cuda") or "")
    cuda, driver = dotted_numbers(machine.get("cuda")), dotted_numbers(machine.get("driver"))
    if cuda is None or driver is None or facts is None:
        return UserModeVerdict(cuda, text)
    table = {dotted_numbers(row.cuda) or (0,): dotted_numbers(row.driver) or (0,) for row in facts.toolkits[system]}
    covered = max((one for one, least in table.items() if least <= driver), default=None)
    branch = branch_of_driver(driver)
    shipped = max((one for one, least in table.items() if branch_of_driver(least) <= branch), default=None)
    below = covered is not None and cuda < covered
    above = any(newer <= cuda for newer in table if shipped is None or newer > shipped)
    if not below and not above:
        return UserModeVerdict(cuda, text)
    came = "driver {}".format(machine["driver"])
    ignored = "user-mode CUDA {} does not count: it is {} {}".format(text, "below" if below else "above", came)
    if system == "Windows":
        return UserModeVerdict(None, refused=f"{ignored}, and there is no cuda-compat for Windows")
    if below:
        hides = "an old cuda-compat hides the driver's own library, and that fails (CUDA error 803)"
        return UserModeVerdict(None, refused=f"{ignored}, so {hides}")
    fails = _compat_fails(cuda, driver, _devices_of(machine), facts)
    if fails:
        return UserModeVerdict(None, refused=f"{ignored}, so cuda-compat is at work, which {fails}")
    return UserModeVerdict(cuda, text, raised=f"cuda-compat raised it above {came}")


def _compat_fails(
    cuda: Tuple[int, ...], driver: Tuple[int, ...], devices: Sequence[Mapping[str, Any]], facts: DriverFacts
) -> str:
    """Say why cuda-compat of this version fails on such a machine; empty if nothing is known to be in the way."""
    for device in devices:
        name = str(device.get("name") or "")
        if sounds_like_consumer(name) is not (product_key(name) in facts.exceptions):
            return "fails on {} (CUDA error 804; it is for data-centre and professional GPUs alone)".format(
                device["name"]
            )
    if devices and all(_is_jetson(device) for device in devices):
        return ""  # the lists are of desktop drivers; Jetson's have numbers of their own
    row = next((row for row in facts.compat if dotted_numbers(row.cuda) == cuda), None)
    if row is None or driver[0] in row.known + row.likely:  # exact branches: "driver>=470,driver<471"
        return ""
    return f"accepts the driver branches {_spelt_branches(row)}, and not {driver[0]}"


def _spelt_branches(row: CompatBranches) -> str:
    return ", ".join(str(branch) for branch in sorted(row.known + row.likely))


def _is_jetson(device: Mapping[str, Any]) -> bool:
    name = str(device.get("name") or "").lower()
    return any(brand in name for brand in JETSON_BRANDS) or (not name and chip_of(device) in TEGRA_CHIPS)


def is_older_jetson(machine: Mapping[str, Any]) -> bool:
    """Whether this is a Jetson from before L4T R38, whose driver and GPU are its own."""
    release = dotted_numbers(machine.get("l4t"))
    if release is not None and release[0] < FIRST_COMMON_L4T:
        return True
    return any(chip_of(device) in OLDER_TEGRA_CHIPS for device in _devices_of(machine))


def describe_unserved(need: CudaNeed, machine: Mapping[str, Any]) -> str:
    """Say for which device a build has no code of its own; empty if none is known to lack it.

    PTX is not counted on: cuBLAS and cuDNN beside it have none (docs/adr/0006).
    """
    plain, specific = split_capabilities(need.capabilities)
    for device in _devices_of(machine):
        chip = chip_of(device)
        if chip is None or (not plain and not specific and chip not in TEGRA_CHIPS):
            continue
        if not (plain & chips_that_run_on(chip, plain)) and chip not in specific:
            has = ", ".join(need.capabilities) or "none that is known"
            behind = ""
            if chip in TEGRA_CHIPS:
                behind = "; this part of Jetson runs no code but its own"
            elif need.ptx:
                behind = f"; its PTX ({need.ptx}) is not counted on, the libraries beside it have none"
            return f"no kernels for {name_of_device(device)}: it has {has}{behind}"
    return ""


def split_capabilities(texts: Sequence[str]) -> Tuple[FrozenSet[Chip], FrozenSet[Chip]]:
    """Read capabilities: code that later minors run too (``9.0``, ``10.0f``), and code for one chip (``9.0a``)."""
    plain: Set[Chip] = set()
    specific: Set[Chip] = set()
    for text in texts:
        numbers = dotted_numbers(text.rstrip("abcdefghijklmnopqrstuvwxyz"))
        if numbers is None:
            continue
        chip = (numbers[0], numbers[1] if len(numbers) > 1 else 0)
        (specific if text[-1:].isalpha() and text[-1:] != "f" else plain).add(chip)
    return frozenset(plain), frozenset(specific)


def chips_that_run_on(chip: Chip, code: FrozenSet[Chip]) -> FrozenSet[Chip]:
    """Say which of the code a chip runs: its major up to its minor; parts of Jetson run their own, and no other does.

    Source: CUDA programming guide, binary compatibility; cc_runs.csv.
    """
    own = {chip, RENAMED_CHIPS.get(chip, chip)}
    if chip not in TEGRA_CHIPS:
        own |= {one for one in code if one[0] == chip[0] and one[1] <= chip[1] and one not in TEGRA_CHIPS}
    return frozenset(own)


def _devices_of(machine: Mapping[str, Any]) -> List[Dict[str, Any]]:
    return list(machine.get("devices") or ())


def _least_of(rows: Sequence[LeastDriver], cuda: str) -> Optional[str]:
    wanted = dotted_numbers(cuda)
    return next((row.driver for row in rows if dotted_numbers(row.cuda) == wanted), None)


def _branches_of_chip(facts: Optional[DriverFacts], chip: Optional[Chip]) -> Tuple[Optional[int], Optional[int]]:
    for row in facts.chips if facts is not None and chip is not None else ():
        if chip_of({"compute_capability": row.capability}) == chip:
            return row.first, row.last
    return None, None


def _left_behind(
    facts: Optional[DriverFacts], machine: Mapping[str, Any], device: Mapping[str, Any]
) -> Tuple[str, ...]:
    """Say that a driver no longer drives a device: then something is wrong with what was found out."""
    last = _branches_of_chip(facts, chip_of(device))[1]
    driver = dotted_numbers(machine.get("driver"))
    if driver is None or last is None or branch_of_driver(driver) <= last:
        return ()
    told = "driver {} does not drive {} any more: {} was the last branch that did"
    return (told.format(machine["driver"], name_of_device(device), last),)
