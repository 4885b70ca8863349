"""From what pages said to builds, and from builds to lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import Version

from pytorch_offline.crawler.as_of import parse_as_of
from pytorch_offline.crawler.model import Link, Observation
from pytorch_offline.errors import UsageError
from pytorch_offline.matrix.builds import Build, Origin, Wanted, builds_of, tabled_builds
from pytorch_offline.matrix.pythons import pythons_of, render_pythons
from pytorch_offline.matrix.releases import by_release, marks_of, namesake_notes, render_releases
from pytorch_offline.matrix.view import Section, View, render_csv, render_view
from pytorch_offline.wheels.backend import parse_backend
from pytorch_offline.wheels.filename import parse_wheel_name

TORCH = NormalizedName("torch")
ALL = Wanted(project=TORCH, specifier=SpecifierSet())


def said(path: str, first: str = "2026-01-01", last: str = "2026-01-05", ended: str | None = None) -> Observation:
    link = Link(filename=path.rpartition("/")[2], url=f"https://upstream.invalid{path}", path=path)
    moment = "T12:00:00Z"
    return Observation(
        page_url="https://upstream.invalid/whl/torch/",
        link=link,
        first_seen=first + moment,
        last_seen=last + moment,
        ended=None if ended is None else ended + moment,
    )


def backends_of(*paths: str) -> set[tuple[str, str]]:
    return {(str(build.backend), build.platform) for build in builds_of(map(said, paths), ALL)}


def test_the_directory_says_the_backend_of_a_file_without_label() -> None:
    assert backends_of("/whl/cu90/torch-0.4.1-cp36-cp36m-linux_x86_64.whl") == {("cu90", "linux_x86_64")}


def test_a_label_says_more_than_the_directory() -> None:
    # Both lie in upstream's cu111.
    path = "/whl/cu111/torch-1.10.2"
    found = backends_of(f"{path}+cpu-cp39-cp39-linux_x86_64.whl", f"{path}-cp39-none-macosx_11_0_arm64.whl")
    assert found == {("cpu", "linux_x86_64"), ("cpu", "macosx_arm64")}


def test_a_file_of_a_plain_index_is_the_default_build() -> None:
    assert backends_of("/files/torch-2.4.0-cp310-cp310-manylinux1_x86_64.whl") == {("cu121", "linux_x86_64")}


def test_special_directories_and_other_channels_are_left_out() -> None:
    assert not backends_of(
        "/whl/cu121_full/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl",
        "/whl/nightly/cu121/torch-2.4.0.dev20240601+cu121-cp310-cp310-linux_x86_64.whl",
        "/whl/cpu_pypi_pkg/torch-2.6.0.dev20240914+cpu-cp310-cp310-linux_x86_64.whl",
    )


@pytest.mark.parametrize(
    ("as_of", "found"),
    [("2026-01-01", {"cp39": True}), ("2026-01-03", {"cp39": False, "cp310": True}), ("2025-12-31", {})],
)
def test_what_was_known_on_a_day(as_of: str, found: dict[str, bool]) -> None:
    sayings = [
        said("/whl/cpu/torch-2.0.0+cpu-cp39-cp39-win_amd64.whl", "2026-01-01", "2026-01-02", ended="2026-01-03"),
        said("/whl/cpu/torch-2.0.1+cpu-cp310-cp310-win_amd64.whl", "2026-01-03", "2026-01-09"),
    ]
    builds = builds_of(sayings, Wanted(project=TORCH, specifier=SpecifierSet(), as_of=parse_as_of(as_of)))
    assert {build.filenames[0].split("-")[2]: build.listed for build in builds} == found
    assert all((build.last_seen or "") <= f"{as_of}T23:59:59Z" for build in builds)


def test_the_table_fills_in_what_no_page_lists() -> None:
    listed = builds_of([said("/whl/cu121/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl")], ALL)
    tabled = tabled_builds(ALL, [build.version for build in listed])
    assert {build.origin for build in tabled} == {Origin.TABLE}
    releases = {str(build.release) for build in tabled}
    assert {"2.4.1", "0.1.6"} <= releases
    assert "2.4.0" not in releases
    assert not tabled_builds(Wanted(project=NormalizedName("torchvision"), specifier=SpecifierSet()), [])


def test_same_names_in_several_directories_are_told() -> None:
    name = "torch-0.1.12.post2-cp36-cp36m-linux_x86_64.whl"
    (note,) = namesake_notes(builds_of([said(f"/whl/cu75/{name}"), said(f"/whl/cu80/{name}")], ALL))
    assert "1 file names are the same for several of cu75 cu80" in note


@pytest.mark.parametrize(
    ("filename", "pythons"),
    [
        ("torch-2.6.0-cp313-cp313t-win_amd64.whl", {"3.13t"}),
        ("torch-1.0.0-cp27-cp27mu-linux_x86_64.whl", {"2.7"}),
        ("torch-2.0.0-cp39-abi3-win_amd64.whl", {"3.9+"}),
        ("torchtext-0.2.3-py2.py3-none-any.whl", {"2", "3"}),
        ("torch-2.0.0-pp38-pypy38_pp73-win_amd64.whl", {"pypy3.8"}),
    ],
)
def test_pythons_of_a_wheel(filename: str, pythons: set[str]) -> None:
    assert pythons_of(parse_wheel_name(filename)) == pythons


def test_pythons_are_written_as_ranges_of_neighbours() -> None:
    dashed = render_pythons(["3.10", "2.7", "3.9", "3.13t", "3.12", "3.11", "3.14t", "3.5"])
    assert dashed.replace("\N{EN DASH}", "-") == "2.7, 3.5, 3.9-3.12, 3.13t-3.14t"


def build(version: str, origin: Origin = Origin.CATALOGUE, *, listed: bool = True) -> Build:
    return Build(
        project=TORCH,
        version=Version(version),
        backend=parse_backend("cu118"),
        platform="linux_x86_64",
        pythons=frozenset({"3.10"}),
        origin=origin,
        listed=listed if origin is Origin.CATALOGUE else None,
    )


def test_releases_are_ranges_among_all_that_are_known() -> None:
    known = [build(text) for text in ("2.0.0", "2.0.1", "2.1.0", "2.2.0", "2.3.0")]
    known.insert(2, build("2.0.2", Origin.TABLE))
    marks = marks_of(known)
    some = [one for one in known if str(one.version) not in {"2.2.0", "2.0.2"}]
    assert render_releases(some, marks).replace("\N{EN DASH}", "-") == "2.3.0, 2.0.0-2.1.0"
    assert render_releases(known, marks).replace("\N{EN DASH}", "-") == "2.0.2~, 2.0.0-2.3.0"


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), unique_by=lambda one: one[0], min_size=1))
def test_a_range_holds_every_release_once(rows: list[tuple[int, bool]]) -> None:
    known = [build(f"1.{minor}", listed=minor % 5 != 0) for minor, _ in rows]
    some = [one for one, (_, is_mine) in zip(known, rows, strict=True) if is_mine]
    everything = [str(release) for release in marks_of(known)]
    written = []
    for part in filter(None, render_releases(some, marks_of(known)).split(", ")):
        first, _, last = part.rstrip("*").partition("\N{EN DASH}")
        run = everything[everything.index(first) : everything.index(last or first) + 1]
        written += [(release, part.endswith("*")) for release in run]
    assert sorted(written) == sorted((str(one.version), not one.listed) for one in some)


def test_releases_that_are_alike_stand_together_and_those_that_are_gone_are_marked() -> None:
    section = by_release([build("2.0.0"), build("2.0.1"), build("2.1.0"), build("2.2.0", listed=False)])
    assert [row[0].replace("\N{EN DASH}", "-") for row in section.rows] == ["2.2.0*", "2.0.0-2.1.0"]


WORDS = st.lists(st.text("xy", min_size=1, max_size=12), max_size=30).map(" ".join)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=6))
def test_lines_keep_the_width_and_lose_no_word(rows: list[tuple[str, str, str]]) -> None:
    section = Section(header=("one", "two", "three"), rows=tuple(rows), widths=(20, 12))
    text = render_view(View(title="t", sections=(section,), records=()))
    assert all(len(line) <= 80 for line in text.splitlines())
    for letter in "xy":
        assert text.count(letter) == sum(cell.count(letter) for row in rows for cell in row)


def test_csv_leaves_nothing_out() -> None:
    record = {"a": ["x", "y"], "b": None, "c": True, "d": 'say "hi", ok'}
    assert render_csv(View(title="t", sections=(), records=(record,))) == 'a,b,c,d\nx;y,,yes,"say ""hi"", ok"'


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-11", "2026-03-11T23:59:59+00:00"),
        ("2026-03-11T12:00:00Z", "2026-03-11T12:00:00+00:00"),
        ("2026-03-11T12:00", "2026-03-11T12:00:00+00:00"),
        ("2026-03-11 12:00:00+02:00", "2026-03-11T10:00:00+00:00"),
    ],
)
def test_a_day_means_its_end(text: str, moment: str) -> None:
    assert parse_as_of(text).isoformat() == moment


@pytest.mark.parametrize("text", ["yesterday", "2026-02-30", "11.3.2026", ""])
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(UsageError, match="is not a date"):
        parse_as_of(text)
