"""Which bundles were taken here: so that nobody is led back to older wheels without being told.

Bundles of one mirror share a lineage, and their counter grows with each new content. A mirror that takes bundles keeps
this below ``.state``; an environment that was installed from one, below ``share/pytorch-offline``. It is a small file,
whole or absent, and no clock has a part in it: the far side's may be wrong.
"""

import json
from pathlib import Path
from typing import Mapping, NamedTuple, Optional, Tuple

from pytorch_offline.bundle.format.model import SHA256_FORM, Manifest
from pytorch_offline.bundle.reading.lasting_files import ENVIRONMENT_FOLDER, write_whole
from pytorch_offline.errors import IntegrityError

MEMORY_NAME = "taken-bundles.json"
MEMORY_FORMAT = 1
# Far more lineages than anyone has mirrors; what is longer was not written by us.
_MEMORY_LARGEST = 1024 * 1024
# What JSON keeps as a whole number everywhere (RFC 8259, section 6).
_HIGHEST_COUNTER = 2**53


class TakenBundle(NamedTuple):
    """What was taken of one lineage.

    Args:
        lineage: the mirror that the bundles come from.
        id: of the bundle that was taken last.
        counter: its counter.
        highest: the highest counter that was ever taken; above ``counter`` where somebody allowed an older bundle.
        highest_id: the id of that bundle.
    """

    lineage: str
    id: str
    counter: int
    highest: int
    highest_id: str


class BundleMemory(NamedTuple):
    """All that is remembered: one entry for each lineage, sorted."""

    taken: Tuple[TakenBundle, ...] = ()

    def taken_of(self, lineage: str) -> Optional[TakenBundle]:
        """Give what was taken of a lineage; None where nothing ever was."""
        for one in self.taken:
            if one.lineage == lineage:
                return one
        return None

    def remembering(self, manifest: Manifest) -> "BundleMemory":
        """Give the memory after this bundle was taken."""
        lineage, bundle_id, counter = manifest.lineage, manifest.id, manifest.counter
        before = self.taken_of(lineage)
        highest, highest_id = counter, bundle_id
        if before is not None and before.highest > counter:
            highest, highest_id = before.highest, before.highest_id
        after = TakenBundle(lineage, bundle_id, counter, highest, highest_id)
        return BundleMemory(tuple(sorted([one for one in self.taken if one.lineage != lineage] + [after])))


def check_counter(memory: BundleMemory, manifest: Manifest, *, place: str, allow_older: bool = False) -> Optional[str]:
    """Compare a bundle with what was taken before.

    Args:
        memory: what was taken.
        manifest: of the bundle; whoever signs, signs its counter.
        place: where it goes, for messages.
        allow_older: whether the user said that it may be older.

    Returns:
        A sentence for the user, where this lineage was never met here although others were; else None.

    Raises:
        IntegrityError: ``older-bundle``; ``forked-lineage`` where other content came under the same counter.
    """
    lineage, bundle_id, counter = manifest.lineage, manifest.id, manifest.counter
    before = memory.taken_of(lineage)
    if before is None:
        if not memory.taken:
            return None
        known = ", ".join(one.lineage for one in memory.taken)
        return f"this bundle is of lineage {lineage}, and all that {place} took so far is of {known}"
    if allow_older or counter > before.highest or (counter == before.highest and bundle_id == before.highest_id):
        return None
    facts = {
        "lineage": lineage,
        "counter of this bundle": counter,
        "highest counter taken": before.highest,
        "id of this bundle": bundle_id,
        "id of the one taken": before.highest_id,
    }
    if counter == before.highest:
        raise IntegrityError(
            "forked-lineage",
            f"{place} took another bundle with the same counter {counter}: two mirrors give out bundles under one name",
            facts=facts,
            hint="one of the two mirrors is a copy of the other, or one bundle is forged: find out which is meant, "
            "and take it with --allow-older",
        )
    raise IntegrityError(
        "older-bundle",
        f"this bundle is older than one that {place} took: its counter is {counter}, and {before.highest} was taken",
        facts=facts,
        hint="bring the newer bundle; or, where going back is meant, say so with --allow-older",
    )


def parse_bundle_memory(body: bytes, source: str) -> BundleMemory:
    """Read what is remembered.

    Raises:
        IntegrityError: ``bad-bundle-memory``, naming ``source``.
    """
    try:
        document = json.loads(body.decode("ascii"))
        _check_memory_format(document["format"])
        return BundleMemory(tuple(sorted(_parse_taken(name, row) for name, row in document["taken"].items())))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(
            "bad-bundle-memory",
            "it cannot be read which bundles were taken before",
            facts={"file": source, "reason": str(error)},
            hint="without that file every bundle is taken as if it were the first: "
            "remove it once you know that the bundle in hand is the newest",
        ) from error


def render_bundle_memory(memory: BundleMemory) -> bytes:
    """Write down what is remembered; equal memories give equal bytes."""
    taken = {
        one.lineage: {"id": one.id, "counter": one.counter, "highest": one.highest, "highest_id": one.highest_id}
        for one in memory.taken
    }
    document = {"format": MEMORY_FORMAT, "taken": taken}
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode("ascii")


def read_bundle_memory(path: Path) -> BundleMemory:
    """Read what is remembered in a file; nothing where there is none.

    Raises:
        IntegrityError: ``bad-bundle-memory``.
        OSError: what the disk said.
    """
    try:
        with path.open("rb") as file:
            body = file.read(_MEMORY_LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return BundleMemory()
    return parse_bundle_memory(body, str(path))


def write_bundle_memory(path: Path, memory: BundleMemory) -> None:
    """Write down what is remembered, whole or not at all, and durably.

    Raises:
        OSError: what the disk said; the file is then what it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(str(path), render_bundle_memory(memory))


def _check_memory_format(found: object) -> None:
    if found != MEMORY_FORMAT:
        raise ValueError(f"format {found!r} is unknown")


def _parse_taken(lineage: str, row: Mapping[str, object]) -> TakenBundle:
    return TakenBundle(
        lineage,
        _taken_id(row["id"]),
        _taken_counter(row["counter"]),
        _taken_counter(row["highest"]),
        _taken_id(row["highest_id"]),
    )


def _taken_id(value: object) -> str:
    if not isinstance(value, str) or SHA256_FORM.fullmatch(value) is None:
        raise ValueError(f"{value!r} is no id")
    return value


def _taken_counter(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _HIGHEST_COUNTER:
        raise ValueError(f"{value!r} is no counter")
    return value


def memory_of_environment(prefix: str) -> Path:
    """Give the place where an environment remembers which bundles it was installed from."""
    return Path(prefix) / ENVIRONMENT_FOLDER / MEMORY_NAME


def refuse_older(manifest: Manifest, prefix: str, *, allow: bool) -> Optional[str]:
    """Compare a bundle with those that an environment was installed from; as ``check_counter``.

    Raises:
        IntegrityError: ``older-bundle``, ``forked-lineage``, ``bad-bundle-memory``.
        OSError: what the disk said.
    """
    memory = read_bundle_memory(memory_of_environment(prefix))
    return check_counter(memory, manifest, place=prefix, allow_older=allow)


def remember_bundle(manifest: Manifest, prefix: str) -> None:
    """Note that an environment was installed from a bundle, once that is proven.

    Raises:
        OSError: what the disk said.
    """
    place = memory_of_environment(prefix)
    before = read_bundle_memory(place)
    after = before.remembering(manifest)
    if after != before:
        write_bundle_memory(place, after)
