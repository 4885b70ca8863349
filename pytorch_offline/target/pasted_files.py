"""Files that describe a machine in whatever form somebody had: pasted texts, pip's reports, target files."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.errors import UsageError
from pytorch_offline.target import probe
from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.target.codec import read_target, safe_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytorch_offline.target.model import Target
    from pytorch_offline.target.pasted import Pasted

# pip inspect quotes the metadata of every installed project: a few MiB in a large environment.
_MAX_FILE_BYTES = 32 * 1024 * 1024


def decode_text(body: bytes) -> str:
    """Decode what a terminal wrote: UTF-8; UTF-16 as PowerShell's ``>`` writes it, also without its mark; GBK.

    Bytes that are none of them are replaced: the facts themselves are ASCII.
    """
    if b"\0" in body[:64] and body[:2] not in {b"\xff\xfe", b"\xfe\xff"}:
        return body.decode("utf-16-be" if body[:1] == b"\0" else "utf-16-le", "replace")
    text = probe.decoded(body)
    if "\ufffd" in text:
        try:
            return body.decode("gb18030")
        except UnicodeDecodeError:
            return text
    return text


def _read_text(source: str, code: str) -> str:
    try:
        if source == "-":
            return decode_text(sys.stdin.buffer.read(_MAX_FILE_BYTES))
        with Path(source).open("rb") as file:
            body = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError(code, f"{source} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(body) > _MAX_FILE_BYTES:
        message = f"{source} is larger than {_MAX_FILE_BYTES // 1024**2} MiB, so it is no pasted text"
        raise UsageError(code, message, facts={"file": source})
    return decode_text(body)


def read_pasted(sources: Sequence[str]) -> Pasted:
    """Read files of pasted text; ``-`` is standard input.

    Raises:
        UsageError: ``bad-text-file`` if one cannot be read, ``nothing-recognised`` if nothing in them is known.
    """
    from pytorch_offline.target.pasted import parse_pasted  # noqa: PLC0415  (target files need none of it)

    return parse_pasted(
        [("standard input" if source == "-" else source, _read_text(source, "bad-text-file")) for source in sources]
    )


def read_described_target(path: Path, flags: TargetFlags) -> tuple[Target, tuple[str, ...]]:
    """Read a file as a target, with notes for people: a target file, or a text that describes a machine.

    The flags go over it. A target file, ours or pex's, is read by its own rules. Of ``pip inspect``'s JSON, the text of
    ``pip debug --verbose`` and pasted outputs, the flags may say what the file does not. The target is named after the
    file.

    Raises:
        UsageError: ``bad-target-file`` if it is neither; ``target-incomplete`` naming what is missing.
    """
    if not path.is_file() or _is_target_document(text := _read_text(str(path), "bad-target-file")):
        target = read_target(path)
        return (target if flags == TargetFlags() else build_target(flags, target)), ()
    from pytorch_offline.target.pasted import parse_pasted, target_of_pasted  # noqa: PLC0415  (as above)

    try:
        pasted = parse_pasted([(path.name, text)])
        target = target_of_pasted(pasted, flags)
    except UsageError as error:
        if error.code != "nothing-recognised":
            raise
        return read_target(path), ()  # which says what is wrong with it as a target file
    return replace(target, name=safe_name(path.stem)), pasted.notes


def _is_target_document(text: str) -> bool:
    """Whether a text is meant to be a target file, whatever its faults."""
    if not text.lstrip().startswith("{"):
        return False
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and bool({"marker_environment", "compatible_tags", "format"} & set(document))
