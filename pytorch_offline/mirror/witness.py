"""Notes in the drift log what hosts gave, and adds what the log knows to errors about wrong bytes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pytorch_offline.addresses import redacted
from pytorch_offline.errors import PytorchOfflineError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import PurePosixPath

    from pytorch_offline.crawler.drift_log import DriftLog
    from pytorch_offline.errors import IntegrityError
    from pytorch_offline.mirror.model import WantedFile
    from pytorch_offline.mirror.store import Mirror


class Witness:
    """What whoever downloads tells the log and asks of it; a log that fails costs nobody a file.

    Args:
        log: the log; None where none is kept.
        say: told in one sentence what could not be noted.
        now: the time, in UTC.
    """

    def __init__(self, log: DriftLog | None, *, say: Callable[[str], None], now: Callable[[], datetime]) -> None:
        self._log = log
        self._say = say
        self._now = now

    def set_aside(self, mirror: Mirror, file: WantedFile, place: PurePosixPath, error: IntegrityError) -> None:
        """Keep wrong bytes apart, with what is known of them and of the right ones; and note that they came."""
        facts = {name: str(value) for name, value in error.facts.items()}
        url, received = facts["url"], facts["actual"]
        self.explain(url, error, published=file.sha256, other=received, called="received")
        if isinstance(error.facts.get("uploaded again"), list):
            error.hint = (
                "upstream has uploaded this file again under its name, and a host or a cache on the way may still give "
                "an earlier upload: run the same command again later, or ask another host with --upstream"
            )
        self.note(url, received, int(facts["size"]), facts)
        mirror.set_aside(place, error, now=self._now)

    def explain(self, url: str, error: IntegrityError, *, published: str | None, other: str, called: str) -> None:
        """Add to an error what the log knows of both hashes."""
        if self._log is not None:
            with suppress(PytorchOfflineError):
                error.facts.update(self._log.facts(url, published=published, other=other, called=called))

    def note(self, url: str, sha256: str, size: int, seen: Mapping[str, str]) -> None:
        """Note what a host gave, right or wrong."""
        if self._log is None:
            return
        try:
            self._log.note(
                url, sha256=sha256, size=size, etag=seen.get("etag"), last_modified=seen.get("last-modified")
            )
        except PytorchOfflineError as error:
            self._say(f"what {redacted(url)} gave was not noted: {error.message}")
