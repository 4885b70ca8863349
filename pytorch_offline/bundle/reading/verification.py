"""Compares every byte of a bundle with its manifest, and says what each difference is and what mends it.

A part is right if any file of its name is; findings are values, so that all are told at once.
"""

import os
from typing import Callable, Dict, NamedTuple, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import BundleFile, Piece
from pytorch_offline.bundle.reading.comparing import ComparedParts
from pytorch_offline.bundle.reading.explaining import ReadMedia, explain_parts, explain_strays
from pytorch_offline.bundle.reading.findings import BundleFinding, gather_volumes
from pytorch_offline.bundle.reading.names import fold_name
from pytorch_offline.bundle.reading.sources import Source
from pytorch_offline.bundle.reading.top_checks import check_tops, label_numbers


def tell_nobody(count: int) -> None:
    """Take what is told of bytes, where nobody waits for it."""
    del count


class Verification(NamedTuple):
    """What reading a bundle came to.

    Args:
        files: how many files of the bundle were compared.
        size: their bytes.
        bytes_read: what was read for it.
        findings: what is wrong, a lost volume once.
        bad: each run of the manifest's bytes that is wrong or lost, with the path of the file that has its name.
    """

    files: int
    size: int
    bytes_read: int
    findings: Tuple[BundleFinding, ...]
    bad: Tuple[Tuple[Piece, Optional[str]], ...]

    @property
    def hindering(self) -> Tuple[BundleFinding, ...]:
        """The findings with which nothing may be installed."""
        return tuple(finding for finding in self.findings if finding.hinders)


def verify_source(
    source: Source,
    files: Optional[Sequence[BundleFile]] = None,
    *,
    again: bool = False,
    told: Callable[[int], None] = tell_nobody,
    jobs: Optional[int] = None,
) -> Verification:
    """Read files of a bundle, and compare their bytes with the manifest; findings are values, never exceptions.

    Args:
        source: where they lie.
        files: which; every one that the bundle carries if none are named, and then whatever lies beside them too.
        again: also read what was read before with this source, and lies in files that did not change since.
        told: told of bytes as they are read, by several threads.
        jobs: how many files are read at once, one per core if not said.
    """
    everything = files is None
    chosen = [file for file in source.manifest.files if file.carried] if files is None else list(files)
    owners: Dict[Piece, BundleFile] = {}
    for file in chosen:
        for piece in source.pieces_of(file):
            owners.setdefault(piece, file)
    compared = ComparedParts(source, told, jobs or os.cpu_count() or 1)
    compared.read_parts(list(owners), again=again)
    strays = source.strays if everything else ()
    if compared.wrong or strays:
        compared.read_what_explains()
    read = ReadMedia(
        manifest=source.manifest,
        owners=owners,
        names=compared.candidates,
        right=compared.right,
        hashed=compared.hashed,
        sizes=compared.sizes,
        refused={fold_name(met.name): met for met in source.refused},
    )
    findings = [finding for finding in explain_parts(read) if "/" in finding.name or not (everything and source.roots)]
    if everything:
        findings += check_tops(source, read)
        findings += explain_strays(read, strays, findings)
    present = {piece.volume for piece, paths in compared.candidates.items() if paths and "/" in piece.name}
    gathered = gather_volumes(source.manifest, findings, sorted(present | set(label_numbers(source).values())))
    bad = [(finding.piece, finding.at) for finding in findings if finding.piece is not None]
    size = sum(file.size for file in chosen)
    return Verification(len(chosen), size, compared.bytes_read, gathered, tuple(bad))
