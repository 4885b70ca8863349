"""Standard output and error as they really are: any encoding, a reader that may be gone."""

from __future__ import annotations

import codecs
import os
import sys

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


def prepare_streams() -> None:
    """Let no character that the user's encoding lacks end the program."""
    codecs.register_error(_HANDLER, plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a stream that was put there by somebody else may lack it, or be None
            stream.reconfigure(errors=_HANDLER)


def shows_all() -> bool:
    """Say whether standard output takes every character."""
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "").startswith("utf")


def abandon_stdout() -> None:
    """Let nothing more be written to a standard output that takes nothing, not even when the program ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
