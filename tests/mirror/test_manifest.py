"""The manifest's codec: one canonical form, and a reader that believes nothing."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.manifest import parse_manifest, render_manifest
from pytorch_offline.mirror.model import HashOrigin, MirrorFile
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA, craft_wheel

HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
TEXT = st.text(max_size=20)
ROWS = st.builds(
    MirrorFile,
    path=st.sampled_from([wheel.path for wheel in (TORCH_CPU, TORCH_CUDA, SYMPY)]),
    size=st.integers(0, 1 << 40),
    sha256=HEX,
    hash_origin=st.sampled_from(HashOrigin),
    origin=TEXT,
    metadata_sha256=HEX,
    requires_python=st.none() | TEXT,
    yanked=st.none() | TEXT,
    upload_time=st.none() | TEXT,
    verified_at=st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.isoformat()),
    spelling=st.none() | TEXT,
)


@given(st.lists(ROWS, unique_by=lambda row: row.path))
def test_what_is_written_is_read_back(rows: list[MirrorFile]) -> None:
    text = render_manifest(rows)
    assert set(parse_manifest(text)) == set(rows)
    assert render_manifest(parse_manifest(text)) == text
    assert render_manifest(reversed(rows)) == text


def test_the_form_is_the_published_one() -> None:
    document = json.loads(render_manifest([TORCH_CPU.row(), SYMPY.row(hash_origin=HashOrigin.COMPUTED)]))
    assert document["format"] == 1
    assert [row["path"] for row in document["files"]] == [str(TORCH_CPU.path), str(SYMPY.path)]
    assert document["files"][1] == {
        "path": str(SYMPY.path),
        "size": len(SYMPY.body),
        "sha256": SYMPY.sha256,
        "hash_origin": "computed",
        "origin": f"https://upstream.example/{SYMPY.path}",
        "metadata_sha256": SYMPY.row().metadata_sha256,
        "requires_python": None,
        "yanked": None,
        "upload_time": None,
        "verified_at": "2026-08-22T12:00:00Z",
        "spelling": "sympy",
    }


def document(**changes: Any) -> bytes:  # noqa: ANN401
    row = json.loads(render_manifest([TORCH_CPU.row()]))["files"][0] | changes
    return json.dumps({"format": 1, "files": [row]}).encode()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"path": "/etc/torch-1.0-py3-none-any.whl"}, "path"),
        ({"path": "whl/../../torch-1.0-py3-none-any.whl"}, "path"),
        ({"path": "whl//torch-1.0-py3-none-any.whl"}, "path"),
        ({"path": "whl\\torch-1.0-py3-none-any.whl"}, "path"),
        ({"path": "C:/torch-1.0-py3-none-any.whl"}, "path"),
        ({"path": "whl/torch/torch-1.0-py3-none-any.whl"}, "path"),
        ({"path": "whl/cpu/index.html"}, "path"),
        ({"path": "whl/cpu/\0torch-1.0-py3-none-any.whl"}, "path"),
        ({"path": None}, "path"),
        ({"size": -1}, "size"),
        ({"size": "12"}, "size"),
        ({"size": True}, "size"),
        ({"sha256": "A" * 64}, "sha256"),
        ({"sha256": "ab"}, "sha256"),
        ({"metadata_sha256": None}, "metadata_sha256"),
        ({"hash_origin": "guessed"}, "hash_origin"),
        ({"origin": 3}, "origin"),
        ({"yanked": False}, "yanked"),
        ({"verified_at": "lately"}, "verified_at"),
        ({"verified_at": "2026-08-22T12:00:00"}, "verified_at"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse_manifest(document(**changes))
    assert caught.value.code == "bad-manifest"
    assert f"files[0].{key} " in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'{"format": 1}',
        b'{"format": 1, "files": {}}',
        b'{"format": true, "files": []}',
        b'{"format": 0, "files": []}',
        b'{"format": 1, "files": [3]}',
        b'{"format": 1, "files": [',
    ],
)
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"manifest\.json cannot be trusted"):
        parse_manifest(text)


def test_a_later_format_is_not_guessed_at() -> None:
    with pytest.raises(UsageError, match="format 2"):
        parse_manifest(b'{"format": 2, "files": []}')


def test_a_path_may_be_listed_once() -> None:
    row = json.loads(document())["files"][0]
    with pytest.raises(IntegrityError, match="there twice"):
        parse_manifest(json.dumps({"format": 1, "files": [row, row]}).encode())


def test_keys_of_later_versions_are_passed_over() -> None:
    text = json.loads(document(colour="red"))
    assert parse_manifest(json.dumps(text | {"bundle": 3}).encode()) == (TORCH_CPU.row(),)


@given(st.binary())
def test_no_bytes_make_the_reader_fail_otherwise(text: bytes) -> None:
    with contextlib.suppress(IntegrityError, UsageError):
        parse_manifest(text)


def test_a_manifest_in_another_form_says_the_same() -> None:
    rows = tuple(craft_wheel(f"whl/a-{number}-py3-none-any.whl").row(requires_python=">=3.8") for number in range(3))
    canonical = render_manifest(rows)
    document = json.loads(canonical)
    for other in (json.dumps(document), json.dumps(document, indent=2), canonical.decode().replace(": ", ":\n")):
        assert parse_manifest(other.encode()) == parse_manifest(canonical) == rows


def test_a_row_that_is_known_already_takes_no_further_memory() -> None:
    first, second = (craft_wheel(f"whl/a-{number}-py3-none-any.whl").row() for number in range(2))
    known = {row.path: row for row in (first, replace(second, size=1))}
    again = parse_manifest(render_manifest((first, second)), known=known)
    assert again == (first, second)
    assert again[0] is first


@given(st.data())
def test_a_manifest_that_lost_or_gained_bytes_is_read_as_one_document_would_be(data: st.DataObject) -> None:
    rows = [craft_wheel(f"whl/a-{number}-py3-none-any.whl").row() for number in range(data.draw(st.integers(0, 3)))]
    text = render_manifest(rows)
    at = data.draw(st.integers(0, len(text)))
    gained = data.draw(st.sampled_from([b"", b"\n", b",\n", b" ", b"}", b"]}\n", b'"']))
    torn = text[:at] + gained + text[at + data.draw(st.integers(0, 3)) :]
    assert outcome_of(torn) == outcome_of(b" " + torn)  # which no line of the canonical form begins with


def outcome_of(text: bytes) -> object:
    try:
        return parse_manifest(text)
    except (IntegrityError, UsageError) as error:
        return error.code


def test_a_stream_is_a_manifest_too() -> None:
    rows = tuple(craft_wheel(f"whl/a-{number}-py3-none-any.whl").row() for number in range(3))
    for text in (render_manifest(rows), render_manifest(rows).replace(b",\n", b" ,\n\n")):
        assert parse_manifest(io.BytesIO(text)) == rows
