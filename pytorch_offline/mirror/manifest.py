"""The codec of ``manifest.json``, which lists every verified file of a mirror.

One file per line, sorted by path, keys in one order: equal rows give equal bytes, and a line can be found and compared
with ordinary tools. The reader believes nothing: a manifest crosses an air gap on media that others have held.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.layout import files_in_order, mirror_path
from pytorch_offline.mirror.model import HashOrigin, MirrorFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import PurePosixPath

_NAME = "manifest.json"
FORMAT = 1

_SHA256 = re.compile(r"[0-9a-f]{64}")


def render_manifest(files: Iterable[MirrorFile]) -> bytes:
    """Render the manifest in its one canonical form."""
    rows = ",\n".join(render_row(file) for file in files_in_order(files))
    return f'{{"format": {FORMAT}, "files": [\n{rows}\n]}}\n'.encode()


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
    }
    return json.dumps(row)  # in ASCII: an upstream may say what UTF-8 has no bytes for


def parse_manifest(text: bytes) -> tuple[MirrorFile, ...]:
    """Read a manifest, in path order.

    Keys that this version does not know are passed over: a later version may add some within one format.

    Raises:
        UsageError: ``unknown-manifest-format`` if the manifest is of a later format.
        IntegrityError: ``bad-manifest`` naming the key, if it is no manifest or a value cannot be what it should.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
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
    files: dict[PurePosixPath, MirrorFile] = {}
    for index, row in enumerate(rows):
        file = parse_row(row, where=f"files[{index}]")
        if file.path in files:
            raise _bad(f"files[{index}].path is there twice", found=str(file.path))
        files[file.path] = file
    return tuple(files_in_order(files.values()))


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
    origins = {origin.value: origin for origin in HashOrigin}
    origin = origins.get(fields.text("hash_origin"))
    if origin is None:
        raise fields.bad("hash_origin", f"none of {', '.join(origins)}")
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
        return None if self._row.get(key) is None else self.text(key)

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
        return value


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
