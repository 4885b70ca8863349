"""Which compute capability an NVIDIA product has: product names as people and nvidia-smi spell them.

Whole names are compared, because parts mislead: ``GTX TITAN X`` is Maxwell (5.2), ``TITAN X (Pascal)`` is 6.1
(research/selectors.md, section 8). What may differ is the brand in front (``GeForce RTX 4090``, ``NVIDIA RTX 4090``),
the letter case, the spaces, and behind the name the amount of memory, the form of the card, the share of it that a
MIG instance or a vGPU has, and ``Laptop GPU``: none of them changes the chip's capability.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache, partial

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.table import read_table

_BRANDS = re.compile(r"^(?:nvidia |geforce |quadro |tesla |grid )+")
# Memory size and kind, form factor, cooling and place: "-SXM4-80GB", " 80GB HBM3", " PCIe", " with Max-Q Design".
_SUFFIX = re.compile(
    r"[ -](?:[0-9]+ ?gb|hbm[0-9]e?|sxm[0-9]?(?: ac)?|pcie|pci|nvl|dgxs|fhhl|active|with max-q design|max-q|mobile"
    r"|laptop gpu|embedded gpu)$"
)
# "A100-SXM4-40GB MIG 3g.20gb"; "GRID A100D-80C", "NVIDIA A40-48Q", "GRID A100X-2-10C" (NVIDIA vGPU user guide).
_MIG = re.compile(r" mig [0-9]+g\.[0-9]+gb(?:\+[a-z.]+)*$")
_VGPU = re.compile(r"-[0-9]{1,3}(?:-[0-9]{1,3})?(?:c|q|b|a)(?:me|e)?$")
# A vGPU's letters behind a data-centre product: D and L for memory, X and M for SXM, S.
_VGPU_FORM = re.compile(r"^((?:nvidia |grid )*[ahv][0-9]{2,3})(?:d|l|s|x|m)+$")

_OTHER_MAKERS = (
    (
        r"\b(?:amd|radeon|instinct|rx ?[5-9][0-9]{3}|mi[0-9]{2,3}x?|vega)\b",
        "say its target, which rocminfo prints: --gfx gfx1100",
    ),
    (r"\b(?:intel|arc|iris|max 1[0-9]{3})\b", "say --accelerator xpu"),
    (r"\b(?:apple|m[1-5](?: pro| max| ultra)?)$", "say --platform macosx_14_0_arm64; every such Mac has Metal"),
)

# A brand says the class of products that the table does not list; TITAN and MX are GeForce's kin.
_CLASS_OF_BRAND = {
    "geforce": "consumer",
    "titan": "consumer",
    "tesla": "data-centre",
    "quadro": "workstation",
    "jetson": "jetson",
    "tegra": "jetson",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A product, its compute capability (major, minor), and its class.

    ``product_class`` is ``consumer``, ``mobile``, ``workstation``, ``data-centre`` or ``jetson``; empty where a chip is
    meant and no product.
    """

    name: str
    compute_capability: tuple[int, int]
    product_class: str = ""


@cache
def read_gpus() -> tuple[Gpu, ...]:
    """Read the table of products."""
    return tuple(
        Gpu(name=row["name"], compute_capability=_capability(row["cc"]), product_class=row["class"])
        for row in read_table("gpus")
    )


def _capability(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


def _key(name: str) -> str:
    return " ".join(name.casefold().split()).removeprefix("nvidia ")


def _brandless(key: str) -> str:
    return _BRANDS.sub("", key)


def _spellings(name: str) -> list[str]:
    """List the keys to look a name up by, the closest to the name first."""
    keys = [_MIG.sub("", _key(name))]
    if (share := _VGPU.sub("", keys[0])) != keys[0]:
        keys = [share, _VGPU_FORM.sub(r"\1", share).replace("-ada", " ada generation")]
    while (shorter := _SUFFIX.sub("", keys[-1])) != keys[-1]:
        keys.append(shorter)
    if keys[-1].endswith(" ada"):
        keys.append(f"{keys[-1]} generation")
    if found := re.fullmatch(r"(.*[0-9](?: ?ti)?) ?s", keys[-1]):  # "RTX 4080S"
        keys.append(f"{found[1]} super")
    if re.fullmatch(r"a[0-9]{3,4}", _brandless(keys[-1])):  # "A6000" is the RTX A6000; there is no other
        keys.append(f"rtx {_brandless(keys[-1])}")
    return keys


@cache
def _by_key() -> dict[str, tuple[Gpu, ...]]:
    """Index the products by their whole name, and by the name without its brand where no product is called so."""
    whole: dict[str, tuple[Gpu, ...]] = {}
    short: dict[str, tuple[Gpu, ...]] = {}
    for gpu in read_gpus():
        key = _key(gpu.name)
        whole[key] = (*whole.get(key, ()), gpu)
        short[_brandless(key)] = (*short.get(_brandless(key), ()), gpu)
    return short | whole


def _candidates(name: str) -> tuple[Gpu, ...]:
    products = _by_key()
    for key in _spellings(name):
        short = _brandless(key)
        found = products.get(key) or products.get(short) or _by_letters().get(short.replace(" ", ""))
        if found:
            return found
    return ()


@cache
def _by_letters() -> dict[str, tuple[Gpu, ...]]:
    """Index the products by their names without spaces (``RTX4090``)."""
    letters: dict[str, tuple[Gpu, ...]] = {}
    for key, gpus in _by_key().items():
        squashed = key.replace(" ", "")
        letters[squashed] = (*letters.get(squashed, ()), *gpus)
    return letters


def capability_of(name: str) -> tuple[int, int] | None:
    """Look up the compute capability of a device by the name that a tool printed; ``None`` if it is not known.

    Old versions of nvidia-smi cut names (``GeForce GTX 108...``): such a name is known where every product that
    begins so has one and the same capability.
    """
    if name.endswith("..."):
        start = _key(name.removesuffix("..."))
        found = tuple(gpu for key, gpus in _by_key().items() if key.startswith(start) for gpu in gpus)
        found = found or _candidates(name.removesuffix("...").rstrip("-. "))
    else:
        found = _candidates(name)
    capabilities = {gpu.compute_capability for gpu in found}
    return capabilities.pop() if len(capabilities) == 1 else None


def classes_of(name: str | None, compute_capability: tuple[int, int] | None) -> frozenset[str]:
    """Say of which classes a device may be; empty if nothing is known of it.

    By its name; else by the brand in the name, which the table need not list (``Tesla``, ``GeForce``); else by its
    compute capability: every product with 8.0 is a data-centre one, those with 8.6 are of every class.
    """
    if name and (found := _candidates(name)):
        return frozenset(gpu.product_class for gpu in found)
    for brand, product_class in _CLASS_OF_BRAND.items():
        if name and re.search(rf"\b{brand}\b", name, re.IGNORECASE):
            return frozenset({product_class})
    return frozenset(gpu.product_class for gpu in read_gpus() if gpu.compute_capability == compute_capability)


def is_product(name: str) -> bool:
    """Whether a text is the whole name of a product that the table has."""
    return bool(_candidates(name))


def _unlike(query: str, name: str) -> tuple[float, str]:
    return -difflib.SequenceMatcher(None, query, _brandless(_key(name))).ratio(), name


def find_gpu(name: str) -> Gpu:
    """Find the product that a user names.

    Raises:
        UsageError: ``unknown-gpu`` if no product, or more than one kind of chip, is called so; with near names.
    """
    found = _candidates(name)
    if len({gpu.compute_capability for gpu in found}) == 1:
        return found[0]
    names = {_brandless(_key(gpu.name)): gpu.name for gpu in read_gpus()}
    query = _brandless(_key(name))
    near = [gpu.name for gpu in found] or [
        names[key] for key in names if query and (query in key or key.startswith(query.split(" ")[0] + " "))
    ]
    near = near or [names[key] for key in difflib.get_close_matches(query, names, n=5, cutoff=0.5)]
    for pattern, hint in _OTHER_MAKERS:
        if not found and re.search(pattern, query):
            raise UsageError("unknown-gpu", f"GPU {name!r} is not one of NVIDIA's", hint=hint)
    near = sorted(near, key=partial(_unlike, query))[:8]
    raise UsageError(
        "unknown-gpu",
        f"GPU {name!r} is called so by more than one chip" if found else f"GPU {name!r} is not in the table of GPUs",
        facts={"near names": ", ".join(near)} if near else {},
        hint=(f'write it in full, e.g. --gpu "{near[0]}", or ' if near else "")
        + "give its compute capability instead, e.g. --compute-capability 8.0 (developer.nvidia.com/cuda-gpus)",
    )
