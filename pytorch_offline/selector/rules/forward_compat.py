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
NEVER_COMPAT = frozenset({"consumer", "mobile"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMode:
    """What the reported user-mode CUDA is worth.

    Args:
        cuda: the version that counts; None if none is reported, or if it does not count.
        raised: in words, what raised it above the driver's own and what of that is assumed; None if nothing did.
        refused: in words, why a reported version does not count.
        briefly: the same in a few words, for a place beside others.
        advice: what to do about a refused one.
    """

    cuda: Version | None = None
    raised: str | None = None
    refused: str | None = None
    briefly: str = ""
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
    came = f"driver {accelerator.driver_text}" + (f", which came with CUDA {shipped}" if shipped else "")
    image = f"take the cuda-compat directory out of the library path, or use an image of CUDA {shipped or 'its time'}"
    below = covered is not None and cuda < covered
    above = any(newer <= cuda for newer in table.toolkit if shipped is None or newer > shipped)
    if not below and not above:
        return UserMode(cuda=cuda)
    ignored = f"user-mode CUDA {cuda} does not count: it is {'below' if below else 'above'} {came}"
    briefly = f"user-mode CUDA {cuda} does not count"
    if system == "Windows":
        refused = f"{ignored}, and there is no cuda-compat for Windows"
        return UserMode(refused=refused, briefly=f"{briefly} beside this driver", advice=_CONTRADICTION)
    if below:
        refused = f"{ignored}, so an old cuda-compat hides the driver's own library, and that fails (CUDA error 803)"
        return UserMode(refused=refused, briefly=f"{briefly} (error 803)", advice=image)
    fails, assumed = _judge_compat(cuda, driver, accelerator.devices)
    if fails is not None:
        refused = f"{ignored}, so cuda-compat is at work, which {fails}"
        return UserMode(refused=refused, briefly=f"{briefly}: cuda-compat {fails}", advice=image)
    raised = f"cuda-compat raised it above {came}"
    return UserMode(cuda=cuda, raised="; assumed that ".join((raised, *assumed)))


_CONTRADICTION = "read both from the same nvidia-smi"


def _judge_compat(cuda: Version, driver: Version, devices: tuple[Device, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Say why cuda-compat of this version fails on such a machine, and if it does not, what is assumed for that."""
    classes = [(device, classes_of(device.name, device.compute_capability)) for device in devices]
    for device, one in classes:
        if one and one <= NEVER_COMPAT:
            name = device.name or "compute capability {}.{}".format(*device.compute_capability or (0, 0))
            return f"fails on {name} (CUDA error 804; it is for data-centre and professional GPUs alone)", ()
    assumed = []
    if not classes or any(not one or one & NEVER_COMPAT for _, one in classes):
        assumed.append("the GPU is a data-centre or professional one, not a GeForce")
    if classes and all(one == {"jetson"} for _, one in classes):
        return None, tuple(assumed)  # the lists are of desktop drivers; Jetson's have numbers of their own
    accepted = accepted_branches(cuda)
    branch = driver.major  # the lists are of exact branches: "driver>=470,driver<471"
    if accepted is not None and branch not in accepted.all:
        return f"accepts the driver branches {', '.join(map(str, accepted.all))}, and not {branch}", ()
    if accepted is None or branch in accepted.likely:
        assumed.append(f"cuda-compat {cuda} accepts driver branch {branch}")
    return None, tuple(assumed)
