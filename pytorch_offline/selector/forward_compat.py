"""Does the user-mode CUDA that a machine reports count, or its kernel driver alone?

``nvidia-smi`` shows the kernel driver, and beside it the CUDA version of the ``libcuda`` that it found. Mostly that is
the driver's own. Where it is above what the driver's branch came with, the cuda-compat package is in front of it
(forward compatibility), as in a container whose image is newer than its host. That works for data-centre GPUs, for
professional RTX and Quadro cards and for Jetson, on the branches that the package accepts; for GeForce and TITAN
never: nvidia-smi still shows the version, but CUDA then fails with error 804. Where it is below, an old cuda-compat
hides the driver's own library, and CUDA fails with error 803.

Sources: NVIDIA, CUDA compatibility, "forward compatibility"; research/selectors.md, sections 6 (rule 2) and 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.knowledge.cuda_driver import read_cuda_driver_table
from pytorch_offline.knowledge.forward_compat import accepted_branches
from pytorch_offline.knowledge.gpus import classes_of

if TYPE_CHECKING:
    from packaging.version import Version

    from pytorch_offline.target.model import Accelerator, Device

# GeForce, TITAN and their mobile kin; "forward compatibility is for data-centre GPUs and select NGC-ready RTX cards".
_NEVER = frozenset({"consumer", "mobile"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMode:
    """What the reported user-mode CUDA is worth.

    Args:
        cuda: the version that counts; None if none is reported, or if it does not count.
        raised: in words, what raised it above the driver's own and what of that is assumed; None if nothing did.
        refused: in words, why a reported version does not count.
        advice: what to do about a refused one.
    """

    cuda: Version | None = None
    raised: str | None = None
    refused: str | None = None
    advice: str = ""


def judge_user_mode(accelerator: Accelerator, system: str) -> UserMode:
    """Judge the user-mode CUDA of an accelerator; ``system`` is the one whose driver numbers it has.

    A version that is reported without a driver counts as it stands: nothing contradicts it.
    """
    cuda, driver = accelerator.cuda, accelerator.driver
    if cuda is None or driver is None:
        return UserMode(cuda=cuda)
    table = read_cuda_driver_table(system)
    covered, shipped = table.covered_by(driver), table.shipped_with(driver)
    came = f"driver {accelerator.driver_text}, which came with CUDA {shipped}"
    if covered is not None and cuda < covered:
        refused = f"user-mode CUDA {cuda} is older than {came}, and a cuda-compat library older than the driver fails"
        if system == "Windows":
            return UserMode(refused=f"user-mode CUDA {cuda} is older than {came}", advice=_CONTRADICTION)
        return UserMode(refused=f"{refused} (CUDA error 803)", advice=_WITHOUT_COMPAT)
    if not any(newer <= cuda for newer in table.toolkit if shipped is None or newer > shipped):
        return UserMode(cuda=cuda)
    if system == "Windows":
        refused = f"user-mode CUDA {cuda} is above {came}, and cuda-compat exists for Linux drivers alone"
        return UserMode(refused=refused, advice=_CONTRADICTION)
    return _judge_compat(cuda, driver, accelerator.devices, came)


_WITHOUT_COMPAT = "take the cuda-compat directory out of the library path, or use an image of the driver's own CUDA"
_CONTRADICTION = "these two contradict each other: read both from the same nvidia-smi"


def _judge_compat(cuda: Version, driver: Version, devices: tuple[Device, ...], came: str) -> UserMode:
    above = f"user-mode CUDA {cuda} is above {came}: cuda-compat is at work"
    classes = [(device, classes_of(device.name, device.compute_capability)) for device in devices]
    for device, one in classes:
        if one and one <= _NEVER:
            name = device.name or "compute capability {}.{}".format(*device.compute_capability or (0, 0))
            refused = f"{above}, which {name} is refused (CUDA error 804): it is for data-centre and professional GPUs"
            return UserMode(refused=refused, advice=_WITHOUT_COMPAT)
    accepted = None if all(one == {"jetson"} for _, one in classes) and classes else accepted_branches(cuda)
    branch = driver.major  # cuda-compat's lists are of exact branches: "driver>=470,driver<471"
    if accepted is not None and branch not in accepted.all:
        listed = ", ".join(map(str, accepted.all))
        return UserMode(
            refused=f"{above}, but cuda-compat {cuda} accepts the driver branches {listed}, not {branch}",
            advice=_WITHOUT_COMPAT,
        )
    assumed = []
    if not classes or any(not one or one & _NEVER for _, one in classes):
        assumed.append("the GPU is one that cuda-compat serves (data-centre or professional, not GeForce)")
    if accepted is None or branch in accepted.likely:
        assumed.append(f"cuda-compat {cuda} accepts driver branch {branch}")
    by = f"by cuda-compat, above {came}"
    return UserMode(cuda=cuda, raised=f"{by}; assumed: {' and '.join(assumed)}" if assumed else by)
