"""What each difference between a bundle and its manifest is; rules over what was read.

Two wrong files often explain each other: bytes of a part that lie under another's name were swapped or copied over it,
bytes of a missing part that lie under no part's name were renamed.
"""

from typing import Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from pytorch_offline.bundle.format.model import BundleFile, Manifest, Piece
from pytorch_offline.bundle.reading.findings import (
    DAMAGED,
    DUPLICATED,
    MISSING,
    RENAMED,
    SWAPPED,
    TRUNCATED,
    UNEXPECTED,
    UNREADABLE,
    BundleFinding,
    bring_piece,
    say_bytes,
)
from pytorch_offline.bundle.reading.hashing_media import Hashed
from pytorch_offline.bundle.reading.media import Met
from pytorch_offline.bundle.reading.names import fold_name


class ReadMedia(NamedTuple):
    """What is known after reading, for the rules below.

    Args:
        manifest: what should be there.
        owners: each part that should be there, with a file that it is of.
        names: for each part the files that have its name, the likeliest first.
        right: parts of which a right file was found.
        hashed: what reading gave, by path.
        sizes: bytes, by path, of files that there was no need to read.
        refused: by folded name, what has the name of a part and was not opened.
    """

    manifest: Manifest
    owners: Dict[Piece, BundleFile]
    names: Dict[Piece, Tuple[str, ...]]
    right: Set[Piece]
    hashed: Dict[str, Hashed]
    sizes: Dict[str, int]
    refused: Dict[str, Met]


class _Whereabouts:
    """Which part's bytes lie in which files."""

    def __init__(self, read: ReadMedia) -> None:
        self.parts = {piece.sha256: piece for piece in read.owners if piece.size}
        self.paths: Dict[str, List[str]] = {}
        for path in sorted(read.hashed):
            hashed = read.hashed[path]
            if hashed.problem is None and hashed.sha256 in self.parts:
                self.paths.setdefault(hashed.sha256, []).append(path)
        self.named = {path: piece for piece, paths in read.names.items() for path in paths}


def explain_parts(read: ReadMedia) -> List[BundleFinding]:
    """Say what is wrong with each part of which no right file was found."""
    where = _Whereabouts(read)
    return [
        explain_part(read, piece, (read.names[piece] or (None,))[0], where)
        for piece in read.owners
        if piece not in read.right
    ]


def explain_part(
    read: ReadMedia, piece: Piece, path: Optional[str], where: Optional[_Whereabouts] = None
) -> BundleFinding:
    """Say what is wrong with the file that has a part's name, or that none has it."""
    owner = read.owners[piece]
    where = where or _Whereabouts(read)
    problem, detail = _what_is_wrong(read, piece, path, where)
    bring = bring_piece(read.manifest, piece, owner.path, owner.size)
    own = [other for other in where.paths.get(piece.sha256, ()) if other != path]
    if own and piece not in read.right:
        holder = where.named.get(own[0])
        if holder is None:
            problem, bring = RENAMED, f"rename {own[0]} to {piece.name}, or {bring}"
            detail = f"{detail}; its bytes lie under another name: {own[0]}"
        elif path is not None and read.hashed.get(path) is not None and read.hashed[path].sha256 in where.parts:
            problem, bring = SWAPPED, f"give the files their own names again: {own[0]} is {piece.name}; or {bring}"
            detail = f"{detail}; its own lie under the name of {read.owners[holder].path}"
        else:
            problem, bring = RENAMED, f"rename {own[0]} to {piece.name}, or {bring}"
            detail = f"{detail}; its bytes lie under the name of {read.owners[holder].path}"
    everywhere = "/" not in piece.name or read.manifest.volume_size is None
    return BundleFinding(
        path=owner.path,
        problem=problem,
        detail=detail,
        bring=bring,
        volume=None if everywhere else piece.volume,
        name=piece.name,
        at=path,
        piece=piece,
    )


def _what_is_wrong(read: ReadMedia, piece: Piece, path: Optional[str], where: _Whereabouts) -> Tuple[str, str]:
    if path is None:
        met = read.refused.get(fold_name(piece.name.rsplit("/", 1)[-1]))
        if met is not None:
            what = "a link that leads elsewhere, and is not followed" if met.kind == "link" else "no regular file"
            return UNREADABLE, f"{met.path} is {what}"
        return MISSING, "it is not there"
    hashed = read.hashed.get(path)
    size = read.sizes.get(path, -1) if hashed is None else hashed.size
    if hashed is not None and hashed.problem is not None:
        return UNREADABLE, f"after {say_bytes(size)} of {say_bytes(piece.size)}: {hashed.problem}"
    if size < 0:
        return UNREADABLE, "it cannot be read"
    other = None if hashed is None else where.parts.get(hashed.sha256)
    if other is not None and other.sha256 != piece.sha256:
        return DUPLICATED, f"it holds the bytes of {read.owners[other].path}" + _part_of(read, other)
    if size < piece.size:
        return TRUNCATED, f"it has {size} of {piece.size} bytes"
    if size > piece.size:
        return DAMAGED, f"it has {size} bytes, {size - piece.size} more than it should"
    return DAMAGED, "its sha256 is {}, it should be {}".format(hashed.sha256 if hashed else "not known", piece.sha256)


def _part_of(read: ReadMedia, piece: Piece) -> str:
    return "" if read.owners[piece].size == piece.size else f" ({piece.name})"


def explain_strays(read: ReadMedia, strays: Sequence[str], findings: Sequence[BundleFinding]) -> List[BundleFinding]:
    """Say what each file is that lies among the bundle's and is none of them, where no finding has said it."""
    where = _Whereabouts(read)
    told = {path for finding in findings if finding.problem == RENAMED for path in _own_paths(finding, where)}
    found = []
    for path in strays:
        hashed = read.hashed.get(path)
        part = None if hashed is None else where.parts.get(hashed.sha256)
        if path in told:
            continue
        if part is not None:
            detail = f"it is a copy of {read.owners[part].path}" + _part_of(read, part)
            found.append(BundleFinding(path, DUPLICATED, detail, f"remove {path}", at=path))
        else:
            detail = "it lies among the bundle's files and is none of them"
            found.append(BundleFinding(path, UNEXPECTED, detail, f"remove {path}, or find out whose it is", at=path))
    return found


def _own_paths(finding: BundleFinding, where: _Whereabouts) -> Sequence[str]:
    return where.paths.get(finding.piece.sha256, ()) if finding.piece is not None else ()
