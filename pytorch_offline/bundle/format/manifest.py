"""The codec of a bundle's ``manifest.json``.

One file, target or tool per line, keys in one order: equal manifests give equal bytes, and a reader takes no other
form, so that no bit of it can change unseen. ``checksum`` is the sha256 of the document without it, for damage; against
malice there is the signature. The reader believes nothing: a bundle crosses a gap on media that others have held.
"""

import re
from datetime import datetime
from hashlib import sha256
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Pattern, Sequence, Set, Tuple

from pytorch_offline.bundle.format.canonical_json import parse_strict_json, render_canonical
from pytorch_offline.bundle.format.driver_facts import driver_facts_document, parse_driver_facts
from pytorch_offline.bundle.format.model import (
    SHA256_FORM,
    BundleFile,
    CudaNeed,
    LockedWheel,
    Manifest,
    Missing,
    Piece,
    TargetLock,
    Tool,
)
from pytorch_offline.bundle.format.safe_paths import name_problem, path_key, path_problem
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UsageError

BUNDLE_FORMAT = 1
BUNDLE_KIND = "bundle"
MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "manifest.json.sig"
# Changes of keys, each signed by the key that was left: it lies wherever the signature lies.
ROTATIONS_NAME = "manifest.json.keys"
INSTALLER_NAME = "install.py"
# Lies in a bundle, and in each of its volumes, from before the first byte is written until after the last.
UNFINISHED_NAME = "UNFINISHED"
# What a bundle is, whichever way it is packed; other files are made from these.
CONTENT_DIRECTORIES = ("whl", "locks", "tools")
# 50,000 files have 30 MB; whoever reads a manifest reads no more than this.
MAX_MANIFEST_BYTES = 64 * 1024 * 1024
# METADATA's longest line of 2,905 recorded ones has 771 characters.
MAX_MANIFEST_TEXT = 4096
MAX_FILE_BYTES = 2**63 - 1
MAX_COUNTER = 2**31 - 1
# In this order at the top of the document; what a later version adds stands after them, and the checksum last.
_TOP_KEYS = (
    "format", "kind", "id", "lineage", "counter", "base", "created", "volume_size", "volumes", "parity", "drivers",
    "targets", "tools", "files",
)  # fmt: skip
CREATED_FORM = "%Y-%m-%dT%H:%M:%SZ"
_UNSEEN_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# As PEP 503 normalises a project's name, and what PEP 440 makes of a version: both stand in lines that pip reads.
_PROJECT_FORM = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_VERSION_FORM = re.compile(r"[0-9][0-9a-z.!]*(?:\+[0-9a-z.]+)?")
_MAJOR_MINOR = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}")


def content_id(lineage: str, targets: Sequence[TargetLock], files: Iterable[BundleFile]) -> str:
    """Compute what names a bundle's content, whichever way it is packed and however much of it is carried."""
    digest = sha256(b'{"files":[')  # canonical JSON, hashed as it is rendered: of 50,000 files it has 20 MB
    comma = b""
    for file in sorted(files, key=_file_path_of):
        if is_content(file.path):
            row = [file.path, file.size, file.sha256, None if file.row is None else dict(file.row)]
            digest.update(comma + render_canonical(row).encode("ascii"))
            comma = b","
    rest = {"lineage": lineage, "targets": [_render_target_row(target) for target in targets]}
    digest.update(b"]," + render_canonical(rest)[1:].encode("ascii"))
    return digest.hexdigest()


def is_content(path: str) -> bool:
    """Whether a file of a bundle is part of what it is, and not made from that."""
    return path.split("/", 1)[0] in CONTENT_DIRECTORIES


def render_manifest(manifest: Manifest) -> bytes:
    """Render a manifest in its one form."""
    document: Dict[str, Any] = {
        "format": BUNDLE_FORMAT,
        "kind": BUNDLE_KIND,
        "id": manifest.id,
        "lineage": manifest.lineage,
        "counter": manifest.counter,
        "base": manifest.base,
        "created": manifest.created,
        "volume_size": manifest.volume_size,
        "volumes": manifest.volumes,
        "parity": None if manifest.parity is None else dict(manifest.parity),
        "drivers": None if manifest.drivers is None else driver_facts_document(manifest.drivers),
        "targets": [_render_target_row(target) for target in manifest.targets],
        "tools": [tool._asdict() for tool in manifest.tools],
        "files": [_render_file_row(file) for file in manifest.files],
    }
    document["checksum"] = _manifest_checksum(document)
    return b"".join(_manifest_lines(document))


def _manifest_checksum(document: Mapping[str, Any]) -> str:
    digest = sha256()
    for line in _manifest_lines(document):
        digest.update(line)
    return digest.hexdigest()


def _manifest_lines(document: Mapping[str, Any]) -> Iterator[bytes]:
    """Render a document with each key on a line, and each member of a list on a line of its own."""
    order = {key: number for number, key in enumerate(_TOP_KEYS)}
    order["checksum"] = len(order) + 1
    before = "{"
    for key in sorted(document, key=lambda key: (order.get(key, len(_TOP_KEYS)), key)):
        value = document[key]
        line = before + render_canonical(key) + ":"
        before = ",\n"
        if isinstance(value, list) and value:
            yield (line + "[\n" + render_canonical(value[0])).encode("ascii")
            for member in value[1:]:
                yield (",\n" + render_canonical(member)).encode("ascii")
            yield b"\n]"
        else:
            yield (line + render_canonical(value)).encode("ascii")
    yield b"}\n"


def _is_rendered_as(document: Mapping[str, Any], body: bytes) -> bool:
    """Whether bytes are a document in its one form."""
    at = 0
    for line in _manifest_lines(document):
        if body[at : at + len(line)] != line:
            return False
        at += len(line)
    return at == len(body)


def _render_target_row(target: TargetLock) -> Dict[str, Any]:
    row: Dict[str, Any] = target._asdict()
    row["markers"] = {name: list(values) for name, values in target.markers.items()}
    row["cuda"] = None if target.cuda is None else target.cuda._asdict()
    row["wheels"] = [wheel._asdict() for wheel in target.wheels]
    row["missing"] = [missing._asdict() for missing in target.missing]
    return dict(row)


def _render_file_row(file: BundleFile) -> Dict[str, Any]:
    """Make a file's row; what every plain file has alike is left out."""
    row: Dict[str, Any] = {"path": file.path, "size": file.size, "sha256": file.sha256}
    if not file.carried:
        row["carried"] = False
    if file.pieces:
        row["pieces"] = [piece._asdict() for piece in file.pieces]
    if file.row is not None:
        row["row"] = dict(file.row)
    return row


def parse_manifest(body: bytes) -> Manifest:
    """Read a bundle's manifest. Keys that this version does not know are passed over.

    Raises:
        UsageError: ``unknown-manifest-format`` if it is of a later format.
        IntegrityError: ``bad-manifest`` naming the key, if it is none, is damaged, or says what cannot be.
    """
    if len(body) > MAX_MANIFEST_BYTES:
        raise bad_manifest(f"it has more than {MAX_MANIFEST_BYTES} bytes")
    try:
        document = parse_strict_json(body)
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise bad_manifest("it is not JSON as we write it", detail=str(error)[:200]) from error
    if not isinstance(document, dict):
        raise bad_manifest("it is not an object")
    _require_our_format(document)
    rest = {key: value for key, value in document.items() if key != "checksum"}
    try:
        sound = document.get("checksum") == _manifest_checksum(rest) and _is_rendered_as(document, body)
    except RecursionError:
        sound = False
    if not sound:
        raise bad_manifest("its checksum disagrees: it was damaged or changed")
    return _manifest_of(_ManifestObject(document, ""))


def _require_our_format(document: Mapping[str, Any]) -> None:
    found = document.get("format")
    if document.get("kind") != BUNDLE_KIND:
        raise bad_manifest("it is not that of a bundle", found=document.get("kind"))
    if isinstance(found, int) and not isinstance(found, bool) and found > BUNDLE_FORMAT:
        raise UsageError(
            "unknown-manifest-format",
            f"the bundle's manifest is of format {found}, this version reads format {BUNDLE_FORMAT}",
            hint="use the install.py that came with the bundle, or a later version of pytorch-offline",
        )
    if found != BUNDLE_FORMAT or isinstance(found, bool):
        raise bad_manifest("its key 'format' is missing or wrong", found=found)


def bad_manifest(what: str, **facts: object) -> PytorchOfflineError:
    """Make the error that says what is wrong with a bundle's manifest."""
    shown = {name: repr(value)[:200] for name, value in facts.items()}
    return IntegrityError(
        "bad-manifest",
        f"{MANIFEST_NAME} of the bundle cannot be used: {what}",
        facts=shown,
        hint=f"copy {MANIFEST_NAME} again from where the bundle was written",
    )


class _ManifestObject:
    """The values of one object of the document, each checked as it is taken."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise bad_manifest("{} is no object".format(where or "it"), found=value)
        self.value: Dict[str, Any] = value
        self.where = where

    def wrong(self, key: str, what: str) -> PytorchOfflineError:
        """Make the error for a key."""
        return bad_manifest("{}{} {}".format(self.where and self.where + ".", key, what), found=self.value.get(key))

    def text(self, key: str) -> str:
        value = self.value.get(key)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "is missing or no text")
        if len(value) > MAX_MANIFEST_TEXT or _UNSEEN_CHARACTERS.search(value):
            raise self.wrong(key, "is too long, or holds characters that are not seen")
        return value

    def optional_text(self, key: str) -> Optional[str]:
        return None if self.value.get(key) is None else self.text(key)

    def digest(self, key: str) -> str:
        return self.formed(key, SHA256_FORM, "a sha256 in lower-case hex")

    def number(self, key: str, least: int, most: int) -> int:
        value = self.value.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(key, f"is no number from {least} to {most}")
        return value

    def path(self, key: str) -> str:
        value = self.text(key)
        problem = path_problem(value)
        if problem is not None:
            raise self.wrong(key, "is no path that may be used: " + problem)
        return value

    def formed(self, key: str, form: "Pattern[str]", what: str) -> str:
        value = self.text(key)
        if form.fullmatch(value) is None:
            raise self.wrong(key, "is not " + what)
        return value

    def major_minor(self, key: str) -> str:
        return self.formed(key, _MAJOR_MINOR, "of the form 3.11")

    def texts(self, key: str) -> Tuple[str, ...]:
        values = self.value.get(key)
        if not isinstance(values, list):
            raise self.wrong(key, "is missing or no list")
        members = _ManifestObject({str(number): value for number, value in enumerate(values)}, self.where + "." + key)
        return tuple(members.text(str(number)) for number in range(len(values)))

    def objects(self, key: str) -> "List[_ManifestObject]":
        values = self.value.get(key)
        if not isinstance(values, list):
            raise self.wrong(key, "is missing or no list")
        where = self.where and self.where + "."
        return [_ManifestObject(value, f"{where}{key}[{number}]") for number, value in enumerate(values)]


def _manifest_of(top: _ManifestObject) -> Manifest:
    volumes = top.number("volumes", 1, 100_000)
    files = tuple(_parse_file_row(row, volumes) for row in top.objects("files"))
    _refuse_path_clashes(files)
    paths = {file.path for file in files}
    parity = top.value.get("parity")
    if parity is not None and not isinstance(parity, dict):
        raise top.wrong("parity", "is no object")
    drivers = top.value.get("drivers")
    manifest = Manifest(
        id=top.digest("id"),
        lineage=top.text("lineage"),
        counter=top.number("counter", 1, MAX_COUNTER),
        base=None if top.value.get("base") is None else top.digest("base"),
        created=top.text("created"),
        targets=tuple(_parse_target_row(row, paths) for row in top.objects("targets")),
        tools=tuple(_parse_tool_row(row, paths) for row in top.objects("tools")),
        files=files,
        volume_size=None if top.value.get("volume_size") is None else top.number("volume_size", 1, MAX_FILE_BYTES),
        volumes=volumes,
        parity=parity,
        drivers=None if drivers is None else parse_driver_facts(drivers),
    )
    try:
        datetime.strptime(manifest.created, CREATED_FORM)  # noqa: DTZ007  (only its form is looked at)
    except ValueError as error:
        raise top.wrong("created", "is no moment of the form 2026-01-31T12:00:00Z") from error
    if manifest.base is None and not all(file.carried for file in files):
        raise top.wrong("base", "is missing, although not all files are carried")
    _refuse_repetition([path_key(target.target) for target in manifest.targets], "targets")
    if manifest.id != content_id(manifest.lineage, manifest.targets, files):
        raise top.wrong("id", "is not that of what the manifest lists")
    return manifest


def _refuse_repetition(keys: Sequence[str], where: str) -> None:
    if list(keys) != sorted(set(keys)):
        raise bad_manifest(f"{where} are not in order, each once")


def _refuse_path_clashes(files: Sequence[BundleFile]) -> None:
    """Refuse paths out of order, two that some system takes for one, a file that is a directory too, our own names."""
    _refuse_path_order(files)
    keys = {path_key(name) for name in (MANIFEST_NAME, SIGNATURE_NAME, ROTATIONS_NAME, UNFINISHED_NAME)}
    above: Set[str] = set()
    pieces: Dict[str, Tuple[int, str]] = {}
    for file in files:
        key = path_key(file.path)
        if key in keys:
            raise bad_manifest("two files have the same path where case does not count", path=file.path)
        keys.add(key)
        parts = key.split("/")
        above.update("/".join(parts[:length]) for length in range(1, len(parts)))
        for piece in file.pieces:
            known = pieces.setdefault(path_key(piece.name), (piece.size, piece.sha256))
            if known != (piece.size, piece.sha256):
                raise bad_manifest("two pieces have the same name", name=piece.name)
    if keys & above:
        raise bad_manifest("a file is also a directory", path=min(keys & above))


def _refuse_path_order(files: Sequence[BundleFile]) -> None:
    paths = [file.path for file in files]
    if paths != sorted(set(paths)):
        raise bad_manifest("its files are not in order, each once")


def _file_path_of(file: BundleFile) -> str:
    return file.path


def _parse_file_row(row: _ManifestObject, volumes: int) -> BundleFile:
    carried, mirrored = row.value.get("carried", True), row.value.get("row")
    if not isinstance(carried, bool):
        raise row.wrong("carried", "is neither true nor false")
    if mirrored is not None and not isinstance(mirrored, dict):
        raise row.wrong("row", "is no object")
    pieces = tuple(_parse_piece_row(piece, volumes) for piece in row.objects("pieces")) if "pieces" in row.value else ()
    file = BundleFile(
        path=row.path("path"),
        size=row.number("size", 0, MAX_FILE_BYTES),
        sha256=row.digest("sha256"),
        carried=carried,
        pieces=pieces,
        row=mirrored,
    )
    if pieces and (not carried or sum(piece.size for piece in pieces) != file.size):
        raise row.wrong("pieces", "do not make up the file")
    if len(pieces) == 1 and pieces[0].sha256 != file.sha256:
        raise row.wrong("pieces", "do not make up the file")
    return file


def _parse_piece_row(row: _ManifestObject, volumes: int) -> Piece:
    return Piece(
        volume=row.number("volume", 1, volumes),
        name=row.path("name"),
        size=row.number("size", 0, MAX_FILE_BYTES),
        sha256=row.digest("sha256"),
    )


def _parse_listed_path(row: _ManifestObject, key: str, paths: Set[str]) -> str:
    path = row.text(key)
    if path not in paths:
        raise row.wrong(key, "is not among the files")
    return path


def _parse_target_row(row: _ManifestObject, paths: Set[str]) -> TargetLock:
    wheels = tuple(_parse_wheel_row(wheel, paths) for wheel in row.objects("wheels"))
    _refuse_repetition([wheel.project for wheel in wheels], row.where + ".wheels")
    projects = {wheel.project for wheel in wheels}
    for wheel in wheels:
        if not projects.issuperset(wheel.needs):
            raise row.wrong("wheels", "need projects that the lock does not hold: " + wheel.project)
    markers = _ManifestObject(row.value.get("markers"), row.where + ".markers")
    cuda = row.value.get("cuda")
    target = row.text("target")
    problem = name_problem(target)
    if problem is not None:
        raise row.wrong("target", "is no name that may be used: " + problem)
    return TargetLock(
        target=target,
        pylock=_parse_listed_path(row, "pylock", paths),
        system=row.text("system"),
        machine=row.text("machine"),
        implementation=row.text("implementation"),
        python=row.major_minor("python"),
        markers={name: markers.texts(name) for name in sorted(markers.value)},
        glibc=None if row.value.get("glibc") is None else row.major_minor("glibc"),
        backend=row.optional_text("backend"),
        cuda=None if cuda is None else _parse_cuda_row(_ManifestObject(cuda, row.where + ".cuda")),
        oldest_pip=row.text("oldest_pip"),
        wheels=wheels,
        missing=tuple(
            Missing(
                project=missing.text("project"),
                requirement=missing.text("requirement"),
                required_by=missing.text("required_by"),
            )
            for missing in row.objects("missing")
        ),
    )


def _parse_wheel_row(row: _ManifestObject, paths: Set[str]) -> LockedWheel:
    return LockedWheel(
        project=row.formed("project", _PROJECT_FORM, "a project's name"),
        version=row.formed("version", _VERSION_FORM, "a version"),
        path=_parse_listed_path(row, "path", paths),
        tags=row.texts("tags"),
        needs=row.texts("needs"),
        requires_python=row.optional_text("requires_python"),
        installed_bytes=row.number("installed_bytes", 0, MAX_FILE_BYTES),
    )


def _parse_cuda_row(row: _ManifestObject) -> CudaNeed:
    return CudaNeed(
        cuda=row.text("cuda"),
        toolkit_driver=row.optional_text("toolkit_driver"),
        minor_floor=row.optional_text("minor_floor"),
        capabilities=row.texts("capabilities"),
        ptx=row.optional_text("ptx"),
    )


def _parse_tool_row(row: _ManifestObject, paths: Set[str]) -> Tool:
    return Tool(
        name=row.text("name"),
        version=row.text("version"),
        path=_parse_listed_path(row, "path", paths),
        pythons=row.texts("pythons"),
        tags=row.texts("tags"),
    )
