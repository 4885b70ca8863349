"""What lies at the top of a bundle, and of each of its volumes, several times over: so that one copy can mend another.

That is the manifest, its signature and, in volumes, all that every volume carries. A bundle in one directory keeps
copies of its manifest, its signature and its installer in ``parity/``.
"""

import os
from hashlib import sha256
from typing import Dict, Mapping, Optional

from pytorch_offline.bundle.format.manifest import INSTALLER_NAME, MANIFEST_NAME, ROTATIONS_NAME, SIGNATURE_NAME
from pytorch_offline.bundle.format.model import BundleFile, Manifest, Piece
from pytorch_offline.bundle.reading.labels import LABEL_NAME, render_label, volume_name
from pytorch_offline.bundle.reading.media import read_regular
from pytorch_offline.bundle.reading.names import COPIES_DIRECTORY, fold_name
from pytorch_offline.bundle.reading.rotation import MAX_ROTATIONS, parse_rotations
from pytorch_offline.bundle.reading.signature import check_signature
from pytorch_offline.bundle.reading.sources import MAX_LABEL_BYTES, Root, Source
from pytorch_offline.bundle.reading.ssh_signature import MAX_SIGNATURE_BYTES
from pytorch_offline.errors import IntegrityError, PytorchOfflineError


class Tops:
    """Where the volumes of a bundle are, or the bundle itself, and what lies at the top of each.

    Args:
        source: the bundle.
        into: the one directory that counts instead, for what is repaired.
    """

    def __init__(self, source: Source, into: Optional[str] = None) -> None:
        self._source = source
        self._into = into
        self._numbered: Dict[int, str] = {}
        for root in source.roots:
            self._numbered.setdefault(volume_of_root(source.manifest, root), root.directory)

    def top_of(self, volume: int) -> str:
        """Give the directory of a volume: of one that is lost, a new one beside the others."""
        if self._into is not None:
            return self._into
        if volume not in self._numbered:
            first = self._source.roots[0].directory if self._source.roots else self._source.directories[0]
            if self._source.manifest.volume_size is None:
                return first
            self._numbered[volume] = os.path.join(os.path.dirname(first), volume_name(volume))
        return self._numbered[volume]

    def bodies(self) -> Dict[str, bytes]:
        """Give the files that lie at every top, each by its name: a copy that is right.

        Raises:
            IntegrityError: code ``bundle-beyond-repair`` where of one there is none.
        """
        manifest = self._source.manifest
        found = {MANIFEST_NAME: self._source.manifest_bytes} if self._source.manifest_bytes else {}
        signature = sound_signature(self._source)
        if signature is not None:
            found[SIGNATURE_NAME] = signature
        rotations = sound_rotations(self._source)
        if rotations is not None:
            found[ROTATIONS_NAME] = rotations
        for file in manifest.files:
            if in_every_volume(manifest, file):
                found[file.path] = self._sound_copy(file)
        return found

    def wanted(self, sound: Mapping[Piece, str]) -> Dict[str, Dict[str, bytes]]:
        """Say which files with which bytes should lie at which tops.

        Args:
            sound: where parts lie that are right.
        """
        manifest = self._source.manifest
        bodies = self.bodies()
        if self._into is not None:
            return {self._into: {**bodies, **_bodies_at_top(sound)}}
        if manifest.volume_size is not None:
            found = {root.directory: dict(bodies) for root in self._source.roots}
            for number in range(1, manifest.volumes + 1):
                found.setdefault(self.top_of(number), dict(bodies))[LABEL_NAME] = render_label(manifest, number)
            return found
        found = {root.directory: dict(bodies) for root in self._source.roots}
        if manifest.parity is not None:
            for root in self._source.roots:
                installer = _bodies_at_top(
                    {piece: path for piece, path in sound.items() if piece.name == INSTALLER_NAME}
                )
                kept = self._source.kept_copy(root.directory, MANIFEST_NAME)
                place = os.path.join(root.directory, COPIES_DIRECTORY) if kept is None else os.path.dirname(kept)
                found[place] = {**bodies, **installer}
        return found

    def _sound_copy(self, file: BundleFile) -> bytes:
        for path in self._source.find(file.whole):
            body = exact_body(path, file.size)
            if body is not None and sha256(body).hexdigest() == file.sha256:
                return body
        raise IntegrityError(
            "bundle-beyond-repair",
            f"{file.path} is damaged in every volume.",
            facts={"bring again": file.path},
            hint="bring it from where the bundle was written: it is the same in all volumes",
            data={"bring": [file.path]},
        )


def _bodies_at_top(sound: Mapping[Piece, str]) -> Dict[str, bytes]:
    """Read what lies at the top of a bundle in one directory."""
    found = {piece.name: exact_body(path, piece.size) for piece, path in sound.items() if "/" not in piece.name}
    return {name: body for name, body in found.items() if body is not None}


def in_every_volume(manifest: Manifest, file: BundleFile) -> bool:
    """Whether a file is not in pieces, but whole in every volume."""
    return manifest.volume_size is not None and not file.pieces


def volume_of_root(manifest: Manifest, root: Root) -> int:
    """Say which volume a directory is: by its label, else by its name; 0 where nothing says it, 1 of one directory."""
    if manifest.volume_size is None:
        return 1
    try:
        label = read_regular(os.path.join(root.directory, LABEL_NAME), MAX_LABEL_BYTES)
    except OSError:
        label = b""
    for number in range(1, manifest.volumes + 1):
        if label == render_label(manifest, number):
            return number
    for number in range(1, manifest.volumes + 1):
        if fold_name(os.path.basename(root.directory)) == volume_name(number):
            return number
    return 0


def sound_signature(source: Source) -> Optional[bytes]:
    """Find, of several copies of a signature, the one that most have of those that belong to the manifest.

    By whom it is, is not asked here.
    """
    held: Dict[bytes, int] = {}
    for path in source.copies_of(SIGNATURE_NAME):
        try:
            body = read_regular(path, MAX_SIGNATURE_BYTES)
        except OSError:
            continue
        held[body] = held.get(body, 0) + 1
    for body in sorted(held, key=lambda body: (-held[body], not body.endswith(b"\n"))):  # else one may be cut short
        try:
            check_signature(source.manifest_bytes, body, pins=None, program="none")
        except PytorchOfflineError:
            continue
        return body
    return None


def sound_rotations(source: Source) -> Optional[bytes]:
    """Find, of several copies of the changes of keys, one that can be read."""
    for path in source.copies_of(ROTATIONS_NAME):
        try:
            copy = read_regular(path, MAX_ROTATIONS)
            parse_rotations(copy)
        except (OSError, PytorchOfflineError):
            continue
        return copy
    return None


def exact_body(path: str, size: int) -> Optional[bytes]:
    """Read a file; None where it is not there, or longer or shorter."""
    try:
        body = read_regular(path, size)
    except OSError:
        return None
    return body if len(body) == size else None
