"""How a fetch tells what it is doing, without knowing to whom."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told what a fetch does, from many threads at once; must not raise and must be quick.

    Files are named by their path below the mirror. Positions are absolute and may fall back: a server that does not
    continue a file makes it start again.
    """

    def plan(self, files: int, size: int) -> None:
        """Expect so many files of so many bytes in all, as far as known; may be told again when more is known."""

    def begin(self, file: str, size: int | None, position: int) -> None:
        """Begin one file; ``position`` bytes of it are here from an earlier run."""

    def advance(self, file: str, position: int, size: int | None) -> None:
        """Note that the first ``position`` bytes of a file are here now."""

    def end(self, file: str) -> None:
        """End one file, whether it came or not."""

    def say(self, message: str) -> None:
        """Say one sentence: what is waited for, what went wrong and is tried again."""


class Silent:
    """Says nothing."""

    def plan(self, files: int, size: int) -> None:
        """Say nothing."""

    def begin(self, file: str, size: int | None, position: int) -> None:
        """Say nothing."""

    def advance(self, file: str, position: int, size: int | None) -> None:
        """Say nothing."""

    def end(self, file: str) -> None:
        """Say nothing."""

    def say(self, message: str) -> None:
        """Say nothing."""
