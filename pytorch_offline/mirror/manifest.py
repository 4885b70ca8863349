"""The codec of ``manifest.json``, which lists every verified file of a mirror.

One file per line, sorted by path, keys in one order: equal rows give equal bytes, and a line can be found and compared
with ordinary tools. The reader believes nothing: a manifest crosses an air gap on media that others have held.
"""

from __future__ import annotations

import io
import json
import re
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.layout import files_in_order, mirror_path
from pytorch_offline.mirror.model import HashOrigin, MirrorFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import PurePosixPath

_NAME = "manifest.json"
FORMAT = 1

# What stands before, between and after the rows of the canonical form.
_HEAD = f'{{"format": {FORMAT}, "files": [\n'.encode()
_COMMA = b",\n"
_TAIL = b"\n]}\n"

_HASH_ORIGINS = {origin.value: origin for origin in HashOrigin}
_SHA256 = re.compile(r"[0-9a-f]{64}")


def render_manifest(files: Iterable[MirrorFile]) -> bytes:
    """Render the manifest in its one canonical form."""
    return _HEAD + _COMMA.join(render_row(file).encode() for file in files_in_order(files)) + _TAIL


def render_row(file: MirrorFile) -> str:
    """Render one file's row as one line of JSON."""
    row = {
        "path": str(file.path),
        "size": file.size,
        "sha256": file.sha256,
        "hash_origin": file.hash_origin.value,
        "origin": file.origin,
        "metadata_sha256": file.metadata_sha256,
        "requires_python": file.requires_python,
        "yanked": file.yanked,
        "upload_time": file.upload_time,
        "verified_at": file.verified_at,
    } | ({} if file.spelling is None else {"spelling": file.spelling})
    return json.dumps(row)  # in ASCII: an upstream may say what UTF-8 has no bytes for


def parse_manifest(
    source: bytes | BinaryIO, *, known: Mapping[PurePosixPath, MirrorFile] | None = None
) -> tuple[MirrorFile, ...]:
    """Read a manifest, in path order.

    Keys that this version does not know are passed over: a later version may add some within one format.

    Args:
        source: the file's bytes, or a stream that can be read again, of which one line at a time is held in memory.
        known: rows from an earlier reading; an equal row is given as the same object, which takes no further memory.

    Raises:
        UsageError: ``unknown-manifest-format`` if the manifest is of a later format.
        IntegrityError: ``bad-manifest`` naming the key, if it is no manifest or a value cannot be what it should.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        return _files_of(_rows_by_line(stream), known or {})
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        stream.seek(0)
        return _files_of(_rows_of_document(stream.read()), known or {})


def _files_of(rows: Iterable[object], known: Mapping[PurePosixPath, MirrorFile]) -> tuple[MirrorFile, ...]:
    files: dict[PurePosixPath, MirrorFile] = {}
    for index, row in enumerate(rows):
        file = parse_row(row, where=f"files[{index}]")
        if file.path in files:
            raise _bad(f"files[{index}].path is there twice", found=str(file.path))
        before = known.get(file.path)
        files[file.path] = before if before is not None and before == file else file
    return tuple(files_in_order(files.values()))


def _rows_by_line(lines: Iterable[bytes]) -> Iterator[object]:
    """Read the rows of a manifest in its canonical form, one after another; raise ``ValueError`` where it has another.

    As one document, a manifest of 50,000 files would take six times the memory of its rows while it is read. No value
    of JSON has a bare newline in it: a line is a row and a comma, or the document is of another form.
    """
    remaining = iter(lines)
    line = next(remaining, b"") if next(remaining, b"") == _HEAD else b""
    while line.endswith(_COMMA):
        yield json.loads(line.removesuffix(_COMMA))
        line = next(remaining, b"")
    yield json.loads(line)
    if [line[-1:], *remaining] != [_TAIL[:1], _TAIL[1:]]:
        raise ValueError


def _rows_of_document(text: bytes) -> list[object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad("it is not JSON", detail=str(error)) from error
    if not isinstance(document, dict):
        raise _bad("it is not an object")
    found = document.get("format")
    if isinstance(found, int) and not isinstance(found, bool) and found > FORMAT:
        raise UsageError(
            "unknown-manifest-format",
            f"the manifest is of format {found}, this version reads format {FORMAT}",
            hint="use the version of pytorch-offline that wrote it, or a later one",
        )
    if found != FORMAT or isinstance(found, bool):
        raise _bad("its key 'format' is missing or wrong", found=found)
    rows = document.get("files")
    if not isinstance(rows, list):
        raise _bad("its key 'files' is missing or no list")
    return rows


def parse_row(row: object, *, where: str, source: str = _NAME) -> MirrorFile:
    """Read one row, already decoded from JSON, of the file ``source``.

    Raises:
        IntegrityError: ``bad-manifest`` naming the key after ``where``.
    """
    if not isinstance(row, dict):
        raise _bad(f"{where} is not an object", source=source, found=row)
    fields = _Fields(row, where, source)
    size = row.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise fields.bad("size", "no number of bytes")
    origin = _HASH_ORIGINS.get(fields.text("hash_origin"))
    if origin is None:
        raise fields.bad("hash_origin", f"none of {', '.join(_HASH_ORIGINS)}")
    return MirrorFile(
        path=_parse_path(fields),
        size=size,
        sha256=fields.sha256("sha256"),
        hash_origin=origin,
        origin=fields.text("origin"),
        metadata_sha256=fields.sha256("metadata_sha256"),
        requires_python=fields.optional_text("requires_python"),
        yanked=fields.optional_text("yanked"),
        upload_time=fields.optional_text("upload_time"),
        verified_at=fields.moment("verified_at"),
        spelling=fields.optional_text("spelling"),
    )


class _Fields:
    """The values of one row, each checked as it is taken."""

    def __init__(self, row: dict[str, Any], where: str, source: str) -> None:
        self._row = row
        self._where = where
        self._source = source

    def bad(self, key: str, what: str) -> IntegrityError:
        return _bad(f"{self._where}.{key} is {what}", source=self._source, found=self._row.get(key))

    def text(self, key: str) -> str:
        value = self._row.get(key)
        if not isinstance(value, str):
            raise self.bad(key, "missing or no text")
        return value

    def optional_text(self, key: str) -> str | None:
        # Many files say the same: it is kept once.
        return None if self._row.get(key) is None else sys.intern(self.text(key))

    def sha256(self, key: str) -> str:
        value = self.text(key)
        if _SHA256.fullmatch(value) is None:
            raise self.bad(key, "no sha256 in lower-case hex")
        return value

    def moment(self, key: str) -> str:
        value = self.text(key)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise self.bad(key, "no ISO 8601 time") from None
        if moment.tzinfo is None:
            raise self.bad(key, "a time without its offset from UTC")
        return sys.intern(value)


def _parse_path(fields: _Fields) -> PurePosixPath:
    """Take a path only if it is where the layout puts a file of that name: nothing else can be within the tree."""
    text = fields.text("path")
    try:
        path = mirror_path(f"/{text}", from_upstream=True)
    except UsageError as error:
        raise fields.bad("path", "no wheel's path") from error
    if str(path) != text:
        raise fields.bad("path", "no path within the tree")
    return path


def _bad(problem: str, *, source: str = _NAME, **facts: object) -> IntegrityError:
    return IntegrityError(
        "bad-manifest",
        f"{source} cannot be trusted: {problem}",
        facts=facts,
        hint="restore it from where the mirror came from; or move it away and run fetch again, "
        "which checks the files that are there and downloads only what is missing",
    )
