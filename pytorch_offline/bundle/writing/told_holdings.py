"""Reads the file of holdings that came back from a far side, damaged or forged as it may be."""

from __future__ import annotations

import hashlib
import zlib

from pytorch_offline.bundle.format.canonical_json import render_canonical
from pytorch_offline.bundle.format.holdings import HOLDINGS_FORMAT, HOLDINGS_KIND, HeldBundle, HeldFile, Holdings
from pytorch_offline.bundle.format.model import SHA256_FORM
from pytorch_offline.errors import IntegrityError, UsageError

# A mirror of 50,000 files takes 8 MiB; whatever is larger by far was not written by us.
HOLDINGS_LARGEST = 64 * 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"


def uncompress_holdings(body: bytes) -> bytes:
    """Give what was compressed, or the same bytes where they never were.

    Raises:
        IntegrityError: ``bad-holdings`` where it is damaged, or grows beyond all bounds.
    """
    if not body.startswith(_GZIP_MAGIC):
        return body
    inflating = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = inflating.decompress(body, HOLDINGS_LARGEST + 1)
    except zlib.error as error:
        raise _bad_holdings(f"it is damaged: {error}") from error
    if len(plain) > HOLDINGS_LARGEST:
        raise _bad_holdings("it is larger than any that this program writes")
    if not inflating.eof:
        raise _bad_holdings("it is cut off")
    return plain


def is_holdings(document: object) -> bool:
    """Say whether a decoded JSON document calls itself holdings."""
    return isinstance(document, dict) and document.get("kind") == HOLDINGS_KIND


def parse_holdings(document: object) -> Holdings:
    """Read holdings from a decoded JSON document.

    Raises:
        UsageError: ``unknown-holdings-format`` where a later version wrote it.
        IntegrityError: ``bad-holdings`` where it is damaged or none.
    """
    if not isinstance(document, dict) or not is_holdings(document):
        raise _bad_holdings("it is no such file")
    given = document.get("format")
    if isinstance(given, int) and not isinstance(given, bool) and given > HOLDINGS_FORMAT:
        raise UsageError(
            "unknown-holdings-format",
            f"the file is of format {given}, this version reads format {HOLDINGS_FORMAT}",
            hint="use the version of pytorch-offline that wrote it, or a later one",
        )
    rows, bundles = document.get("files"), document.get("bundles")
    if given != HOLDINGS_FORMAT or not isinstance(rows, list) or not isinstance(bundles, list):
        raise _bad_holdings("a key of it is missing or wrong")
    line = render_canonical({"bundles": bundles, "files": rows})
    if hashlib.sha256(line.encode("ascii")).hexdigest() != document.get("checksum"):
        raise _bad_holdings("its checksum does not match what it says")
    return Holdings(
        bundles=tuple(_held_bundle(row) for row in bundles), files=tuple(sorted(_held_file(row) for row in rows))
    )


def _held_file(row: object) -> HeldFile:
    if not isinstance(row, list) or [type(value) for value in row] != [str, int, str] or row[1] < 0:
        raise _bad_holdings("one of its files is described wrongly")
    if SHA256_FORM.fullmatch(row[2]) is None:
        raise _bad_holdings("a hash in it is none")
    return HeldFile(row[0], row[1], row[2])


def _held_bundle(row: object) -> HeldBundle:
    if not isinstance(row, list) or [type(value) for value in row] != [str, str, int, int]:
        raise _bad_holdings("one of its bundles is described wrongly")
    return HeldBundle(row[0], row[1], row[2], row[3])


def _bad_holdings(problem: str) -> IntegrityError:
    return IntegrityError(
        "bad-holdings",
        f"the file that says what the far side holds cannot be trusted: {problem}",
        hint="bring it again, or write it anew on the far side: python3 install.py --export-manifest FILE",
    )
