"""How a fetch, a verification or a publication tells what it is doing, without knowing to whom."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stage(StrEnum):
    """What many files are gone through for."""

    STOCK = "stock"  # what the mirror holds already is hashed again
    FETCH = "fetch"
    VERIFY = "verify"
    COMPARE = "compare"  # what lies where the mirror is published to
    PUBLISH = "publish"
    PACK = "pack"  # what a bundle carries is copied and hashed
    IMPORT = "import"  # from a bundle's media into the mirror


class Doing(StrEnum):
    """What is being done about one file."""

    ASKING = "asking"  # a host was asked and has not answered yet
    RECEIVING = "receiving"
    SENDING = "sending"
    WAITING = "waiting"  # before the next try
    HASHING = "hashing"
    CHECKING = "checking"  # the gate, or a deep verification: zip, RECORD, METADATA


class Outcome(StrEnum):
    """What came of one file."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class Progress(Protocol):
    """Told what happens, from many threads at once; must not raise and must be quick.

    Files are named by their path below the mirror. Positions are absolute and may fall back: a server that does not
    continue a file makes it start again.
    """

    def plan(
        self,
        sizes: Mapping[str, int | None],
        *,
        stage: Stage = Stage.FETCH,
        already: int = 0,
        already_size: int = 0,
    ) -> None:
        """Begin a stage.

        Args:
            sizes: the files that will be gone through, each with its bytes; None where that is not known yet.
            stage: what for.
            already: how many further files need nothing.
            already_size: their bytes.
        """

    def begin(self, file: str, size: int | None, position: int) -> None:
        """Begin one file; ``position`` bytes of it are here from an earlier run."""

    def advance(self, file: str, position: int, size: int | None) -> None:
        """Note that ``position`` bytes of a file are here now; one thread at a time for one file."""

    def doing(
        self,
        file: str,
        doing: Doing,
        *,
        host: str | None = None,
        seconds: float | None = None,
        reason: str | None = None,
    ) -> None:
        """Note what is being done about a file.

        Args:
            file: its path.
            doing: what is done.
            host: who is asked, or gives.
            seconds: how long it is waited.
            reason: why.
        """

    def end(self, file: str, outcome: Outcome = Outcome.DONE) -> None:
        """End one file, whether it came or not."""

    def say(self, message: str) -> None:
        """Say one sentence: what is waited for, what went wrong and is tried again."""


class Silent:
    """Says nothing."""

    def plan(
        self,
        sizes: Mapping[str, int | None],
        *,
        stage: Stage = Stage.FETCH,
        already: int = 0,
        already_size: int = 0,
    ) -> None:
        """Say nothing."""

    def begin(self, file: str, size: int | None, position: int) -> None:
        """Say nothing."""

    def advance(self, file: str, position: int, size: int | None) -> None:
        """Say nothing."""

    def doing(
        self,
        file: str,
        doing: Doing,
        *,
        host: str | None = None,
        seconds: float | None = None,
        reason: str | None = None,
    ) -> None:
        """Say nothing."""

    def end(self, file: str, outcome: Outcome = Outcome.DONE) -> None:
        """Say nothing."""

    def say(self, message: str) -> None:
        """Say nothing."""
