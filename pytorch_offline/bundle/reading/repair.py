"""Repairing a bundle with what is left of it: copies of its own files, parts under other names, parity.

Where the media can be written, each part is built beside its place and renamed into it; where they cannot, into a
directory that is read as one more source. Nothing gets its name before its sha256 is right, and what is killed
meanwhile is begun anew.
"""

import os
from hashlib import sha256
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import Manifest, Piece
from pytorch_offline.bundle.reading.copies import Tops, exact_body, in_every_volume
from pytorch_offline.bundle.reading.findings import RENAMED, BundleFinding
from pytorch_offline.bundle.reading.labels import volume_name
from pytorch_offline.bundle.reading.media import READ_BYTES, open_regular, read_stamp
from pytorch_offline.bundle.reading.mending import Mending
from pytorch_offline.bundle.reading.names import fold_name
from pytorch_offline.bundle.reading.parity import PARITY_PREFIX, ToBring, parity_map, parts_to_bring
from pytorch_offline.bundle.reading.sources import Source
from pytorch_offline.bundle.reading.verification import tell_nobody, verify_source
from pytorch_offline.errors import IntegrityError, UsageError

_UNFINISHED_END = ".mending"
_SET_ASIDE_END = ".in-the-way"
# More names than these, nobody reads in an error.
_MOST_NAMED = 20


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
    findings = verify_source(source, told=told).findings
    carried = _carried_parts(source.manifest)
    sound = {piece: source.find(piece)[0] for _, piece in carried if source.still_right(piece)}
    bad = [(path, piece) for path, piece in carried if piece not in sound]
    elsewhere = _found_elsewhere(source, [piece for _, piece in bad])
    rebuilt = [(path, piece) for path, piece in bad if piece not in elsewhere]
    mending = _mending_of(source, {**sound, **elsewhere}, rebuilt, told) if rebuilt else None
    tops = Tops(source, into)
    tops.bodies()
    mended: List[Mended] = []
    try:
        places = {piece: _place_of_part(source, tops, piece, into) for _, piece in bad}
        writing = {piece: _make_way(places[piece]) for _, piece in bad}
        for _, piece in bad:  # all are written before any is renamed: two may have each other's names
            if piece in elsewhere:
                _copy_bytes(elsewhere[piece], writing[piece])
            else:
                with open(writing[piece], "wb") as file:
                    file.truncate(piece.size)
        if mending is not None:
            mending.rebuild(writing, told)
        strays = set(source.strays)
        for path, piece in bad:
            _settle_part(source, writing[piece], places[piece], piece)
            how = "copied" if piece in elsewhere else "rebuilt"
            if into is None and elsewhere.get(piece) in strays:
                os.unlink(elsewhere[piece])
                strays.discard(elsewhere[piece])
                how = "renamed"
            mended.append(Mended(piece.name, path, places[piece], how))
        mended += _restore_tops(tops, {**sound, **places})
    except OSError as problem:
        raise UsageError(
            "cannot-repair-there",
            f"Nothing can be repaired there: {problem.strerror or problem}.",
            facts={"path": str(problem.filename or into or ", ".join(source.directories))},
            hint="name a directory with room that can be written: --repair-into DIR",
        ) from problem
    strays_left = [finding for finding in findings if finding.at in strays and finding.piece is None]
    return Repair(tuple(mended), tuple(finding for finding in strays_left if finding.problem != RENAMED))


def _carried_parts(manifest: Manifest) -> List[Tuple[str, Piece]]:
    """List what parity is computed over and parity itself, each once; not what lies in every volume."""
    found: Dict[Piece, str] = {}
    for file in manifest.files:
        if file.carried and not in_every_volume(manifest, file):
            for piece in file.pieces or (Piece(1, file.path, file.size, file.sha256),):
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
        if _size_on_disk(path) in sizes:
            for piece in by_content.get((_size_on_disk(path), _sha256_on_disk(path)), ()):
                found.setdefault(piece, path)
    return found


def _copies_of_part(source: Source, piece: Piece) -> Tuple[str, ...]:
    """Give the files that have a part's name, and the copy in ``parity/`` of what lies at a bundle's top."""
    beside = ()  # type: Tuple[str, ...]
    if "/" not in piece.name:
        beside = tuple(os.path.join(root.directory, PARITY_PREFIX, piece.name) for root in source.roots)
    return source.find(piece) + tuple(path for path in beside if os.path.isfile(path))


def _mending_of(
    source: Source,
    right: Mapping[Piece, str],
    rebuilt: Sequence[Tuple[str, Piece]],
    told: Callable[[int], None],
) -> Mending:
    """Look whether parity suffices.

    Raises:
        IntegrityError: code ``bundle-beyond-repair``.
    """
    unnamed = tuple(path for path in source.strays if not path.endswith(_UNFINISHED_END))
    copies = {piece: _copies_of_part(source, piece) + unnamed for _, piece in rebuilt}
    named = _names_of_what_is_lost(source.manifest, [piece for _, piece in rebuilt], copies)
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
    return place + _UNFINISHED_END


def _copy_bytes(taken_from: str, place: str) -> None:
    with open_regular(taken_from) as source, open(place, "wb") as out:
        while True:
            data = source.read(READ_BYTES)
            if not data:
                return
            out.write(data)


def _settle_part(source: Source, unfinished: str, place: str, piece: Piece) -> None:
    if _sha256_on_disk(unfinished) != piece.sha256:
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
    try:
        directory = os.open(os.path.dirname(place), os.O_RDONLY)
    except OSError:  # Windows opens no directories
        return
    try:
        os.fsync(directory)
    except OSError:  # nor do some network file systems
        pass
    finally:
        os.close(directory)


def _size_on_disk(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return -1


def _sha256_on_disk(path: str) -> str:
    found = sha256()
    try:
        with open_regular(path) as file:
            while True:
                data = file.read(READ_BYTES)
                if not data:
                    return found.hexdigest()
                found.update(data)
    except OSError:
        return ""
