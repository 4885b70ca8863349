"""Drift: files whose bytes changed under one name, and files that upstream no longer lists.

Upstream says of no file that it was replaced; that shows only when what its pages published, and what its hosts gave,
is kept with the days on which it was seen. The rules here are functions over that record, which ``drift_log.py`` keeps.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytorch_offline.addresses import redacted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytorch_offline.crawler.model import Observation, Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The bytes that once stood under a name, by their sha256; None for days on which pages named no hash.

    ``published_by`` are pages, empty where no page ever named this hash; ``received_from`` are the addresses that gave
    these bytes. ``first_seen`` and ``last_seen`` are ISO 8601 in UTC, over both.
    """

    sha256: str | None
    first_seen: str
    last_seen: str
    published_by: tuple[str, ...] = ()
    received_from: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    etags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reupload:
    """A file that had several contents under one name at one index, the oldest first."""

    path: str
    contents: tuple[Content, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disappearance:
    """A file that pages of one index listed and none lists any more; ``contents`` is empty if none named a hash.

    ``last_seen`` is when a page last listed it, ``gone_by`` when the last of them was found not to.
    """

    path: str
    contents: tuple[Content, ...]
    first_seen: str
    last_seen: str
    gone_by: str


def contents_of(sayings: Iterable[Observation], receipts: Iterable[Receipt]) -> tuple[Content, ...]:
    """Give the contents that a file had, the oldest first, from what was said of it and what was received."""
    said: dict[str | None, list[Observation]] = defaultdict(list)
    came: dict[str | None, list[Receipt]] = defaultdict(list)
    for saying in sayings:
        said[saying.link.sha256].append(saying)
    for receipt in receipts:
        came[receipt.sha256].append(receipt)
    contents = []
    for sha256 in {**said, **came}:
        seen: list[Observation | Receipt] = [*said[sha256], *came[sha256]]
        sizes = [one.link.size for one in said[sha256]] + [one.size for one in came[sha256]]
        contents.append(
            Content(
                sha256=sha256,
                first_seen=min(one.first_seen for one in seen),
                last_seen=max(one.last_seen for one in seen),
                published_by=tuple(sorted({one.page_url for one in said[sha256]})),
                received_from=tuple(sorted({one.url for one in came[sha256]})),
                sizes=tuple(sorted({size for size in sizes if size is not None})),
                etags=tuple(sorted({one.etag for one in came[sha256] if one.etag is not None})),
            )
        )
    return tuple(sorted(contents, key=lambda content: (content.first_seen, content.last_seen, content.sha256 or "")))


def find_drift(
    sayings: Iterable[Observation], receipts: Iterable[Receipt]
) -> tuple[tuple[Reupload, ...], tuple[Disappearance, ...]]:
    """Find what was uploaded again and what disappeared, by path.

    Only what one index says is compared: another host may have builds of its own under the same path.
    """
    said: dict[tuple[str, str], list[Observation]] = defaultdict(list)
    for saying in sayings:
        said[saying.link.path, _host(saying.page_url)].append(saying)
    came: dict[tuple[str, str], list[Receipt]] = defaultdict(list)
    index_of = {(path, host): (path, host) for path, host in said}
    for (path, host), group in said.items():
        for saying in group:
            index_of.setdefault((path, _host(saying.link.url)), (path, host))
    for receipt in receipts:
        key = (receipt.path, _host(receipt.url))
        came[index_of.get(key, key)].append(receipt)
    reuploads, disappearances = [], []
    for key in sorted({*said, *came}):
        contents = contents_of(said[key], came[key])
        if len({content.sha256 for content in contents} - {None}) > 1:
            reuploads.append(Reupload(path=key[0], contents=contents))
        ends = [saying.ended for saying in said[key]]
        if ends and None not in ends:
            disappearances.append(
                Disappearance(
                    path=key[0],
                    contents=contents,
                    first_seen=min(saying.first_seen for saying in said[key]),
                    last_seen=max(saying.last_seen for saying in said[key]),
                    gone_by=max(end for end in ends if end is not None),
                )
            )
    return tuple(reuploads), tuple(disappearances)


def facts_of_mismatch(
    *, published: str | None, other: str, called: str, sayings: Sequence[Observation], receipts: Sequence[Receipt]
) -> dict[str, object]:
    """Say what is known of two hashes of one file: who published each and when, and whether it was uploaded again.

    Args:
        published: the hash that was expected.
        other: the hash of the bytes that there are instead.
        called: what these are called: ``received``, ``held``.
        sayings: everything that pages said of the file.
        receipts: everything that hosts gave for it before.
    """
    facts: dict[str, object] = {}
    expected = [saying for saying in sayings if published is not None and saying.link.sha256 == published]
    if expected:
        facts["published by"] = _said(expected)
    others = [saying for saying in sayings if saying.link.sha256 == other]
    before = [receipt for receipt in receipts if receipt.sha256 == other]
    if others:
        facts[f"{called} bytes are"] = f"what {_said(others)}"
    elif before:
        first = min(receipt.first_seen for receipt in before)[:10]
        facts[f"{called} bytes are"] = f"what {_host(before[0].url)} gave before, since {first}; no page published them"
    else:
        facts[f"{called} bytes are"] = "published by no page read so far"
    contents = [
        content for content in contents_of(sayings, receipts) if content.sha256 is not None and content.published_by
    ]
    if len(contents) > 1:
        facts["uploaded again"] = [_upload(content) for content in contents]
    else:
        facts["uploaded again"] = "not that the catalogue knows"
    return facts


def facts_of_fate(sayings: Sequence[Observation], receipts: Sequence[Receipt]) -> dict[str, object]:
    """Say what is known of a file that could not be had: until when it was listed, and what was uploaded again."""
    facts: dict[str, object] = {}
    ends = [saying.ended for saying in sayings]
    if ends and None not in ends:
        facts["no longer listed"] = f"since {max(end for end in ends if end is not None)[:10]}"
    elif sayings:
        facts["last seen listed"] = max(saying.last_seen for saying in sayings)[:10]
    if receipts:
        facts["last received"] = max(receipt.last_seen for receipt in receipts)[:10]
    uploads = [content for content in contents_of(sayings, receipts) if content.sha256 is not None]
    if len(uploads) > 1:
        facts["uploaded again"] = [_upload(content) for content in uploads]
    return facts


def _upload(content: Content) -> str:
    return f"{content.sha256} {content.first_seen[:10]} to {content.last_seen[:10]}"


def _said(sayings: Sequence[Observation]) -> str:
    first, last = min(one.first_seen for one in sayings)[:10], max(one.last_seen for one in sayings)[:10]
    return f"{redacted(sayings[-1].page_url)} published from {first} to {last}"


def _host(url: str) -> str:
    return urlsplit(url).netloc
