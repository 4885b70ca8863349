"""Checks what lies at the top of a bundle and of each volume: manifest, signature, label, and what all carry."""

import os
from hashlib import sha256
from typing import Dict, Iterator, List, Optional, Set

from pytorch_offline.bundle.format.manifest import INSTALLER_NAME, MANIFEST_NAME, MAX_MANIFEST_BYTES, SIGNATURE_NAME
from pytorch_offline.bundle.format.model import Manifest, Piece
from pytorch_offline.bundle.reading.copies import sound_signature
from pytorch_offline.bundle.reading.explaining import ReadMedia, explain_part
from pytorch_offline.bundle.reading.findings import DAMAGED, MISSING, SWAPPED, BundleFinding
from pytorch_offline.bundle.reading.labels import LABEL_NAME, render_label
from pytorch_offline.bundle.reading.media import read_regular
from pytorch_offline.bundle.reading.names import COPIES_DIRECTORY
from pytorch_offline.bundle.reading.sources import MAX_LABEL_BYTES, Source
from pytorch_offline.bundle.reading.ssh_signature import MAX_SIGNATURE_BYTES


def check_tops(source: Source, read: ReadMedia) -> List[BundleFinding]:
    """Say what is wrong at the top of each directory that holds the bundle or a volume of it."""
    found: List[BundleFinding] = []
    labelled = label_numbers(source)
    for root in source.roots:
        top = root.directory
        numbers = {piece.volume for piece, paths in read.names.items() for path in paths if _lies_in_volume(path, top)}
        number = labelled.get(top) or (min(numbers) if len(numbers) == 1 else None)
        found += _check_manifest(source.manifest, top, root.manifest, number)
        for piece in read.owners:
            if "/" not in piece.name:
                paths = [path for path in read.names[piece] if os.path.dirname(path) == top]
                if not any(_is_right(read, piece, path) for path in paths):
                    finding = explain_part(read, piece, paths[0] if paths else None)
                    if source.manifest.volume_size is not None and finding.problem != SWAPPED:
                        finding = finding._replace(bring=_bring_top(source.manifest, piece.name, number))
                    found.append(finding._replace(volume=number))
        if source.manifest.volume_size is not None:
            found += _check_label(source, top, labelled.get(top), numbers, number)
    return found + list(_check_signatures(source, labelled)) + list(_check_copies(source))


def label_numbers(source: Source) -> Dict[str, int]:
    """Give the number of each volume whose label is right, by its directory."""
    labels = {render_label(source.manifest, number): number for number in range(1, source.manifest.volumes + 1)}
    found: Dict[str, int] = {}
    for path in source.beside_manifest(LABEL_NAME):
        number = labels.get(_read_small(path, MAX_LABEL_BYTES))
        if number is not None:
            found[os.path.dirname(path)] = number
    return found


def _is_right(read: ReadMedia, piece: Piece, path: str) -> bool:
    hashed = read.hashed.get(path)
    return hashed is not None and hashed.problem is None and hashed.sha256 == piece.sha256


def _lies_in_volume(path: str, top: str) -> bool:
    return os.path.dirname(os.path.dirname(path)) == top and os.path.basename(os.path.dirname(path)).lower() == "data"


def _bring_top(manifest: Manifest, name: str, number: Optional[int]) -> str:
    if manifest.volume_size is None:
        return f"bring {name} again"
    own = "the volume" if number is None else f"volume {number} of {manifest.volumes}"
    return f"bring {name} of {own} again" + ("" if name == LABEL_NAME else "; it is the same in every volume")


def _check_manifest(manifest: Manifest, top: str, state: str, number: Optional[int]) -> Iterator[BundleFinding]:
    said = {
        "damaged": (DAMAGED, "it is damaged; another copy is sound"),
        "differs": (DAMAGED, "it is not as in the other volumes, though of the same bundle"),
        "missing": (MISSING, "it is not there; another copy is sound"),
    }
    if state in said:
        problem, detail = said[state]
        at = os.path.join(top, MANIFEST_NAME)
        bring = _bring_top(manifest, MANIFEST_NAME, number)
        yield BundleFinding(MANIFEST_NAME, problem, detail, bring, volume=number, name=MANIFEST_NAME, at=at)


def _check_label(
    source: Source, top: str, label: Optional[int], numbers: Set[int], number: Optional[int]
) -> Iterator[BundleFinding]:
    present = any(os.path.dirname(path) == top for path in source.beside_manifest(LABEL_NAME))
    if label is not None and (len(numbers) != 1 or label in numbers):
        return
    if label is not None:
        held = min(numbers)
        detail = f"it is the label of volume {label}, on what volume {held} holds"
        problem, number = SWAPPED, held
    elif present:
        problem, detail = DAMAGED, "it is not as it was written"
    else:
        problem, detail = MISSING, "it is not there"
    bring = _bring_top(source.manifest, LABEL_NAME, number)
    at = os.path.join(top, LABEL_NAME)
    yield BundleFinding(LABEL_NAME, problem, detail, bring, volume=number, name=LABEL_NAME, at=at)


def _check_signatures(source: Source, labelled: Dict[str, int]) -> Iterator[BundleFinding]:
    """All volumes carry one signature; where no copy belongs to the manifest, judging the signature says so."""
    held = {
        os.path.dirname(path): _read_small(path, MAX_SIGNATURE_BYTES) for path in source.beside_manifest(SIGNATURE_NAME)
    }
    right = sound_signature(source)
    for root in source.roots if right is not None else ():
        body = held.get(root.directory)
        if body == right:
            continue
        number = labelled.get(root.directory)
        problem, detail = (MISSING, "it is not there") if body is None else (DAMAGED, "another copy of it is right")
        bring = _bring_top(source.manifest, SIGNATURE_NAME, number)
        at = os.path.join(root.directory, SIGNATURE_NAME)
        yield BundleFinding(SIGNATURE_NAME, problem, detail, bring, volume=number, name=SIGNATURE_NAME, at=at)


def _check_copies(source: Source) -> Iterator[BundleFinding]:
    """Beside the parity of a single directory lie copies of what is needed to begin with."""
    if source.manifest.parity is None or source.manifest.volume_size is not None:
        return
    installer = [file for file in source.manifest.files if file.path == INSTALLER_NAME]
    wanted = {MANIFEST_NAME: sha256(source.manifest_bytes).hexdigest()}
    wanted.update((file.path, file.sha256) for file in installer)
    signature = sound_signature(source)
    if signature:
        wanted[SIGNATURE_NAME] = sha256(signature).hexdigest()
    for name, digest in sorted(wanted.items()):
        path = COPIES_DIRECTORY + "/" + name
        places = [
            source.kept_copy(root.directory, name) or os.path.join(root.directory, COPIES_DIRECTORY, name)
            for root in source.roots
        ]
        bodies = [(at, _read_small(at, MAX_MANIFEST_BYTES)) for at in places]
        for at, body in bodies:
            if body and sha256(body).hexdigest() != digest:
                yield BundleFinding(
                    path, DAMAGED, f"it is not a copy of {name}", f"copy {name} to {path}", name=path, at=at
                )
        if not any(body for _, body in bodies):  # a directory of mended parts beside the bundle needs none of its own
            yield BundleFinding(path, MISSING, "it is not there", f"copy {name} to {path}", name=path, at=places[0])


def _read_small(path: str, limit: int) -> bytes:
    try:
        return read_regular(path, limit)
    except OSError:
        return b""
