"""Repairing a bundle with what is left of it: copies of its own files, parts under other names, parity.

Where the media can be written, each part is built beside its place and renamed into it; where they cannot, into a
directory that is read as one more source. Nothing gets its name before its sha256 is right, and what is killed
meanwhile is begun anew.
"""

import os
from typing import Callable, List, Mapping, NamedTuple, Optional, Tuple

from pytorch_offline.bundle.format.model import Piece
from pytorch_offline.bundle.reading.copies import Tops, exact_body
from pytorch_offline.bundle.reading.damage import UNFINISHED_END, Damage, assess_damage, sha256_on_disk
from pytorch_offline.bundle.reading.findings import RENAMED, BundleFinding
from pytorch_offline.bundle.reading.lasting_files import sync_directory
from pytorch_offline.bundle.reading.media import READ_BYTES, open_regular, read_stamp
from pytorch_offline.bundle.reading.names import fold_name
from pytorch_offline.bundle.reading.sources import Source
from pytorch_offline.bundle.reading.verification import tell_nobody
from pytorch_offline.errors import IntegrityError, UsageError

_SET_ASIDE_END = ".in-the-way"


class Mended(NamedTuple):
    """A part that was put right.

    Args:
        name: of the part, as the manifest has it.
        path: of the file that it belongs to.
        place: where it was written.
        how: ``rebuilt`` from parity, ``copied`` from a sound copy, or ``renamed`` back.
    """

    name: str
    path: str
    place: str
    how: str


class Repair(NamedTuple):
    """What a repair came to.

    Args:
        mended: what was put right, in the manifest's order.
        left: what is wrong beside, and is for people to decide: files that are none of the bundle's.
    """

    mended: Tuple[Mended, ...]
    left: Tuple[BundleFinding, ...]


def repair_bundle(source: Source, into: Optional[str] = None, told: Callable[[int], None] = tell_nobody) -> Repair:
    """Put right what is damaged, missing, or under another name; the source knows then where each part lies.

    Args:
        source: the bundle; whoever made it was checked before.
        into: the directory that gets the parts; None for the places where they belong.
        told: is told bytes that were read.

    Raises:
        IntegrityError: code ``bundle-beyond-repair``, and what must be brought again; nothing was written then.
        UsageError: code ``cannot-repair-there`` where nothing can be written.
    """
    return repair_damage(source, assess_damage(source, told), into, told)


def repair_damage(
    source: Source, damage: Damage, into: Optional[str], told: Callable[[int], None] = tell_nobody
) -> Repair:
    """Put right what was found to be wrong, and can be; raises as ``repair_bundle`` does."""
    tops = Tops(source, into)
    tops.bodies()
    strays = set(source.strays)
    mended: List[Mended] = []
    try:
        places = {piece: _place_of_part(source, tops, piece, into) for _, piece in damage.bad}
        _write_parts(damage, {piece: _make_way(place) for piece, place in places.items()}, told)
        for path, piece in damage.bad:
            _settle_part(source, places[piece], piece)
            how = "copied" if piece in damage.elsewhere else "rebuilt"
            if into is None and damage.elsewhere.get(piece) in strays:
                os.unlink(damage.elsewhere[piece])
                strays.discard(damage.elsewhere[piece])
                how = "renamed"
            mended.append(Mended(piece.name, path, places[piece], how))
        mended += _restore_tops(tops, {**damage.sound, **places})
    except OSError as problem:
        raise UsageError(
            "cannot-repair-there",
            f"Nothing can be repaired there: {problem.strerror or problem}.",
            facts={"path": str(problem.filename or into or ", ".join(source.directories))},
            hint="name a directory with room that can be written: --repair-into DIR",
        ) from problem
    left = [finding for finding in damage.findings if finding.at in strays and finding.piece is None]
    return Repair(tuple(mended), tuple(finding for finding in left if finding.problem != RENAMED))


def _write_parts(damage: Damage, unfinished: Mapping[Piece, str], told: Callable[[int], None]) -> None:
    """Write all parts before any is renamed: two may lie under each other's names."""
    for _, piece in damage.bad:
        if piece in damage.elsewhere:
            _copy_bytes(damage.elsewhere[piece], unfinished[piece])
        else:
            with open(unfinished[piece], "wb") as file:
                file.truncate(piece.size)
    if damage.mending is not None:
        damage.mending.rebuild(unfinished, told)


def _place_of_part(source: Source, tops: Tops, piece: Piece, into: Optional[str]) -> str:
    """Give the path that a part is to have: that of the damaged one where there is one."""
    met = source.find(piece) if into is None else ()
    return met[0] if met else _join_as_spelt(tops.top_of(piece.volume), piece.name)


def _restore_tops(tops: Tops, sound: Mapping[Piece, str]) -> List[Mended]:
    """Write what lies at a top wherever it is damaged: all copies are equal."""
    mended: List[Mended] = []
    for top, bodies in tops.wanted(sound).items():
        for name, body in bodies.items():
            place = _join_as_spelt(top, name)
            if exact_body(place, len(body)) != body:
                unfinished = _make_way(place)
                with open(unfinished, "wb") as file:
                    file.write(body)
                _rename_into(unfinished, place)
                mended.append(Mended(name, name, place, "copied"))
    return mended


def _join_as_spelt(top: str, name: str) -> str:
    """Join a name to a directory, by the letters that the medium has for it."""
    place = top
    for part in name.split("/"):
        try:
            same = [met for met in os.listdir(place) if fold_name(met) == fold_name(part)]
        except OSError:
            same = []
        place = os.path.join(place, part if part in same or not same else min(same))
    return place


def _make_way(place: str) -> str:
    """Make the directory of a file, put aside what is in the way, and give the name under which it is written."""
    above = os.path.dirname(place)
    if not os.path.isdir(above):
        if os.path.lexists(above):
            os.rename(above, above + _SET_ASIDE_END)
        os.makedirs(above)
    if os.path.isdir(place) and not os.path.islink(place):
        os.rename(place, place + _SET_ASIDE_END)
    return place + UNFINISHED_END


def _copy_bytes(taken_from: str, place: str) -> None:
    with open_regular(taken_from) as source, open(place, "wb") as out:
        while True:
            data = source.read(READ_BYTES)
            if not data:
                return
            out.write(data)


def _settle_part(source: Source, place: str, piece: Piece) -> None:
    unfinished = place + UNFINISHED_END
    if sha256_on_disk(unfinished) != piece.sha256:
        os.unlink(unfinished)
        raise IntegrityError(
            "repair-failed",
            f"{piece.name} could not be put right: the medium does not give the same bytes twice.",
            facts={"part": piece.name},
            hint="copy the bundle to another medium and repair it there",
        )
    _rename_into(unfinished, place)
    stamp = read_stamp(place)
    if stamp is not None:
        source.note_read(piece, place, stamp)


def _rename_into(unfinished: str, place: str) -> None:
    with open(unfinished, "r+b") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, place)
    sync_directory(os.path.dirname(place))
