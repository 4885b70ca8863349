"""What is known of a file that has come only in part: the content of the sidecar beside its bytes.

A sidecar is written only after the bytes that it speaks of are safely on disk, and is void where it does not fit them:
distrust costs a fresh start and nothing else. Its format is private to the mirror's ``.state`` directory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pytorch_offline.addresses import url_path

if TYPE_CHECKING:
    from pytorch_offline.mirror.model import WantedFile
    from pytorch_offline.mirror.spans import Spans

SIDECAR_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Validator:
    """What tells one version of a file from another, on one host: ETags of two hosts cannot be compared.

    ``value`` is a strong ETag with its quotes, or a Last-Modified date old enough to be strong: what If-Range takes.
    """

    origin: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """How many bytes from the start of a file are in hand, what beyond them, and which file that is.

    ``ahead`` are spans beyond the first gap, sorted and apart (``spans.py``); who does not know of them loses them and
    nothing else. ``url_path`` is the decoded path of the address; two hosts with one path are one file.
    """

    url_path: str
    sha256: str | None
    length: int | None
    validator: Validator | None
    completed: int
    ahead: Spans = ()

    @property
    def end(self) -> int:
        """How long the file is at least that holds these bytes."""
        return self.ahead[-1][1] if self.ahead else self.completed

    def begins(self, wanted: WantedFile) -> bool:
        """Say whether these are the first bytes of what is wanted, as far as anybody can know before hashing all."""
        if self.sha256 != wanted.sha256:
            return False
        if wanted.size is not None and (self.end > wanted.size or self.length not in {None, wanted.size}):
            return False
        # One published hash is one file, wherever it is; else the address has to be the same one.
        return wanted.sha256 is not None or self.url_path in {url_path(url) for url in wanted.urls}


def render_partial(partial: Partial) -> str:
    """Write a sidecar."""
    validator = partial.validator
    document = {
        "format": SIDECAR_FORMAT,
        "url_path": partial.url_path,
        "sha256": partial.sha256,
        "length": partial.length,
        "validator": None if validator is None else {"origin": validator.origin, "value": validator.value},
        "completed": partial.completed,
        "ahead": [list(span) for span in partial.ahead],
    }
    return json.dumps(document, indent=1) + "\n"


def parse_partial(text: str) -> Partial | None:
    """Read a sidecar; None for one that cannot be trusted."""
    try:
        document = json.loads(text)
        if document["format"] != SIDECAR_FORMAT:
            return None
        validator = document["validator"]
        completed, length = _count(document["completed"]), document["length"]
        ahead = tuple((_count(start), _count(stop)) for start, stop in document.get("ahead", []))
        bounds = [completed, *(bound for span in ahead for bound in span)]
        if any(one >= other for one, other in pairwise(bounds)):
            return None
        if length is not None and bounds[-1] > _count(length):
            return None
        return Partial(
            url_path=_text(document["url_path"]),
            sha256=None if document["sha256"] is None else _text(document["sha256"]),
            length=length,
            validator=None
            if validator is None
            else Validator(origin=_text(validator["origin"]), value=_text(validator["value"])),
            completed=completed,
            ahead=ahead,
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _count(value: Any) -> int:  # noqa: ANN401  (JSON)
    if type(value) is not int or value <= 0:
        raise TypeError
    return value


def _text(value: Any) -> str:  # noqa: ANN401  (JSON)
    if not isinstance(value, str):
        raise TypeError
    return value
