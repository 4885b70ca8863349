"""How damaged a bundle is, and whether what is left of it suffices to mend it.

Beside parity, parts may lie whole under other names: renamed, or with the name of another one.
"""

import os
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import Manifest, Piece
from pytorch_offline.bundle.reading.copies import in_every_volume
from pytorch_offline.bundle.reading.findings import BundleFinding
from pytorch_offline.bundle.reading.hashing_media import hash_file
from pytorch_offline.bundle.reading.labels import volume_name
from pytorch_offline.bundle.reading.media import READ_BYTES
from pytorch_offline.bundle.reading.mending import Mending
from pytorch_offline.bundle.reading.parity import ToBring, parity_map, parts_to_bring
from pytorch_offline.bundle.reading.sources import Source
from pytorch_offline.bundle.reading.verification import tell_nobody, verify_source
from pytorch_offline.errors import IntegrityError

# What a repair that was cut off leaves behind.
UNFINISHED_END = ".mending"
# More names than these, nobody reads in an error.
_MOST_NAMED = 20


class Damage(NamedTuple):
    """What is wrong with a bundle, and can be put right.

    Args:
        findings: everything that verification found.
        sound: where each part lies that is right.
        bad: the other parts, each with the path of its file.
        elsewhere: which of them lie whole under another name, and where.
        mending: what rebuilds the rest; None where there is no rest.
    """

    findings: Tuple[BundleFinding, ...]
    sound: Mapping[Piece, str]
    bad: Tuple[Tuple[str, Piece], ...]
    elsewhere: Mapping[Piece, str]
    mending: Optional[Mending]


def assess_damage(source: Source, told: Callable[[int], None] = tell_nobody) -> Damage:
    """Read a bundle, as far as it was not read yet, and find out what mends it.

    Raises:
        IntegrityError: code ``bundle-beyond-repair``, and what must be brought again.
    """
    findings = verify_source(source, told=told).findings
    carried = _carried_parts(source.manifest)
    sound = {piece: source.find(piece)[0] for _, piece in carried if source.still_right(piece)}
    bad = tuple((path, piece) for path, piece in carried if piece not in sound)
    elsewhere = _found_elsewhere(source, [piece for _, piece in bad])
    lost = [piece for _, piece in bad if piece not in elsewhere]
    mending = _mending_of(source, {**sound, **elsewhere}, lost, told) if lost else None
    return Damage(findings, sound, bad, elsewhere, mending)


def _carried_parts(manifest: Manifest) -> List[Tuple[str, Piece]]:
    """List what parity is computed over and parity itself, each once; not what lies in every volume."""
    found: Dict[Piece, str] = {}
    for file in manifest.files:
        if file.carried and not in_every_volume(manifest, file):
            for piece in file.own_pieces:
                found.setdefault(piece, file.path)
    return [(path, piece) for piece, path in found.items()]


def _found_elsewhere(source: Source, bad: Sequence[Piece]) -> Dict[Piece, str]:
    """Find parts that lie whole under other names: renamed, or with the name of another one."""
    by_content: Dict[Tuple[int, str], List[Piece]] = {}
    for piece in bad:
        by_content.setdefault((piece.size, piece.sha256), []).append(piece)
    sizes = {piece.size for piece in bad}
    found: Dict[Piece, str] = {}
    for path in sorted({path for piece in bad for path in _copies_of_part(source, piece)} | set(source.strays)):
        if size_on_disk(path) in sizes:
            for piece in by_content.get((size_on_disk(path), sha256_on_disk(path)), ()):
                found.setdefault(piece, path)
    return found


def _copies_of_part(source: Source, piece: Piece) -> Tuple[str, ...]:
    """Give the files that have a part's name, and the copy in ``parity/`` of what lies at a bundle's top."""
    return source.find(piece) if "/" in piece.name else source.copies_of(piece.name)


def _mending_of(
    source: Source,
    right: Mapping[Piece, str],
    lost: Sequence[Piece],
    told: Callable[[int], None],
) -> Mending:
    """Look whether parity suffices.

    Raises:
        IntegrityError: code ``bundle-beyond-repair``.
    """
    unnamed = tuple(path for path in source.strays if not path.endswith(UNFINISHED_END))
    copies = {piece: _copies_of_part(source, piece) + unnamed for piece in lost}
    named = _names_of_what_is_lost(source.manifest, lost, copies)
    if source.manifest.parity is None:
        names = tuple(dict.fromkeys(named.values()))
        raise _beyond_repair(ToBring(names, names, len(names)), "the bundle carries no parity")
    parity = parity_map(source.manifest)
    mending = Mending(parity, right, copies)
    bad_slices: Dict[str, List[int]] = {}
    for name, slices in mending.find_bad_slices(told).items():
        known = bad_slices.setdefault(named[name], [])
        known.extend(number for number in slices if number not in known)
    wanted = parts_to_bring(bad_slices, parity.shape)
    if wanted.chosen:
        rows = parity.shape.parity_rows
        raise _beyond_repair(wanted, f"parity of {rows} % does not suffice for so much damage")
    return mending


def _names_of_what_is_lost(
    manifest: Manifest, lost: Sequence[Piece], copies: Mapping[Piece, Sequence[str]]
) -> Dict[str, str]:
    """Call each lost part what people can bring: the volume where nothing of one is there, else the file."""
    absent = {piece.volume for piece in lost}
    for _, piece in _carried_parts(manifest):
        if copies.get(piece, ("sound",)):
            absent.discard(piece.volume)
    in_volumes = manifest.volume_size is not None
    return {
        piece.name: volume_name(piece.volume)
        if in_volumes and piece.volume in absent
        else (f"{volume_name(piece.volume)}/{piece.name}" if in_volumes else piece.name)
        for piece in lost
    }


def _beyond_repair(wanted: ToBring, reason: str) -> IntegrityError:
    facts: Dict[str, object] = {"reason": reason, "bring again": _name_some(wanted.chosen)}
    if wanted.any_of_them < len(wanted.instead_of):
        facts["or instead"] = f"any {wanted.any_of_them} of {_name_some(wanted.instead_of)}"
    return IntegrityError(
        "bundle-beyond-repair",
        "The bundle is too damaged to be repaired with what is left of it.",
        facts=facts,
        hint="put what is brought into any directory and name it too; repair then mends the rest",
        data={"bring": list(wanted.chosen), "instead_of": list(wanted.instead_of), "any": wanted.any_of_them},
    )


def _name_some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def size_on_disk(path: str) -> int:
    """Say how long a file is; -1 where there is none."""
    try:
        return os.path.getsize(path)
    except OSError:
        return -1


def sha256_on_disk(path: str) -> str:
    """Hash a file; nothing where it cannot be read."""
    return hash_file(path, tell_nobody, memoryview(bytearray(READ_BYTES))).sha256
