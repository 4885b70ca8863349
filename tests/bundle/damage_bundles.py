"""Bundles of some 100 KB for the damage campaign: in one directory or in volumes, with parity or signed or neither."""

from __future__ import annotations

import hashlib
import itertools
import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.manifest import MANIFEST_NAME, SIGNATURE_NAME, render_manifest
from pytorch_offline.bundle.format.model import Piece
from pytorch_offline.bundle.reading.labels import LABEL_NAME, render_label, volume_name
from pytorch_offline.bundle.reading.parity import carried_stream
from pytorch_offline.bundle.reading.ssh_signature import ssh_fingerprint
from pytorch_offline.bundle.writing.parity import StreamRun, write_parity
from tests.bundle.crafted_manifests import PIP, PYLOCK, TORCH, bundle_file, manifest
from tests.bundle.keys import Ed25519Key, armoured, signed_bytes, ssh_strings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytorch_offline.bundle.format.model import BundleFile, Manifest

NUMPY = "whl/numpy-2.1.0-cp311-cp311-linux_x86_64.whl"
SMALL = "whl/filelock-3.20.0-py3-none-any.whl"
INSTALLER, CONTENTS, SBOM = "install.py", "CONTENTS.txt", "bundle.cdx.json"
# Two of the larger files, or one volume, may be lost.
PERCENT = 45
VOLUME = 20_000
KEY = Ed25519Key(b"k" * 32)
BLOB = ssh_strings(b"ssh-ed25519", KEY.public)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a bundle is like."""

    volumes: bool
    parity: bool
    signed: bool

    def __str__(self) -> str:
        words = ("volumes" if self.volumes else "plain", "parity" if self.parity else "bare", "signed" * self.signed)
        return "-".join(word for word in words if word)


KINDS = tuple(
    Kind(volumes=volumes, parity=parity, signed=signed)
    for volumes, parity, signed in itertools.product((False, True), repeat=3)
)


def bodies(seed: int) -> dict[str, bytes]:
    """Make the bytes of each file; another seed makes a later bundle."""
    seeded = random.Random(seed)
    return {
        TORCH: seeded.randbytes(32_000),
        NUMPY: seeded.randbytes(26_000),
        SMALL: seeded.randbytes(4_000),
        PYLOCK: b"# a lock of bundle %d\n" % seed * 20,
        "locks/requirements.gpu-node.txt": b"torch==2.4.0 # %d\n" % seed,
        "locks/gpu-node.json": b'{"format": 1, "name": "gpu-node", "seed": %d}\n' % seed,
        PIP: seeded.randbytes(9_000),
        INSTALLER: b"# the installer of bundle %d\n" % seed * 300,
        CONTENTS: b"what is inside bundle %d\n" % seed * 9,
        SBOM: b'{"bomFormat": "CycloneDX", "version": %d}\n' % seed,
    }


def make_bundle(kind: Kind, top: Path, seed: int = 1) -> Manifest:
    """Write a bundle to a new directory."""
    held = bodies(seed)
    base = manifest(files=[bundle_file(path, body) for path, body in held.items()], counter=seed)
    made = _write_volumes(kind, base, held, top) if kind.volumes else _write_plain(kind, base, held, top)
    body = render_manifest(made)
    seals = {MANIFEST_NAME: body, **({SIGNATURE_NAME: _signature_of(body)} if kind.signed else {})}
    tops = [top / volume_name(number) for number in range(1, made.volumes + 1)] if kind.volumes else [top]
    if kind.parity and not kind.volumes:
        (top / "parity" / INSTALLER).write_bytes(held[INSTALLER])
        tops.append(top / "parity")
    for place, (name, sealed) in itertools.product(tops, seals.items()):
        _write(place / name, sealed)
    return made


def _signature_of(body: bytes) -> bytes:
    return armoured(BLOB, ssh_strings(b"ssh-ed25519", KEY.sign(signed_bytes(body))))


def allowed_signers() -> str:
    """Give the file that pins the key which signs here."""
    import base64

    assert ssh_fingerprint(BLOB)
    return f"maker ssh-ed25519 {base64.b64encode(BLOB).decode()}\n"


def _write_plain(kind: Kind, base: Manifest, held: dict[str, bytes], top: Path) -> Manifest:
    for path, body in held.items():
        _write(top / path, body)
    if not kind.parity:
        return base
    runs = [StreamRun(path=top / path, offset=0, size=piece.size) for path, piece in carried_stream(base)]
    written = write_parity(runs, PERCENT, top)
    return base._replace(files=_sorted(*base.files, *written.rows), parity=written.description)


def _write_volumes(kind: Kind, base: Manifest, held: dict[str, bytes], top: Path) -> Manifest:
    """Fill volume after volume, small files first; parity gets volumes of its own."""
    carried = sorted((path for path in held if "/" in path), key=lambda path: (len(held[path]), path))
    rows = dict(_pieces(top, [(path, held[path]) for path in carried], first=1))
    last = max(piece.volume for pieces in rows.values() for piece in pieces)
    made = base._replace(
        files=tuple(file._replace(pieces=rows.get(file.path, ())) for file in base.files),
        volume_size=VOLUME,
        volumes=last,
    )
    if kind.parity:
        places = [top / volume_name(piece.volume) / piece.name for _, piece in carried_stream(made)]
        runs = [StreamRun(path=place, offset=0, size=place.stat().st_size) for place in places]
        written = write_parity(runs, PERCENT, top / "rows")
        found = [(row.path, (top / "rows" / row.path).read_bytes()) for row in written.rows]
        shutil.rmtree(top / "rows")
        parts = dict(_pieces(top, found, first=last + 1))
        last = max(piece.volume for pieces in parts.values() for piece in pieces)
        files = _sorted(*made.files, *(row._replace(pieces=parts[row.path]) for row in written.rows))
        made = made._replace(files=files, parity=written.description, volumes=last)
    for number in range(1, last + 1):
        for path, body in held.items():
            if "/" not in path:
                _write(top / volume_name(number) / path, body)
        _write(top / volume_name(number) / LABEL_NAME, render_label(made, number))
    return made


def _pieces(top: Path, files: list[tuple[str, bytes]], first: int) -> Iterator[tuple[str, tuple[Piece, ...]]]:
    volume, free = first, VOLUME
    for path, body in files:
        pieces = []
        at = 0
        while at < len(body):
            if free < min(len(body) - at, VOLUME // 2):
                volume, free = volume + 1, VOLUME
            run = body[at : at + free]
            digest = hashlib.sha256(run).hexdigest()
            piece = Piece(volume, f"data/{digest[:40]}.{'whl' if path.endswith('.whl') else 'bin'}", len(run), digest)
            _write(top / volume_name(volume) / piece.name, run)
            pieces.append(piece)
            at, free = at + len(run), free - len(run)
        yield path, tuple(pieces)


def _sorted(*files: BundleFile) -> tuple[BundleFile, ...]:
    return tuple(sorted(files, key=lambda file: file.path))


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
