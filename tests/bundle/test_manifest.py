from __future__ import annotations

import hashlib
import json
import string
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch_offline.bundle.format import manifest as codec
from pytorch_offline.bundle.format.manifest import content_id, parse_manifest, render_manifest
from pytorch_offline.bundle.format.model import BundleFile, Manifest, Piece
from pytorch_offline.bundle.writing.driver_facts import make_driver_facts
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UsageError
from tests.bundle.crafted_manifests import PYLOCK, TORCH, bundle_file, manifest, target_lock

if TYPE_CHECKING:
    from collections.abc import Callable

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
NAMES = st.text(string.ascii_lowercase + string.digits + "+_-", min_size=1, max_size=20).map(lambda name: f"f{name}x")


def _refused(body: bytes) -> PytorchOfflineError:
    with pytest.raises(PytorchOfflineError) as caught:
        parse_manifest(body)
    return caught.value


def _sealed(document: dict[str, Any]) -> bytes:
    """Write a document in the one form with a checksum that agrees: what a hostile hand could write."""
    rest = {key: value for key, value in document.items() if key != "checksum"}
    digest = codec._manifest_checksum(rest)
    return b"".join(codec._manifest_lines({**rest, "checksum": digest}))


def _document(made: Manifest | None = None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(render_manifest(made or manifest()))
    return document


def _changed(change: Callable[[dict[str, Any]], object]) -> PytorchOfflineError:
    document = _document()
    change(document)
    return _refused(_sealed(document))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    paths = draw(st.lists(NAMES.map(lambda name: f"whl/cpu/{name}.whl"), unique=True, max_size=6))
    files = [bundle_file(TORCH), bundle_file(PYLOCK)]
    volumes = draw(st.integers(1, 3))
    for path in paths:
        body = draw(st.binary(max_size=8))
        pieces: tuple[Piece, ...] = ()
        if volumes > 1 and len(body) > 1:
            halves = (body[:1], body[1:])
            pieces = tuple(
                Piece(
                    volume=draw(st.integers(1, volumes)),
                    name=f"data/{hashlib.sha256(half).hexdigest()[:40]}-{len(half)}",
                    size=len(half),
                    sha256=hashlib.sha256(half).hexdigest(),
                )
                for half in halves
            )
        row = draw(
            st.none() | st.dictionaries(NAMES, st.none() | st.text(max_size=20) | st.integers(0, 99), max_size=3)
        )
        files.append(bundle_file(path, body, pieces=pieces, row=row))
    return manifest(
        files=files,
        counter=draw(st.integers(1, 2**31 - 1)),
        volumes=volumes,
        volume_size=draw(st.none() | st.integers(1, 2**40)),
        parity=draw(st.none() | st.just({"percent": 10, "groups": [1, 2]})),
        lineage=draw(DIGESTS),
    )


@given(manifests())
@settings(max_examples=60)
def test_what_is_written_is_read_again(made: Manifest) -> None:
    body = render_manifest(made)
    assert parse_manifest(body) == made
    assert render_manifest(parse_manifest(body)) == body


def test_each_file_stands_on_a_line_of_its_own() -> None:
    lines = render_manifest(manifest()).decode().splitlines()
    assert sum('"path":"whl/cpu/torch' in line and line.startswith('{"path"') for line in lines) == 1
    assert lines[0] == '{"format":1,'
    assert lines[-1].startswith('"checksum":')


def test_every_flipped_bit_is_found() -> None:
    body = render_manifest(manifest())
    for at in range(len(body)):
        flipped = bytearray(body)
        flipped[at] ^= 1 << (at % 8)
        _refused(bytes(flipped))


def test_every_truncation_is_found() -> None:
    body = render_manifest(manifest())
    for length in range(0, len(body), 7):
        assert _refused(body[:length]).code == "bad-manifest"
    assert _refused(body + b"\n").code == "bad-manifest"


@given(st.binary(max_size=200))
def test_anything_else_is_refused_in_words(body: bytes) -> None:
    assert _refused(body).code == "bad-manifest"


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"format":' + b"9" * 100_000 + b"}",
        b'{"format":1,"format":1}',
        b'{"format":NaN}',
        b'{"format":1e5}',
        b"null",
        b'"text"',
    ],
)
def test_hostile_json_is_refused_in_words(body: bytes) -> None:
    assert _refused(body).code == "bad-manifest"


def test_more_than_the_bound_is_not_read() -> None:
    assert "more than" in _refused(b" " * (codec.MAX_MANIFEST_BYTES + 1)).message


def test_a_later_format_says_what_to_do() -> None:
    error = _changed(lambda document: document.update(format=2))
    assert isinstance(error, UsageError)
    assert error.code == "unknown-manifest-format"
    assert "install.py" in (error.hint or "")


def test_a_mirrors_manifest_is_not_taken_for_a_bundles() -> None:
    assert isinstance(_refused(b'{"format": 1, "files": [\n\n]}\n'), IntegrityError)


def test_keys_of_a_later_version_are_passed_over() -> None:
    document = _document()
    document["later"] = {"more": [1]}
    document["files"][0]["later"] = True
    assert parse_manifest(_sealed(document)) == manifest()


def _of_files(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["files"][0].__setitem__(key, value)


def _of_targets(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["targets"][0].__setitem__(key, value)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no id": lambda document: document.pop("id"),
    "another id": lambda document: document.update(id="0" * 64),
    "no counter": lambda document: document.pop("counter"),
    "counter 0": lambda document: document.update(counter=0),
    "counter true": lambda document: document.update(counter=True),
    "counter beyond": lambda document: document.update(counter=2**31),
    "format true": lambda document: document.update(format=True),
    "another kind": lambda document: document.update(kind="mirror"),
    "created": lambda document: document.update(created="yesterday"),
    "lineage": lambda document: document.update(lineage="a\u001b[2Jb"),
    "base": lambda document: document.update(base="x"),
    "no base in a delta": _of_files("carried", value=False),
    "parity": lambda document: document.update(parity=[]),
    "volumes": lambda document: document.update(volumes=0),
    "volume size": lambda document: document.update(volume_size=-1),
    "no files": lambda document: document.pop("files"),
    "order": lambda document: document["files"].reverse(),
    "twice": lambda document: document["files"].insert(0, document["files"][0]),
    "leaves": _of_files("path", "../install.py"),
    "absolute": _of_files("path", "/etc/passwd"),
    "backslash": _of_files("path", "a\\b"),
    "device": _of_files("path", "NUL.txt"),
    "ours": _of_files("path", "Manifest.json"),
    "unfinished": _of_files("path", "UNFINISHED"),
    "negative": _of_files("size", -1),
    "no size": lambda document: document["files"][0].pop("size"),
    "size beyond": _of_files("size", 2**63),
    "upper case": _of_files("sha256", "A" * 64),
    "short": _of_files("sha256", "a" * 63),
    "carried": _of_files("carried", "yes"),
    "row": _of_files("row", []),
    "pieces": _of_files("pieces", [{"volume": 1, "name": "data/a", "size": 1, "sha256": "a" * 64}]),
    "piece's volume": _of_files("pieces", [{"volume": 2, "name": "data/a", "size": 4, "sha256": "a" * 64}]),
    "target's name": _of_targets("target", "../x"),
    "pylock": _of_targets("pylock", "locks/other.toml"),
    "python": _of_targets("python", "3"),
    "glibc": _of_targets("glibc", "old"),
    "markers": _of_targets("markers", []),
    "marker": _of_targets("markers", {"sys_platform": "linux"}),
    "cuda": _of_targets("cuda", "12.1"),
    "wheels": _of_targets("wheels", {}),
    "wheel": lambda document: document["targets"][0]["wheels"][0].update(path="whl/other.whl"),
    "needs": lambda document: document["targets"][0]["wheels"][0].update(needs=["nothing"]),
    "tool": lambda document: document["tools"][0].update(path="whl/other.whl"),
    "two targets": lambda document: document["targets"].append(document["targets"][0]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_cannot_be_is_refused_although_the_checksum_agrees(name: str) -> None:
    error = _changed(CHANGES[name])
    assert isinstance(error, IntegrityError)
    assert error.code == "bad-manifest"
    assert "checksum" not in error.message


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 2**70)
    | st.text(max_size=8)
    | st.sampled_from(["../x", "CON", "a" * 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401  (JSON)
    """List the way to every member of a document."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, member in members for place in [(*at, key), *_places(member, (*at, key))]]


@given(st.data())
@settings(max_examples=150)
def test_whatever_a_hostile_hand_writes_is_read_or_refused_in_words(data: st.DataObject) -> None:
    document = _document(manifest(drivers=make_driver_facts()))
    for _ in range(data.draw(st.integers(1, 3))):
        *above, last = data.draw(st.sampled_from(_places(document)))
        holder: Any = document
        for key in above:
            holder = holder[key]
        holder[last] = data.draw(VALUES)
    try:
        body = _sealed(document)
    except ValueError:
        return  # what canonical JSON cannot hold, nobody can write
    with suppress(PytorchOfflineError):  # nothing else comes of it
        assert parse_manifest(body)


def _clash(*paths: str) -> PytorchOfflineError:
    files = [bundle_file(TORCH), bundle_file(PYLOCK), *(bundle_file(path) for path in paths)]
    return _refused(render_manifest(manifest(files=files)))


def test_paths_that_some_system_takes_for_one_are_refused() -> None:
    assert "case" in _clash("whl/A.whl", "whl/a.whl").message
    assert "case" in _clash("whl/stra\u00dfe", "whl/STRASSE").message
    assert "directory" in _clash("whl/a", "whl/A/b").message


def test_pieces_of_one_name_and_other_bytes_are_refused() -> None:
    pieces = [Piece(volume=1, name=name, size=4, sha256=bundle_file("x", name.encode() * 2).sha256) for name in "aA"]
    files = [
        BundleFile(path=f"whl/{piece.sha256}.whl", size=4, sha256=piece.sha256, pieces=(piece,)) for piece in pieces
    ]
    made = manifest(files=[bundle_file(TORCH), bundle_file(PYLOCK), *files])
    assert "pieces" in _refused(render_manifest(made)).message


def test_a_delta_may_leave_files_with_its_base() -> None:
    files = [bundle_file(TORCH, carried=False), bundle_file(PYLOCK)]
    made = manifest(files=files, base="a" * 64)
    assert parse_manifest(render_manifest(made)) == made


def test_the_id_is_that_of_what_is_held_however_it_is_packed() -> None:
    whole = manifest()
    piece = Piece(volume=2, name="data/a", size=4, sha256=bundle_file("x").sha256)
    packed = [
        file._replace(pieces=(piece,), carried=False) if file.path == TORCH else file
        for file in whole.files
        if file.path != "install.py"
    ]
    assert content_id(whole.lineage, whole.targets, packed) == whole.id
    changed = [file._replace(row={"yanked": "bad"}) if file.path == TORCH else file for file in whole.files]
    assert content_id(whole.lineage, whole.targets, changed) != whole.id
    assert content_id("other", whole.targets, whole.files) != whole.id
    assert content_id(whole.lineage, (target_lock()._replace(glibc="2.17"),), whole.files) != whole.id
