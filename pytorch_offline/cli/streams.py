"""Standard output and error as they really are: any encoding, a reader that may be gone."""

from __future__ import annotations

import codecs
import os
import re
import sys

# What a terminal obeys instead of showing it, and what turns the direction of writing: file names, reasons for yanking
# and answers of servers may hold them. Line feeds and tabs are ours too.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# What our own texts hold beyond ASCII, for terminals that cannot show it (C locale, Windows code pages).
_PLAIN = str.maketrans({
    "├": "|", "\N{EN DASH}": "-", "└": "`", "│": "|", "─": "-", "→": "->", "…": "...", "·": ".", "“": '"', "”": '"',
})  # fmt: skip
_HANDLER = "pytorch-offline.plain"


def plain(error: UnicodeError) -> tuple[str | bytes, int]:
    r"""Write what an encoding lacks in ASCII: our own signs by their likes, all else as ``\uXXXX``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAIN)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


def shown(text: str) -> str:
    r"""Write what is meant for a terminal, and not for a reader, as ``\xXX`` or ``\uXXXX``."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def shown_json(text: str) -> str:
    """Write the same signs in a JSON document as it may: they stand in strings alone."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def prepare_streams() -> None:
    """Let no character that the user's encoding lacks end the program."""
    codecs.register_error(_HANDLER, plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a stream that was put there by somebody else may lack it, or be None
            stream.reconfigure(errors=_HANDLER)


def shows_all() -> bool:
    """Say whether standard output takes every character."""
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "").startswith("utf")


def abandon(descriptor: int) -> None:
    """Let nothing more be written to a standard stream that takes nothing: Python would fail at it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
