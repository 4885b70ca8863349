"""What was uploaded again, what disappeared, and what is said of bytes that are not the published ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.crawler.drift import Disappearance, contents_of, facts_of_mismatch, find_drift
from pytorch_offline.crawler.drift_log import DriftLog
from pytorch_offline.crawler.model import Link, Observation, Receipt

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crawler.conftest import Clock

NAME = "torch-2.7.0+cpu-cp310-cp310-manylinux_2_28_aarch64.whl"
PATH = f"/whl/cpu/{NAME}"
PAGE = "https://pages.example/whl/cpu/torch/"
FILES = "https://files.example"
OLD, NEW, STRANGE = "1" * 64, "2" * 64, "3" * 64


def day(number: int) -> str:
    return f"2025-05-{number:02}T00:00:00Z"


def said(sha256: str | None, first: int, last: int, *, page: str = PAGE, ended: bool = True) -> Observation:
    link = Link(filename=NAME, path=PATH, url=f"{FILES}{PATH.replace('+', '%2B')}", sha256=sha256)
    end = day(last + 1) if ended else None
    return Observation(page_url=page, link=link, first_seen=day(first), last_seen=day(last), ended=end)


def came(sha256: str, on: int, *, host: str = FILES, etag: str | None = '"e"') -> Receipt:
    url = f"{host}{PATH}"
    return Receipt(path=PATH, url=url, sha256=sha256, size=9, etag=etag, first_seen=day(on), last_seen=day(on))


def test_another_hash_under_one_name_is_a_reupload_with_its_days() -> None:
    sayings = [said(OLD, 1, 2), said(None, 3, 4), said(NEW, 5, 9, ended=False)]
    (reupload,), gone = find_drift(sayings, [])
    assert gone == ()
    assert [(content.sha256, content.first_seen, content.last_seen) for content in reupload.contents] == [
        (OLD, day(1), day(2)),
        (None, day(3), day(4)),
        (NEW, day(5), day(9)),
    ]
    assert reupload.contents[0].published_by == (PAGE,)


def test_a_hash_that_came_later_is_no_reupload() -> None:
    assert find_drift([said(None, 1, 2), said(OLD, 3, 4, ended=False)], [came(OLD, 4)]) == ((), ())


def test_bytes_that_a_host_gave_are_compared_with_what_pages_of_its_index_published() -> None:
    (reupload,), _ = find_drift([said(OLD, 1, 9, ended=False)], [came(STRANGE, 5)])
    assert [content.sha256 for content in reupload.contents] == [OLD, STRANGE]
    strange = reupload.contents[1]
    assert (strange.published_by, strange.received_from, strange.sizes, strange.etags) == (
        (),
        (f"{FILES}{PATH}",),
        (9,),
        ('"e"',),
    )


def test_two_indexes_may_have_builds_of_their_own_under_one_path() -> None:
    other = said(NEW, 1, 9, page="https://other.example/whl/cpu/torch/", ended=False)
    assert find_drift([said(OLD, 1, 9, ended=False), other], [came(STRANGE, 3, host="https://third.example")]) == (
        (),
        (),
    )


def test_what_no_page_lists_any_more_is_gone_and_what_one_still_lists_is_not() -> None:
    elsewhere = "https://pages.example/whl/torch/"
    assert find_drift([said(OLD, 1, 2), said(OLD, 1, 9, page=elsewhere, ended=False)], []) == ((), ())
    _, gone = find_drift([said(OLD, 1, 2), said(OLD, 2, 4, page=elsewhere)], [])
    assert gone == (
        Disappearance(
            path=PATH,
            contents=contents_of([said(OLD, 1, 2), said(OLD, 2, 4, page=elsewhere)], []),
            first_seen=day(1),
            last_seen=day(4),
            gone_by=day(5),
        ),
    )


@given(st.permutations([said(OLD, 1, 2), said(NEW, 3, 4), said(OLD, 5, 6, ended=False)]), st.booleans())
def test_the_order_of_reading_does_not_matter(sayings: list[Observation], received: bool) -> None:  # noqa: FBT001
    receipts = [came(OLD, 2), came(STRANGE, 4)] if received else []
    (reupload,), _ = find_drift(sayings, receipts)
    assert [content.sha256 for content in reupload.contents] == [OLD, NEW] + [STRANGE] * received
    assert reupload.contents[0].last_seen == day(6)


def test_an_older_content_of_a_reuploaded_file_is_recognised() -> None:
    sayings = [said(OLD, 1, 2), said(NEW, 3, 9, ended=False)]
    facts = facts_of_mismatch(published=NEW, other=OLD, called="received", sayings=sayings, receipts=[])
    assert facts == {
        "published by": f"{PAGE} published from 2025-05-03 to 2025-05-09",
        "received bytes are": f"what {PAGE} published from 2025-05-01 to 2025-05-02",
        "uploaded again": [f"{OLD} 2025-05-01 to 2025-05-02", f"{NEW} 2025-05-03 to 2025-05-09"],
    }


def test_bytes_that_nobody_published_are_said_to_be_so_and_remembered() -> None:
    sayings = [said(OLD, 1, 9, ended=False)]
    facts = facts_of_mismatch(published=OLD, other=STRANGE, called="received", sayings=sayings, receipts=[])
    assert facts["received bytes are"] == "published by no page read so far"
    assert facts["uploaded again"] == "not that the catalogue knows"
    again = facts_of_mismatch(
        published=OLD, other=STRANGE, called="received", sayings=sayings, receipts=[came(STRANGE, 4)]
    )
    assert again["received bytes are"] == "what files.example gave before, since 2025-05-04; no page published them"


def test_the_log_keeps_what_each_host_gave_with_first_and_last_day(catalogue: Catalogue, clock: Clock) -> None:
    log = DriftLog(catalogue, now=clock)
    url = f"https://user:secret@files.example{PATH.replace('+', '%2B')}"
    log.note(url, sha256=OLD, size=9, etag='"a"', last_modified="Tue, 01 Apr 2025 00:00:00 GMT")
    clock.next_day()
    log.note(url, sha256=OLD, size=9, etag='"a"', last_modified="Tue, 01 Apr 2025 00:00:00 GMT")
    log.note(url, sha256=NEW, size=10, etag=None, last_modified=None)
    old, new = catalogue.receipts(PATH)
    assert (old.sha256, old.size, old.etag, old.first_seen, old.last_seen) == (
        OLD,
        9,
        '"a"',
        "2026-01-01T00:00:00Z",
        "2026-01-02T00:00:00Z",
    )
    assert (new.sha256, new.etag, new.last_modified, new.first_seen) == (NEW, None, None, "2026-01-02T00:00:00Z")
    assert "secret" not in old.url
    assert catalogue.receipts() == (old, new)
    assert catalogue.receipts("/elsewhere") == ()
    (reupload,), _ = find_drift(catalogue.unsteady(), catalogue.receipts())
    assert [content.sha256 for content in reupload.contents] == [OLD, NEW]


def test_whatever_the_log_is_asked_it_closes_the_catalogue_again(tmp_path: Path, clock: Clock) -> None:
    place = tmp_path / "catalogue.sqlite"
    mapped = place.with_name("catalogue.sqlite-shm")  # there for as long as somebody has the database open
    url = f"{FILES}{PATH}"
    with Catalogue.open(place) as catalogue:
        log = DriftLog(catalogue, now=clock)
        log.note(url, sha256=OLD, size=9, etag=None, last_modified=None)
        for ask in (log.contents, log.fate, lambda url: log.facts(url, published=OLD, other=NEW, called="received")):
            assert ask(url)
            assert not mapped.exists()
        assert catalogue.receipts(PATH)
        assert mapped.exists()
