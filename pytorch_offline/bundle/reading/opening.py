"""Opening a bundle: which of the manifests that lie in some directories is its own, and which volume is another's."""

import os
import re
from hashlib import sha256
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.canonical_json import parse_strict_json
from pytorch_offline.bundle.format.manifest import (
    BUNDLE_KIND,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    UNFINISHED_NAME,
    parse_manifest,
)
from pytorch_offline.bundle.format.model import Manifest
from pytorch_offline.bundle.reading.media import Met, read_regular, walk_media
from pytorch_offline.bundle.reading.names import COPIES_DIRECTORY, MEDIA_DIRECTORIES, fold_name
from pytorch_offline.bundle.reading.sources import Root, Source
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UsageError

# Volumes lie in a directory, and that in one of media; deeper down nobody looks for a bundle.
_MANIFEST_DEPTH = 3
_VOLUME_NAME = re.compile("volume-[0-9]{3,}")
# So many neighbours of a volume are looked at when install.py is started from it.
_MAX_NEIGHBOURS = 1000
# The keys that tell a bundle's manifest from a mirror's stand in its first lines.
_HEAD_BYTES = 4096


class _Copy(NamedTuple):
    """A manifest as it lies somewhere: ``digest`` of its bytes, None where it is damaged."""

    top: str
    path: str
    digest: Optional[str]


def open_source(directories: Sequence[str], manifest: Optional[Manifest] = None, *, deep: bool = True) -> Source:
    """Open what lies in one or several directories: a bundle, its volumes, a delta and its base, a mirror.

    Args:
        directories: each a bundle, a volume, or holds some of them, in any order.
        manifest: what should be there, where that is known already; no manifest is looked for then.
        deep: whether a bundle also counts that lies further down in one of them.

    Raises:
        UsageError: ``no-bundle`` if there is none, ``unknown-manifest-format`` if it is of a later format.
        IntegrityError: ``bad-manifest`` if no copy of the manifest is sound, ``bundle-unfinished`` if writing it was
            cut off, ``mixed-bundles`` if volumes of several bundles lie there.
    """
    given = _real_directories(directories)
    if manifest is not None:
        return Source(given, manifest)
    copies, unfinished, bodies = _find_manifests(given, _MANIFEST_DEPTH if deep else 0)
    if not any(copy.digest for copy in copies):
        raise _nothing_sound(given, copies, unfinished, deep=deep)
    manifests = {digest: parse_manifest(body) for digest, body in bodies.items()}
    chosen = _choose_manifest(copies, manifests)
    roots = _roots_of(chosen, copies, manifests)
    for marked in unfinished:
        if any((root.directory + os.sep).startswith(marked.rstrip(os.sep) + os.sep) for root in roots):
            raise _unfinished_bundle(unfinished)
    others = [other for digest, other in manifests.items() if other.id != manifests[chosen].id]
    return Source(given, manifests[chosen], bodies[chosen], others, roots)


def media_of_program(directory: str) -> Tuple[str, ...]:
    """Give the directories that count where install.py was started and none was named: to be opened without ``deep``.

    Its own, or where that is a volume also those beside it, or the volumes that lie in it. Whatever else is near may be
    somebody else's: install.py may have been copied alone into a directory that everybody writes to.
    """
    own = os.path.realpath(directory)
    try:
        names = sorted(os.listdir(own))
    except OSError:
        return (own,)
    of_bundles = (MANIFEST_NAME, UNFINISHED_NAME.lower(), COPIES_DIRECTORY)
    if _is_volume_name(own) or any(fold_name(name) in of_bundles for name in names):
        return media_beside(own)
    inside = [os.path.join(own, name) for name in names if _is_volume_name(name)]
    return tuple(place for place in inside[:_MAX_NEIGHBOURS] if os.path.isdir(place)) or (own,)


def says_bundle(directory: str) -> Optional[bool]:
    """Whether the manifest in a directory calls itself a bundle's, by its first lines; None where there is none.

    A damaged one counts by what is left there: opening it says what is wrong.
    """
    try:
        head = read_regular(os.path.join(directory, MANIFEST_NAME), _HEAD_BYTES)
    except OSError:
        return None
    return b'"lineage"' in head or f'"kind":"{BUNDLE_KIND}"'.encode("ascii") in head


def media_beside(directory: str) -> Tuple[str, ...]:
    """Give the directory that install.py was started from and, if it is a volume, those of the others beside it.

    Volumes lie beside each other in the directory that they were written to, and so do media that are mounted at once.
    """
    own = os.path.realpath(directory)
    body = _manifest_in(own)
    try:
        manifest = parse_manifest(body)
    except PytorchOfflineError:
        # The name still says that it is a volume, and another has the manifest too.
        mark = None if _is_volume_name(own) else b""
    else:
        mark = b"" if manifest.volume_size is None else manifest.id.encode("ascii")
    if mark == b"":
        return (own,)
    found = [own]
    try:
        neighbours = sorted(os.listdir(os.path.dirname(own)))[:_MAX_NEIGHBOURS]
    except OSError:
        return (own,)
    for name in neighbours:
        beside = os.path.realpath(os.path.join(os.path.dirname(own), name))
        if beside in found or not os.path.isdir(beside):
            continue
        if _is_volume_name(name) or (mark is not None and mark in _manifest_in(beside)):
            found.append(beside)
    return tuple(found)


def _is_volume_name(path: str) -> bool:
    return _VOLUME_NAME.fullmatch(fold_name(os.path.basename(path))) is not None


def _manifest_in(directory: str) -> bytes:
    """Read the manifest of a directory, whatever its medium made of the name; nothing where there is none."""
    try:
        for name in os.listdir(directory):
            if fold_name(name) == MANIFEST_NAME:
                return read_regular(os.path.join(directory, name), MAX_MANIFEST_BYTES)
    except OSError:
        pass
    return b""


def _real_directories(directories: Sequence[str]) -> List[str]:
    given: List[str] = []
    for directory in directories:
        real = os.path.realpath(directory)
        if not os.path.isdir(real):
            raise UsageError(
                "no-bundle",
                f"{directory} is no directory that can be read",
                hint="name the directory of the bundle, or those of its volumes; is the medium mounted?",
            )
        if real not in given:
            given.append(real)
    return given


def _find_manifests(given: Sequence[str], depth: int) -> Tuple[List[_Copy], List[str], Dict[str, bytes]]:
    """Read every bundle's manifest; give the copies, directories that are marked as unfinished, and distinct bytes."""
    copies: List[_Copy] = []
    unfinished: List[str] = []
    bodies: Dict[str, bytes] = {}
    for directory in given:
        for met in _meet_manifests(directory, given, depth):
            top = os.path.join(directory, *met.folders)
            folded = fold_name(met.name)
            if met.kind != "file" or folded not in (MANIFEST_NAME, UNFINISHED_NAME.lower()):
                continue
            if folded != MANIFEST_NAME:
                unfinished.append(top)
                continue
            if met.folders and fold_name(met.folders[-1]) == COPIES_DIRECTORY:
                top = os.path.dirname(top)
            if met.path not in [copy.path for copy in copies]:
                kept = _read_copy(met.path)
                if kept is not None:
                    digest = sha256(kept).hexdigest() if kept else None
                    copies.append(_Copy(top, met.path, digest))
                    if digest is not None:
                        bodies.setdefault(digest, kept)
    return copies, unfinished, bodies


def _meet_manifests(directory: str, given: Sequence[str], depth: int) -> Iterator[Met]:
    """Go through the places where a manifest may lie; the copies that parity keeps are of the directory itself."""
    inside = [name for name in MEDIA_DIRECTORIES if name != COPIES_DIRECTORY]
    yield from walk_media(directory, given, skipped=inside, depth=depth)
    if depth == 0:
        for name in sorted(os.listdir(directory)):
            place = os.path.join(directory, name)
            if fold_name(name) == COPIES_DIRECTORY and os.path.isdir(place) and not os.path.islink(place):
                for met in walk_media(place, given, depth=0):
                    yield met._replace(folders=(name,))


def _read_copy(path: str) -> Optional[bytes]:
    """Read a bundle's manifest: nothing where it is damaged, None where it is another file of that name.

    Raises:
        UsageError: ``unknown-manifest-format`` if it is of a later format.
    """
    try:
        body = read_regular(path, MAX_MANIFEST_BYTES)
    except OSError:
        return b""
    try:
        parse_manifest(body)
    except IntegrityError:
        try:
            document = parse_strict_json(body)
        except ValueError:
            return b""
        ours = isinstance(document, dict) and document.get("kind") == BUNDLE_KIND
        return b"" if ours or b'"pieces"' in body or b'"lineage"' in body else None
    return body


def _choose_manifest(copies: Sequence[_Copy], manifests: Dict[str, Manifest]) -> str:
    """Choose what is to be read: the bundle that no other builds upon, as most copies have it."""
    # A delta that brings nothing is what it is laid upon.
    bases = {manifest.base for manifest in manifests.values() if manifest.base != manifest.id}
    tips = {manifest.id for manifest in manifests.values()} - bases
    if len(tips) != 1:
        raise _mixed_bundles(copies, manifests)
    held = [copy.digest for copy in copies if copy.digest and manifests[copy.digest].id in tips]
    return max(held, key=lambda digest: (held.count(digest), -held.index(digest)))


def _roots_of(chosen: str, copies: Sequence[_Copy], manifests: Dict[str, Manifest]) -> List[Root]:
    """Give the directories of the chosen bundle; of a damaged manifest nobody knows whose it is, so it counts here."""
    states: Dict[str, str] = {}
    want = manifests[chosen]
    for copy in copies:
        if copy.digest == chosen:
            state = "sound"
        elif copy.digest is None:
            state = "damaged"
        else:
            other = manifests[copy.digest]
            if (other.id, other.base, other.volume_size) != (want.id, want.base, want.volume_size):
                continue
            state = "differs"
        at_top = os.path.dirname(copy.path) == copy.top
        if at_top or copy.top not in states:  # the copy at the top speaks for it, one in parity/ only where it is lost
            states[copy.top] = state if at_top else "missing"
    return [Root(top, state) for top, state in states.items()]


def _nothing_sound(
    given: Sequence[str], copies: Sequence[_Copy], unfinished: Sequence[str], *, deep: bool
) -> PytorchOfflineError:
    if unfinished:
        return _unfinished_bundle(unfinished)
    if copies:
        return IntegrityError(
            "bad-manifest",
            f"{MANIFEST_NAME} is damaged, and no sound copy of it is there",
            facts={"damaged": ", ".join(copy.path for copy in copies)},
            hint=f"bring {MANIFEST_NAME} again, of any volume: it is the same in all of them",
        )
    return UsageError(
        "no-bundle",
        "there is no bundle in {}".format(", ".join(given)),
        facts={} if deep else {"looked at": "this directory itself and volumes in it or beside it, nothing deeper"},
        hint=f"name the directory that holds {MANIFEST_NAME}, or those of the volumes: --from DIR",
    )


def _unfinished_bundle(unfinished: Sequence[str]) -> PytorchOfflineError:
    return IntegrityError(
        "bundle-unfinished",
        "the bundle is unfinished: writing it was cut off, or is still going on",
        facts={"marked": ", ".join(os.path.join(top, UNFINISHED_NAME) for top in unfinished)},
        hint="run `pytorch-offline bundle` again where it was written, and bring it again when that is done",
    )


def _mixed_bundles(copies: Sequence[_Copy], manifests: Dict[str, Manifest]) -> PytorchOfflineError:
    facts: Dict[str, object] = {}
    for copy in copies:
        if copy.digest is not None:
            one = manifests[copy.digest]
            facts[copy.top] = f"bundle {one.id[:12]} of {one.created}, {one.volumes} volumes"
    return IntegrityError(
        "mixed-bundles",
        "these directories belong to different bundles",
        facts=facts,
        hint="name the directories of one bundle; a delta may lie beside its own base",
    )
