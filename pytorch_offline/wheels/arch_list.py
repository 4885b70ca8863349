"""The list that ``torch.cuda.get_arch_list()`` prints, found in the bytes of the library that holds it.

torch's build compiles the list into ``torch_python`` as one text, names separated by single blanks
(``torch/csrc/cuda/Module.cpp``, ``CUDA_ARCH_FLAGS``; since 1.6.0): ``sm_70 sm_75 sm_80``, or ``gfx90a gfx942`` in a
ROCm build. A text counts if such names are all there is up to a NUL byte, since other texts mention an architecture
among words (``gfx950-style 32x8 swizzle``, measured in 2.15.0). What stands before it may be anything but a blank: in
2.8.0 and 2.9.1 it is a constant that needs no NUL at its end (``… std::string ipc_h``, measured).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = rb"(?:sm_[0-9]{2,3}[af]?|compute_[0-9]{2,3}[af]?|gfx[0-9a-f]{3,5}(?::(?:sramecc|xnack)[+-]){0,2})"
# Eleven names are the most that is known, of ROCm 6.2.4.
_MAX_NAMES = 64
_TEXT = re.compile(rb"(%b(?: %b){0,%d})\x00" % (_NAME, _NAME, _MAX_NAMES - 1))
_BEGINNINGS = (b"sm_", b"compute_", b"gfx")
# The longest text that is recognised with a byte on either side, and more: what is kept of the past, so that it does
# not matter where pieces end.
_KEPT = _MAX_NAMES * len(b"gfx90a0:sramecc+:xnack- ") + 64


def is_architecture(name: str) -> bool:
    """Whether this is how a list spells an architecture."""
    return re.fullmatch(_NAME, name.encode("utf-8", "replace")) is not None


class ArchListFinder:
    """Finds the arch list; feed it the library from its first byte on, in pieces of any size.

    A text of several names is the list, and ``done`` at once. One name alone may be a word of the code as well, so it
    is taken for the list only if it stands between NUL bytes and the library has no other one that does: ask ``found``
    again at its end.
    """

    def __init__(self) -> None:
        self.done = False
        self._list: tuple[str, ...] | None = None
        self._single: set[str] = set()
        # Before its first byte a file ends no text.
        self._kept = b"\x00"

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if self.done:
            return
        window = self._kept + data
        for before, text in _texts(window):
            names = tuple(text.decode("ascii").split(" "))
            if len(names) > 1:
                self._list = names
                self.done = True
                return
            if before == 0:
                self._single.update(names)
        self._kept = window[-_KEPT:]

    @property
    def found(self) -> tuple[str, ...] | None:
        """The list; None if there was none, or several single names of which none can be told to be it."""
        if self._list is not None:
            return self._list
        return tuple(self._single) if len(self._single) == 1 else None


def find_arch_list(pieces: Iterable[bytes]) -> tuple[str, ...] | None:
    """Find the list in a library, given its bytes in pieces, of which no more are taken than needed."""
    finder = ArchListFinder()
    for piece in pieces:
        finder.feed(piece)
        if finder.done:
            break
    return finder.found


def _texts(window: bytes) -> list[tuple[int, bytes]]:
    """Find the texts that are nothing but names, in their order, each with the byte before it."""
    found = []
    for beginning in _BEGINNINGS:
        at = window.find(beginning, 1)
        while at >= 0:
            if window[at - 1] != ord(" ") and (match := _TEXT.match(window, at)) is not None:
                found.append((at, match[1]))
            at = window.find(beginning, at + 1)
    return [(window[at - 1], text) for at, text in sorted(found)]
