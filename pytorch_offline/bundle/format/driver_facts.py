"""What NVIDIA's drivers run, as values of the manifest: the tables that the far side has no room for.

They come from ``knowledge/`` (``cuda_driver.csv``, ``cuda_forward_compat.csv``, ``gpu_driver.csv``), whose rows name
their sources; versions are texts of dotted numbers.
"""

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from pytorch_offline.errors import IntegrityError

# Far above what the tables will ever hold; a manifest that says more is none.
MAX_DRIVER_ROWS = 1000
MAX_VERSION_LENGTH = 32
# The systems whose drivers have numbers of their own.
DRIVER_SYSTEMS = ("Linux", "Windows")
MAX_PRODUCT_LENGTH = 100
# GeForce and its kin: "forward compatibility is for data-centre GPUs and select NGC-ready RTX cards".
CONSUMER_BRANDS = ("geforce", "titan")
DIGITS = frozenset("0123456789")


class LeastDriver(NamedTuple):
    """A CUDA version, or the major number of one, and the least driver that NVIDIA names for it."""

    cuda: str
    driver: str


class CompatBranches(NamedTuple):
    """The driver branches that the cuda-compat package of a CUDA version accepts; of ``likely`` no source is sure."""

    cuda: str
    known: Tuple[int, ...]
    likely: Tuple[int, ...]


class ChipBranches(NamedTuple):
    """The first and the last driver branch that knows a compute capability, as far as that is known."""

    capability: str
    first: Optional[int]
    last: Optional[int]


class DriverFacts(NamedTuple):
    """The tables.

    Args:
        toolkits: for ``Linux`` and ``Windows``, each toolkit and the driver that came with it.
        floors: for both, each CUDA major and the driver from which minor-version compatibility holds.
        compat: what cuda-compat accepts.
        chips: which branches know which chips.
        exceptions: products, in lower case without their maker, that GeForce's rules are for although they are called
            neither GeForce nor TITAN, or are not for although they are.
    """

    toolkits: Mapping[str, Tuple[LeastDriver, ...]]
    floors: Mapping[str, Tuple[LeastDriver, ...]]
    compat: Tuple[CompatBranches, ...]
    chips: Tuple[ChipBranches, ...]
    exceptions: Tuple[str, ...] = ()


def product_key(name: str) -> str:
    """Spell a product so that it can be compared: lower case, without its maker and the form it comes in."""
    key = re.sub(r"^nvidia ", "", " ".join(name.lower().split()))
    return re.sub(r" (?:laptop gpu|with max-q design|max-q)$", "", key)


def sounds_like_consumer(name: str) -> bool:
    """Whether a name has a brand of the products that cuda-compat is not made for."""
    return any(brand in name.lower() for brand in CONSUMER_BRANDS)


def driver_facts_document(facts: DriverFacts) -> Dict[str, Any]:
    """Make the JSON value of the tables: rows are lists, in the order of their fields."""
    return {
        "toolkits": {system: [list(row) for row in rows] for system, rows in sorted(facts.toolkits.items())},
        "floors": {system: [list(row) for row in rows] for system, rows in sorted(facts.floors.items())},
        "compat": [[row.cuda, list(row.known), list(row.likely)] for row in facts.compat],
        "chips": [list(row) for row in facts.chips],
        "exceptions": list(facts.exceptions),
    }


def parse_driver_facts(value: Any) -> DriverFacts:  # noqa: ANN401  (whatever a manifest holds)
    """Read what ``driver_facts_document`` made.

    Raises:
        IntegrityError: ``bad-manifest`` if it is anything else.
    """
    try:
        return DriverFacts(
            toolkits=_least_drivers_by_system(value["toolkits"]),
            floors=_least_drivers_by_system(value["floors"]),
            compat=tuple(
                CompatBranches(_version_text(cuda), _branches(known), _branches(likely))
                for cuda, known, likely in _bounded_rows(value["compat"])
            ),
            chips=tuple(
                ChipBranches(_version_text(capability), _branch_or_none(first), _branch_or_none(last))
                for capability, first, last in _bounded_rows(value["chips"])
            ),
            exceptions=tuple(_product(name) for name in _bounded_rows(value["exceptions"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = "the manifest's tables of drivers are not what they should be"
        raise IntegrityError("bad-manifest", message, facts={"it says": str(error)[:200]}) from error


def _least_drivers_by_system(value: Any) -> Dict[str, Tuple[LeastDriver, ...]]:  # noqa: ANN401
    return {
        system: tuple(
            LeastDriver(_version_text(cuda), _version_text(driver)) for cuda, driver in _bounded_rows(value[system])
        )
        for system in DRIVER_SYSTEMS
    }


def _bounded_rows(value: Any) -> List[Any]:  # noqa: ANN401
    if not isinstance(value, list) or len(value) > MAX_DRIVER_ROWS:
        raise ValueError("a table of drivers is no list, or too long")
    return value


def _version_text(value: Any) -> str:  # noqa: ANN401
    plain = isinstance(value, str) and len(value) <= MAX_VERSION_LENGTH
    if not plain or not all(part and set(part) <= DIGITS for part in value.split(".")):
        raise ValueError(f"{str(value)[:40]!r} is no version")
    return str(value)


def _product(value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str) or len(value) > MAX_PRODUCT_LENGTH:
        raise ValueError("a product's name is no text, or too long")
    return value


def _branches(value: Any) -> Tuple[int, ...]:  # noqa: ANN401
    if not all(isinstance(one, int) for one in _bounded_rows(value)):
        raise ValueError("a driver branch is no number")
    return tuple(value)


def _branch_or_none(value: Any) -> Optional[int]:  # noqa: ANN401
    if value is not None and not isinstance(value, int):
        raise ValueError("a driver branch is no number")
    return value
