"""What a far side holds, as one small file: it comes back as it went, says nothing else, and shows every damage."""

from __future__ import annotations

import gzip
import hashlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.bundle.format.holdings import (
    HeldBundle,
    HeldFile,
    Holdings,
    compress_holdings,
    holdings_id,
    render_holdings,
)
from pytorch_offline.bundle.writing.told_holdings import parse_holdings, uncompress_holdings
from pytorch_offline.errors import IntegrityError, UsageError


def held(number: int, directory: str = "whl") -> HeldFile:
    name = f"{directory}/project{number}-1.0-py3-none-any.whl"
    return HeldFile(path=name, size=number, sha256=hashlib.sha256(name.encode()).hexdigest())


SOME = Holdings(
    bundles=(HeldBundle(lineage="a", id="1" * 64, counter=3, highest=4),), files=tuple(sorted(map(held, range(5))))
)


def parsed(body: bytes) -> Holdings:
    return parse_holdings(json.loads(uncompress_holdings(body)))


@given(st.lists(st.integers(0, 50), unique=True, max_size=20), st.booleans())
def test_holdings_come_back_as_they_went(numbers: list[int], compressed: bool) -> None:  # noqa: FBT001  (hypothesis)
    holdings = Holdings(bundles=SOME.bundles, files=tuple(sorted(map(held, numbers))))
    body = render_holdings(holdings)
    packed = compress_holdings(body) if compressed else body
    assert parsed(packed) == holdings
    assert packed == (compress_holdings(body) if compressed else render_holdings(holdings))


def test_each_file_has_a_line_of_its_own() -> None:
    lines = render_holdings(SOME).decode().splitlines()
    assert len(lines) == len(SOME.files) + 2
    assert all(file.path in line for file, line in zip(SOME.files, lines[1:-1], strict=True))


def test_five_thousand_files_fit_into_a_mail() -> None:
    chance = random.Random(1)
    files = []
    for number in range(5000):
        backend = chance.choice(["cpu", "cu126", "cu130", "rocm6.4"])
        name = f"torch-2.{number}.0+{backend}-cp311-cp311-manylinux_2_28_x86_64.whl"
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        files.append(HeldFile(path=f"whl/{backend}/{name}", size=chance.randrange(1 << 31), sha256=sha256))
    body = render_holdings(Holdings(bundles=SOME.bundles, files=tuple(sorted(files))))
    assert len(body) < 1_000_000
    assert len(compress_holdings(body)) < 300_000


def test_the_base_is_the_bundle_taken_last_else_the_wheels_themselves() -> None:
    assert SOME.base_for("a") == "1" * 64
    assert SOME.base_for("b") == holdings_id(SOME.files)
    assert holdings_id(SOME.files) == holdings_id([*reversed(SOME.files), held(9, "locks")])
    assert holdings_id(SOME.files) != holdings_id(SOME.files[1:])


@given(st.data())
def test_every_damage_shows(data: st.DataObject) -> None:
    body = bytearray(render_holdings(SOME))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    try:
        document = json.loads(bytes(body))
    except ValueError:
        return
    try:
        found = parse_holdings(document)
    except (IntegrityError, UsageError):
        return
    assert found == SOME  # a blank between two values may change


def test_what_is_cut_off_or_a_bomb_is_refused() -> None:
    packed = compress_holdings(render_holdings(SOME))
    with pytest.raises(IntegrityError, match="cut off"):
        uncompress_holdings(packed[:-20])
    with pytest.raises(IntegrityError, match="larger"):
        uncompress_holdings(gzip.compress(bytes(80 << 20)))
    with pytest.raises(IntegrityError, match="damaged"):
        uncompress_holdings(packed[:20] + b"\xff" * 40)


def test_a_later_format_is_told_apart_from_damage() -> None:
    document = json.loads(render_holdings(SOME)) | {"format": 2}
    with pytest.raises(UsageError) as caught:
        parse_holdings(document)
    assert caught.value.code == "unknown-holdings-format"
