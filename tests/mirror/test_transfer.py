"""The resumable download as a state machine: every transition; whole downloads are in ``test_transfer_model.py``."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from requests.structures import CaseInsensitiveDict

from pytorch_offline.addresses import url_path
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UpstreamError
from pytorch_offline.mirror.sidecar import Partial, Validator, render_partial
from pytorch_offline.mirror.transfer import (
    MAX_LENGTH,
    WORTHWHILE,
    Complete,
    Failed,
    Head,
    Receive,
    Send,
    SetAside,
    Transfer,
    Verify,
    Wait,
)
from pytorch_offline.retries import RetryPolicy
from tests.mirror.wheels import SYMPY

if TYPE_CHECKING:
    from pytorch_offline.mirror.model import WantedFile

ONE = "https://one.example/whl/sympy-1.2-py3-none-any.whl"
TWO = "https://two.example/whl/sympy-1.2-py3-none-any.whl"
BODY = b"PK\x03\x04" + bytes(range(96))
SHA256 = hashlib.sha256(BODY).hexdigest()
RETRY = RetryPolicy(tries=3)
BROKEN = UpstreamError("transfer-broken", "it broke")


def wanted(*urls: str, sha256: str | None = SHA256, size: int | None = None) -> WantedFile:
    return SYMPY.wanted(urls=urls or (ONE,), sha256=sha256, size=size)


def head(status: int, first: bytes = BODY[:10], **headers: str) -> Head:
    return Head(
        status=status,
        headers=CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()}),
        first=first,
    )


def whole(**headers: str) -> Head:
    return head(200, BODY[:10], Content_Length=str(len(BODY)), ETag='"a"', **headers)


def rest(start: int, *, etag: str = '"a"', total: int | str = len(BODY), shift: int = 0) -> Head:
    end = len(BODY) - 1
    return head(206, BODY[start : start + 4], Content_Range=f"bytes {start + shift}-{end}/{total}", ETag=etag)


def begin(*urls: str, sha256: str | None = SHA256, size: int | None = None, partial: Partial | None = None) -> Transfer:
    return Transfer.begin(wanted(*urls, sha256=sha256, size=size), partial, retry=RETRY)


def broken_at(position: int, *urls: str, sha256: str | None = SHA256) -> Transfer:
    """A download that received some bytes and then broke, about to ask again."""
    transfer = begin(*urls, sha256=sha256).answered(whole()).received(BODY[:position]).broke(BROKEN)
    return transfer.waited() if isinstance(transfer.step, Wait) else transfer


def sent(transfer: Transfer) -> Send:
    assert isinstance(transfer.step, Send)
    return transfer.step


def failure(transfer: Transfer) -> PytorchOfflineError:
    assert isinstance(transfer.step, Failed)
    return transfer.step.error


# The plain way --------------------------------------------------------------------------------------------------------


def test_a_whole_file_in_one_answer() -> None:
    transfer = begin()
    assert transfer.step == Send(url=ONE)
    transfer = transfer.answered(whole())
    assert transfer.step == Receive(start=0)
    transfer = transfer.received(BODY[:40]).received(BODY[40:])
    assert transfer.step == Receive(start=0)
    transfer = transfer.ended()
    assert transfer.step == Verify()
    assert transfer.hashed(SHA256).step == Complete(url=ONE, sha256=SHA256, size=len(BODY))


def test_without_a_published_hash_the_computed_one_is_the_result() -> None:
    transfer = begin(sha256=None).answered(whole()).received(BODY).ended().hashed("0" * 64)
    assert transfer.step == Complete(url=ONE, sha256="0" * 64, size=len(BODY))


def test_a_body_of_unannounced_length_ends_where_its_framing_ends() -> None:
    transfer = begin().answered(head(200, ETag='"a"')).received(BODY).ended()
    assert transfer.step == Verify()
    assert transfer.length == len(BODY)


# Breaking and resuming ------------------------------------------------------------------------------------------------


def test_after_a_break_the_rest_is_asked_for_guarded_by_the_etag() -> None:
    step = sent(broken_at(30))
    assert step.headers == {"Range": "bytes=30-", "If-Range": '"a"'}


def test_the_rest_continues_where_it_broke() -> None:
    transfer = broken_at(30).answered(rest(30))
    assert transfer.step == Receive(start=30)
    assert transfer.received(BODY[30:]).ended().step == Verify()


def test_a_break_after_the_last_byte_is_no_break() -> None:
    assert begin().answered(whole()).received(BODY).broke(BROKEN).step == Verify()


def test_a_body_that_ends_early_without_an_error_is_broken_too() -> None:
    transfer = begin(size=len(BODY)).answered(head(200)).received(BODY[:50]).ended()
    assert isinstance(transfer.step, Wait)
    assert transfer.position == 50


def test_a_200_to_a_range_request_starts_over() -> None:
    transfer = broken_at(30).answered(whole())
    assert transfer.step == Receive(start=0)
    assert transfer.position == 0
    assert not transfer.joined


@pytest.mark.parametrize(
    "answer",
    [
        rest(30, shift=1),
        rest(30, shift=-1),
        rest(30, total=len(BODY) + 1),
        rest(30, etag='"b"'),
        head(206, ETag='"a"'),
        head(206, Content_Range="bytes */100"),
        head(206, Content_Range="items 30-99/100"),
        head(206, Content_Range="bytes 30-29/100"),
        head(206, Content_Range="bytes 30-99/" + "9" * 40),
    ],
)
def test_a_206_that_does_not_continue_this_very_file_is_refused_and_everything_asked_for_again(answer: Head) -> None:
    transfer = broken_at(30).answered(answer)
    assert isinstance(transfer.step, Wait)
    assert transfer.position == 0
    assert transfer.waited().step == Send(url=ONE)
    assert transfer.trouble is not None
    assert transfer.trouble.code == "bad-range"


def test_a_206_that_tells_no_total_is_taken() -> None:
    assert broken_at(30).answered(rest(30, total="*")).step == Receive(start=30)


def test_a_206_nobody_asked_for_is_no_answer() -> None:
    assert failure(begin().answered(rest(0))).code == "unexpected-status"


def test_a_416_at_the_end_means_that_the_announced_length_was_wrong() -> None:
    lying = head(200, Content_Length=str(len(BODY) + 7), ETag='"a"')
    transfer = begin().answered(lying).received(BODY).broke(BROKEN).waited()
    transfer = transfer.answered(head(416, b"", Content_Range=f"bytes */{len(BODY)}"))
    assert transfer.step == Verify()
    assert transfer.hashed(SHA256).step == Complete(url=ONE, sha256=SHA256, size=len(BODY))


@pytest.mark.parametrize("said", ["", "bytes */29", "bytes */31", "bytes 0-1/30"])
def test_any_other_416_starts_over(said: str) -> None:
    transfer = broken_at(30).answered(head(416, b"", Content_Range=said))
    assert transfer.position == 0
    assert transfer.waited().step == Send(url=ONE)


def test_a_416_at_a_place_where_the_index_says_the_file_goes_on_starts_over() -> None:
    transfer = begin(size=len(BODY)).answered(whole()).received(BODY[:30]).broke(BROKEN).waited()
    assert transfer.answered(head(416, b"", Content_Range="bytes */30")).position == 0


def test_a_416_to_a_request_without_a_range_is_no_answer() -> None:
    assert failure(begin().answered(head(416, b""))).code == "unexpected-status"


# Validators -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"ETag": '"x"'}, '"x"'),
        ({"ETag": 'W/"x"'}, None),
        ({"ETag": "x"}, None),
        ({"ETag": '"'}, None),
        (
            {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "Date": "Thu, 01 Jan 2026 00:01:00 GMT"},
            "Thu, 01 Jan 2026 00:00:00 GMT",
        ),
        ({"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "Date": "Thu, 01 Jan 2026 00:00:59 GMT"}, None),
        ({"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}, None),
        ({"Last-Modified": "yesterday", "Date": "Thu, 01 Jan 2026 00:00:59 GMT"}, None),
        (
            {
                "ETag": 'W/"x"',
                "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
                "Date": "Fri, 02 Jan 2026 00:00:00 GMT",
            },
            None,
        ),
        ({}, None),
    ],
)
def test_only_strong_validators_guard_a_seam(headers: dict[str, str], expected: str | None) -> None:
    answer = Head(status=200, headers=CaseInsensitiveDict(headers), first=BODY)
    validator = begin().answered(answer).validator
    assert (validator.value if validator else None) == expected


def test_without_validator_and_hash_nothing_is_joined() -> None:
    transfer = begin(sha256=None).answered(head(200)).received(BODY[:30]).broke(BROKEN).waited()
    assert transfer.step == Send(url=ONE)
    assert transfer.position == 0


def test_without_validator_a_published_hash_will_judge() -> None:
    transfer = begin().answered(head(200)).received(BODY[:30]).broke(BROKEN).waited()
    assert sent(transfer).headers == {"Range": "bytes=30-"}


def test_the_validator_of_one_host_is_not_shown_to_another() -> None:
    transfer = broken_at(30, ONE, TWO)
    assert transfer.step == Send(url=TWO, headers={"Range": "bytes=30-"})
    assert transfer.answered(rest(30, etag='"other"')).step == Receive(start=30)


def test_a_validator_that_is_not_repeated_still_holds() -> None:
    silent = head(206, BODY[30:40], Content_Range=f"bytes 30-{len(BODY) - 1}/{len(BODY)}")
    transfer = broken_at(30).answered(silent).received(BODY[30:40]).broke(BROKEN).waited()
    assert sent(transfer).headers == {"Range": "bytes=40-", "If-Range": '"a"'}


def unpublished(position: int = 30) -> Transfer:
    """A file of which nothing was published, in part in hand from the first of two hosts, which then broke."""
    transfer = begin(ONE, TWO, sha256=None).answered(whole()).received(BODY[:position])
    return transfer.broke(BROKEN)


def given_up_by_one() -> Transfer:
    transfer = unpublished()
    for _ in range(RETRY.tries - 1):
        transfer = (transfer.waited() if isinstance(transfer.step, Wait) else transfer).broke(BROKEN)
    return transfer


def test_without_a_hash_the_host_that_began_has_all_its_tries_first() -> None:
    transfer = unpublished()
    for _ in range(RETRY.tries - 1):
        transfer = transfer.waited()
        assert transfer.step == Send(url=ONE, headers={"Range": "bytes=30-", "If-Range": '"a"'})
        transfer = transfer.broke(BROKEN)
    assert transfer.step == Send(url=TWO)


def test_without_a_hash_another_host_starts_over_and_nothing_is_joined() -> None:
    transfer = given_up_by_one().answered(whole())
    assert transfer.step == Receive(start=0)
    assert (transfer.position, transfer.joined) == (0, False)


def test_without_a_hash_what_one_host_began_is_kept_until_another_answers() -> None:
    transfer = given_up_by_one().broke(BROKEN).waited()
    assert transfer.step == Send(url=ONE, headers={"Range": "bytes=30-", "If-Range": '"a"'})


def test_without_a_hash_the_rest_from_a_host_that_was_asked_for_everything_is_no_answer() -> None:
    transfer = given_up_by_one().answered(rest(30))
    assert transfer.step == Send(url=ONE, headers={"Range": "bytes=30-", "If-Range": '"a"'})
    assert [error.code for error in transfer.dropped] == ["unexpected-status"]


def test_without_a_hash_a_host_with_another_length_has_another_file() -> None:
    transfer = given_up_by_one().answered(head(200, Content_Length=str(len(BODY) + 1)))
    assert transfer.step == Send(url=ONE, headers={"Range": "bytes=30-", "If-Range": '"a"'})
    assert [error.code for error in transfer.dropped] == ["hosts-differ"]


def test_without_a_hash_a_later_run_goes_on_where_the_bytes_came_from() -> None:
    held = kept(sha256=None, validator=Validator(origin="https://two.example", value='"b"'))
    transfer = begin(ONE, TWO, sha256=None, partial=held)
    assert transfer.step == Send(url=TWO, headers={"Range": "bytes=30-", "If-Range": '"b"'})


def test_a_host_that_gave_much_and_fell_silent_is_left_at_once() -> None:
    size = 100 * WORTHWHILE
    transfer = begin(ONE, TWO).answered(head(200, Content_Length=str(size))).received(bytes(2 * WORTHWHILE))
    assert transfer.broke(BROKEN).step == Wait(failures=1)
    silent = transfer.broke(UpstreamError("stalled", "nothing came"))
    assert silent.step == Send(url=TWO, headers={"Range": f"bytes={2 * WORTHWHILE}-"})


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_absent_is_asked_for_elsewhere_and_then_given_up(status: int) -> None:
    transfer = begin(ONE, TWO).answered(head(status))
    assert transfer.step == Send(url=TWO)
    error = failure(transfer.answered(head(status)))
    assert (error.code, error.exit_code) == ("file-absent", 3)
    assert error.facts["status"] == status


@pytest.mark.parametrize("status", [204, 301, 400, 401, 407, 418])
def test_other_refusals_are_final_for_an_address(status: int) -> None:
    assert failure(begin().answered(head(status))).code == "unexpected-status"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_trouble_of_the_server_is_waited_for(status: int) -> None:
    transfer = begin().answered(head(status, Retry_After="7"))
    assert transfer.step == Wait(failures=1, retry_after="7")
    assert transfer.waited().step == Send(url=ONE)


def test_a_page_instead_of_a_wheel_is_never_received() -> None:
    page = head(200, b"<!DOCTYPE html>", Content_Type="text/html")
    error = failure(begin().answered(page))
    assert error.code == "not-a-wheel-body"
    assert "HTML page" in error.message


def test_a_page_instead_of_the_rest_does_not_cost_what_is_in_hand() -> None:
    transfer = broken_at(30, ONE, ONE + "?again").answered(head(200, b"<html>", Content_Type="text/html"))
    assert transfer.position == 30
    assert sent(transfer).headers["Range"] == "bytes=30-"


def test_an_empty_body_is_a_broken_one() -> None:
    assert isinstance(begin().answered(head(200, b"")).step, Wait)


def test_a_coded_body_is_refused() -> None:
    assert failure(begin().answered(whole(Content_Encoding="gzip"))).code == "encoded-body"
    assert failure(begin().answered(whole(Content_Encoding="aws-chunked, GZIP"))).code == "encoded-body"
    assert failure(broken_at(30).answered(replace(rest(30), headers={"Content-Encoding": "br"}))).code == "encoded-body"


@pytest.mark.parametrize("coding", ["", "identity", "aws-chunked"])
def test_a_coding_that_changes_no_bytes_is_none(coding: str) -> None:
    assert begin().answered(whole(Content_Encoding=coding)).step == Receive(start=0)


def test_a_length_that_contradicts_the_index_is_refused_before_any_byte() -> None:
    error = failure(begin(size=len(BODY) - 1).answered(whole()))
    assert (error.code, error.exit_code) == ("size-mismatch", 4)


def test_no_more_bytes_than_the_file_has_are_taken() -> None:
    transfer = begin(size=len(BODY)).answered(head(200)).received(BODY).received(b"x")
    assert failure(transfer).code == "size-mismatch"
    assert transfer.position == len(BODY)


def test_no_body_is_endless() -> None:
    huge = head(200, Content_Length=str(MAX_LENGTH + 1))
    assert failure(begin().answered(huge)).code == "too-large"
    endless = replace(begin().answered(head(200)), position=MAX_LENGTH)
    assert failure(endless.received(b"x")).code == "size-mismatch"


@pytest.mark.parametrize("declared", ["", "-1", "x", "1e3", "٣", "9" * 30])
def test_a_length_that_is_none_counts_as_unknown(declared: str) -> None:
    assert begin().answered(head(200, Content_Length=declared)).length is None


@pytest.mark.parametrize("code", ["bad-url", "tls-error", "bad-redirect"])
def test_what_asking_again_does_not_mend_is_not_asked_again(code: str) -> None:
    assert failure(begin().broke(UpstreamError(code, "no"))).code == code


def test_a_page_is_known_for_a_page_whatever_size_was_published() -> None:
    page = head(200, b"<!DOCTYPE html>", Content_Length="15")
    assert failure(begin(size=len(BODY)).answered(page)).code == "not-a-wheel-body"


def test_an_empty_answer_is_trouble_and_no_other_file() -> None:
    empty = head(200, b"", Content_Length="0")
    assert isinstance(begin(size=len(BODY)).answered(empty).step, Wait)


# Patience -------------------------------------------------------------------------------------------------------------


def test_patience_ends() -> None:
    transfer = begin()
    for _ in range(RETRY.tries - 1):
        transfer = transfer.broke(BROKEN)
        assert isinstance(transfer.step, Wait)
        transfer = transfer.waited()
    error = failure(transfer.broke(UpstreamError("unreachable", "nobody there")))
    assert error.code == "unreachable"
    assert error.facts["tries"] == RETRY.tries


def test_each_address_has_its_own_share_of_patience() -> None:
    transfer, tries = begin(ONE, TWO), 0
    while not isinstance(transfer.step, Failed):
        transfer, tries = transfer.broke(BROKEN), tries + 1
        transfer = transfer.waited() if isinstance(transfer.step, Wait) else transfer
    assert tries == 2 * RETRY.tries


def test_what_an_earlier_run_held_is_no_gain() -> None:
    held = kept(3 * WORTHWHILE, length=None)
    transfer = begin(partial=held).answered(head(200, ETag='"b"')).received(bytes(2 * WORTHWHILE))
    assert not transfer.gaining


def test_waits_grow() -> None:
    first = begin().broke(BROKEN)
    second = first.waited().broke(BROKEN)
    assert (first.step, second.step) == (Wait(failures=1), Wait(failures=2))


def test_patience_starts_anew_with_every_worthwhile_gain() -> None:
    piece = bytes(WORTHWHILE)
    transfer = begin().answered(head(200, Content_Length=str(100 * WORTHWHILE), ETag='"a"'))
    for number in range(50):
        transfer = transfer.received(piece).broke(BROKEN)
        assert transfer.step == Wait(failures=1)
        start = transfer.position
        said = f"bytes {start}-{100 * WORTHWHILE - 1}/{100 * WORTHWHILE}"
        transfer = transfer.waited().answered(head(206, Content_Range=said, ETag='"a"'))
        assert transfer.step == Receive(start=(number + 1) * WORTHWHILE)


def test_the_same_bytes_again_are_no_gain() -> None:
    transfer = begin().answered(head(200, ETag='"0"'))
    tries = 0
    while not isinstance(transfer.step, Failed):
        tries += 1
        transfer = transfer.received(bytes(3 * WORTHWHILE)).broke(BROKEN)
        if isinstance(transfer.step, Wait):
            transfer = transfer.waited().answered(head(200, ETag=f'"{tries}"'))
    assert tries == RETRY.tries


def test_hosts_take_turns_and_waits_come_after_a_round() -> None:
    transfer = begin(ONE, TWO).broke(BROKEN)
    assert transfer.step == Send(url=TWO)
    transfer = transfer.broke(BROKEN)
    assert transfer.step == Wait(failures=1)
    assert transfer.waited().step == Send(url=ONE)


def test_the_worst_is_told_and_the_rest_is_not_forgotten() -> None:
    transfer = begin(ONE, TWO, size=len(BODY)).answered(head(200, Content_Length="5"))
    error = failure(transfer.answered(head(404)))
    assert error.code == "size-mismatch"
    assert error.facts["also"] == [f"file-absent: {TWO} is not there: the server answers 404"]


def test_no_error_shows_a_password() -> None:
    address = "https://user:secret@one.example/whl/x.whl"
    for answer in (head(404), head(418), head(200, b"<html>"), head(200, Content_Encoding="gzip")):
        error = failure(begin(address).answered(answer))
        assert "secret" not in f"{error.message} {error.facts}"
    partial = begin(address).answered(whole()).received(BODY[:30]).partial
    assert "secret" not in render_partial(partial)


def test_whoever_began_a_file_uses_up_its_tries_once_and_then_all_have_their_turns() -> None:
    transfer = broken_at(30, ONE, TWO, sha256=None)
    asked = []
    while not isinstance(transfer.step, Failed):
        if isinstance(transfer.step, Send):
            asked.append(transfer.step.url)
            transfer = transfer.broke(BROKEN)
        else:
            transfer = transfer.waited()
    assert asked == [ONE, ONE, TWO, ONE, TWO]


# The hash -------------------------------------------------------------------------------------------------------------


def test_wrong_bytes_in_one_answer_are_kept_apart_and_told_with_both_hashes() -> None:
    transfer = begin().answered(whole(Last_Modified="Thu, 01 Jan 2026 00:00:00 GMT")).received(BODY).ended()
    transfer = transfer.hashed("f" * 64)
    assert isinstance(transfer.step, SetAside)
    error = failure(transfer.set_aside())
    assert isinstance(error, IntegrityError)
    assert error.code == "hash-mismatch"
    assert error.facts["published"] == SHA256
    assert error.facts["actual"] == "f" * 64
    assert error.facts["last-modified"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    assert error.facts["url"] == ONE


def test_wrong_bytes_of_two_answers_are_fetched_once_more_from_one() -> None:
    transfer = broken_at(30).answered(rest(30)).received(BODY[30:]).ended().hashed("f" * 64)
    assert transfer.step == Send(url=ONE)
    assert transfer.position == 0
    again = transfer.answered(whole()).received(BODY).ended()
    assert again.hashed(SHA256).step == Complete(url=ONE, sha256=SHA256, size=len(BODY))
    assert isinstance(again.hashed("f" * 64).step, SetAside)


def test_the_clean_start_is_given_once() -> None:
    transfer = broken_at(30).answered(rest(30)).received(BODY[30:]).ended().hashed("f" * 64)
    transfer = transfer.answered(whole()).received(BODY[:30]).broke(BROKEN).waited().answered(rest(30))
    assert isinstance(transfer.received(BODY[30:]).ended().hashed("f" * 64).step, SetAside)


def test_each_host_may_be_given_a_clean_start() -> None:
    transfer = broken_at(30, ONE, TWO).answered(rest(30)).received(BODY[30:]).ended().hashed("f" * 64)
    assert transfer.step == Send(url=TWO)
    transfer = transfer.answered(whole()).received(BODY).ended().hashed("f" * 64).set_aside()
    assert transfer.step == Send(url=ONE)
    transfer = transfer.answered(whole()).received(BODY[:30]).broke(BROKEN).waited().answered(rest(30))
    assert transfer.received(BODY[30:]).ended().hashed("f" * 64).step == Send(url=ONE)


def test_wrong_bytes_of_one_host_may_be_right_at_another() -> None:
    transfer = begin(ONE, TWO).answered(whole()).received(BODY).ended().hashed("f" * 64).set_aside()
    assert transfer.step == Send(url=TWO)
    assert transfer.answered(whole()).received(BODY).ended().hashed(SHA256).step == Complete(
        url=TWO, sha256=SHA256, size=len(BODY)
    )


# Across runs ----------------------------------------------------------------------------------------------------------


def kept(completed: int = 30, **changes: object) -> Partial:
    partial = Partial(
        url_path=url_path(ONE),
        sha256=SHA256,
        length=len(BODY),
        validator=Validator(origin="https://one.example", value='"a"'),
        completed=completed,
    )
    return replace(partial, **changes)  # type: ignore[arg-type]


def test_a_later_run_asks_for_the_rest() -> None:
    assert sent(begin(partial=kept())).headers == {"Range": "bytes=30-", "If-Range": '"a"'}


def test_a_later_run_that_finds_all_bytes_only_verifies_them() -> None:
    transfer = begin(partial=kept(len(BODY)))
    assert transfer.step == Verify()
    assert transfer.hashed("f" * 64).step == Send(url=ONE)  # they may be old: once more


def test_bytes_of_the_published_hash_are_of_use_whatever_the_address() -> None:
    assert sent(begin("https://three.example/elsewhere.whl", partial=kept())).headers == {"Range": "bytes=30-"}


@pytest.mark.parametrize(
    ("partial", "sha256", "size"),
    [
        (kept(sha256="0" * 64), SHA256, None),
        (kept(sha256=None), SHA256, None),
        (kept(), None, None),
        (kept(sha256=None, url_path="/whl/other.whl"), None, None),
        (kept(sha256=None, validator=None), None, None),
        (kept(sha256=None, validator=Validator(origin="https://two.example", value='"a"')), None, None),
        (kept(), SHA256, len(BODY) + 1),
        (kept(length=None), SHA256, 29),
    ],
)
def test_bytes_of_another_file_are_not_continued(partial: Partial, sha256: str | None, size: int | None) -> None:
    assert begin(sha256=sha256, size=size, partial=partial).step == Send(url=ONE)
