from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import product
from pathlib import PurePosixPath
from string import Formatter
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch_offline.mirror.milestones import Crawled, Imported, Reached, Verified
from pytorch_offline.mirror.standing import Drifted, DriftWarning, Drive, Holding, Standing
from pytorch_offline.server.people.commands import Tool
from pytorch_offline.server.people.inventory import PAGE_SIZE
from pytorch_offline.server.people.languages import Language
from pytorch_offline.server.people.markup import assets
from pytorch_offline.server.people.page import PeoplePage, take_stock
from pytorch_offline.server.people.words import read_words, render_size
from pytorch_offline.server.resources import Answer, Question
from tests.server.people.rows import HELD, row, torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytorch_offline.mirror.model import MirrorFile

NOW = datetime(2026, 8, 22, 14, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'&"


class Reader(HTMLParser):
    """What a browser makes of a page: texts by element, addresses, forms."""

    VOID = frozenset({"meta", "link", "img", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.inputs: list[dict[str, str | None]] = []
        self.texts: dict[str, str] = {}
        self.ids: list[str] = []
        self.attributes: set[str] = set()
        self._within: list[str | None] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert len(found) == len(attrs)
        self.attributes |= found.keys()
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src", "action"}]
        if tag == "input":
            self.inputs.append(found)
        if found.get("id"):
            self.ids.append(found["id"] or "")
        if tag not in self.VOID:
            self.open.append(tag)
            self._within.append(found.get("id"))

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self.handle_data(" ")
        assert self.open.pop() == tag
        self._within.pop()

    def handle_data(self, data: str) -> None:
        for identity in filter(None, self._within):
            self.texts[identity] = self.texts.get(identity, "") + data

    def checked(self) -> dict[str, str | None]:
        return {one["name"] or "": one["value"] for one in self.inputs if "checked" in one}


def page(files: Iterable[MirrorFile] = HELD, locks: Iterable[str] = (), standing: Standing | None = None) -> PeoplePage:
    holdings = take_stock(files, locks)
    return PeoplePage(lambda: holdings, lambda: standing)


def answer(shown: PeoplePage, query: str = "", origin: str = "http://mirror:8080", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    question = Question(path="/", query=query, field=named.get, origin=origin, now=NOW)
    return shown.routes()["/"].answer(question)


def read(shown: PeoplePage, query: str = "", origin: str = "http://mirror:8080", **headers: str) -> Reader:
    return Reader(answer(shown, query, origin, **headers).body.content.decode())


def test_the_command_of_the_choice_has_this_mirrors_address() -> None:
    shown = page()
    assert read(shown).texts["command-text"] == (
        "pip install torch==2.9.0+cu130 torchvision==0.24.0+cu130 torchaudio==2.9.0+cu130 "
        "--index-url http://mirror:8080/whl/cu130 --trusted-host mirror"
    )
    chosen = "torch=2.4.0&system=linux_x86_64&python=3.10&backend=cu121"
    assert read(shown, chosen, "http://127.0.0.1:9").texts["command-text"] == (
        "pip install torch==2.4.0+cu121 torchvision==0.19.0+cu121 --index-url http://127.0.0.1:9/whl/cu121"
    )
    assert (
        read(shown, chosen, "http://[2001:db8::1]:80", X_Forwarded_Proto="http")
        .texts["command-text"]
        .endswith('--index-url "http://[2001:db8::1]:80/whl/cu121" --trusted-host 2001:db8::1')
    )
    behind = read(shown, chosen + "&tool=uv", X_Forwarded_Proto="https", X_Forwarded_Prefix="/ml")
    assert behind.texts["command-text"] == (
        "uv pip install torch==2.4.0+cu121 torchvision==0.19.0+cu121 --index-url https://mirror:8080/ml/whl/cu121"
    )


def test_the_other_tools_get_the_same_versions() -> None:
    shown = page()
    chosen = "torch=2.4.0&system=linux_x86_64&python=3.10&backend=cu121"
    assert read(shown, f"{chosen}&tool=conda").texts["command-text"].splitlines() == [
        "conda create -y -n torch-2.4.0-cu121 python=3.10 pip",
        "conda activate torch-2.4.0-cu121",
        (
            "python -m pip install torch==2.4.0+cu121 torchvision==0.19.0+cu121 "
            "--index-url http://mirror:8080/whl/cu121 --trusted-host mirror"
        ),
    ]
    assert read(shown, f"{chosen}&tool=requirements").texts["command-text"].splitlines() == [
        "--index-url http://mirror:8080/whl/cu121",
        "--trusted-host mirror",
        "torch==2.4.0+cu121",
        "torchvision==0.19.0+cu121",
    ]
    assert read(shown, f"{chosen}&tool=environment").texts["command-text"].splitlines() == [
        "name: torch-2.4.0-cu121",
        "dependencies:",
        "  - python=3.10",
        "  - pip",
        "  - pip:",
        '      - "--index-url http://mirror:8080/whl/cu121"',
        '      - "--trusted-host mirror"',
        '      - "torch==2.4.0+cu121"',
        '      - "torchvision==0.19.0+cu121"',
    ]


def test_settings_are_those_of_the_chosen_platform() -> None:
    texts = read(page(), "torch=2.4.0&system=linux_x86_64&python=3.10&backend=cu121").texts
    assert texts["settings-0"] == "[global]\nindex-url = http://mirror:8080/whl/cu121\ntrusted-host = mirror"
    assert tomllib.loads(texts["settings-1"])["index"] == [{"url": "http://mirror:8080/whl/cu121", "default": True}]
    assert tomllib.loads(texts["settings-2"]) == {
        "source": [{"name": "pytorch", "url": "http://mirror:8080/whl/cu121", "verify_ssl": False}],
        "packages": {"torch": "==2.4.0+cu121", "torchvision": "==0.19.0+cu121"},
    }


def test_locks_are_installed_by_their_address() -> None:
    texts = read(page(locks=["pylock.node.toml", "requirements.node.txt", "node.json"])).texts
    assert texts["lock-0"] == (
        "pip install --no-index -r http://mirror:8080/locks/pylock.node.toml --trusted-host mirror"
    )
    assert texts["lock-1"] == (
        "pip install --require-hashes --no-deps -r http://mirror:8080/locks/requirements.node.txt "
        "--index-url http://mirror:8080/simple/ --trusted-host mirror"
    )
    assert "lock-2" not in texts


def test_without_script_the_form_says_what_was_just_chosen_and_what_gave_way() -> None:
    shown = page()
    first = read(shown)
    was = next(one["value"] for one in first.inputs if one.get("name") == "was")
    assert was == "2.9.0 linux_x86_64 3.13 cu130"
    # A browser without script sends all answers as they were, and the one that was changed.
    sent = f"torch=2.9.0&system=linux_x86_64&python=3.13&backend=cu121&was={was}".replace(" ", "+")
    second = read(shown, sent)
    assert second.checked() == {
        "torch": "2.4.0", "system": "linux_x86_64", "python": "3.12", "backend": "cu121", "tool": "pip",
    }  # fmt: skip
    assert "PyTorch → 2.4.0, Python → 3.12" in second.texts["result"]
    assert "gave way" not in read(shown).texts["result"]


def test_what_a_build_needs_is_said() -> None:
    shown = page()
    text = read(shown, "torch=2.4.0&backend=cu121&python=3.10&system=linux_x86_64").texts["result"]
    assert "NVIDIA driver 525.60.13 or newer: nvidia-smi must show “CUDA Version” 12.0 or higher." in text
    assert "From “CUDA Version” 12.1 on" in text
    windows = read(shown, "torch=2.4.0&backend=cu121&python=3.10&system=win_amd64").texts["result"]
    assert "NVIDIA driver 528.33 or newer" in windows
    assert "glibc" not in windows
    newest = read(shown, "backend=cu130").texts["result"]
    assert "NVIDIA driver 580" in newest
    assert "minor-version" not in newest
    assert "glibc 2.28 or newer" in newest
    apple = read(shown, "system=macosx_arm64").texts["result"]
    assert "Metal" in apple
    assert "macOS 11.0 or newer" in apple


@pytest.mark.parametrize("language", Language)
def test_every_language_has_every_text_with_the_same_gaps(language: Language) -> None:
    def gaps(text: str) -> set[str | None]:
        return {name for _, name, _, _ in Formatter().parse(text)} - {None}

    english, words = read_words(Language.ENGLISH), read_words(language)
    for name in english.__slots__:
        one, other = getattr(english, name), getattr(words, name)
        texts = zip(one.values(), other.values(), strict=True) if isinstance(one, dict) else ((one, other),)
        assert not isinstance(one, dict) or one.keys() == other.keys()
        for known, translated in texts:
            assert gaps(known) == gaps(translated), name
            assert translated.strip()


def test_the_page_is_in_the_readers_language_and_can_be_switched() -> None:
    shown = page()
    chinese = answer(shown, Accept_Language="zh-CN,zh;q=0.9")
    assert ("Content-Language", "zh-Hans") in chinese.headers
    assert "Accept-Language" in chinese.vary
    html = chinese.body.content.decode()
    assert '<html lang="zh-Hans">' in html
    assert "安装 PyTorch" in html
    to_english = next(one for one in Reader(html).addresses if "lang=en" in one)
    assert '<html lang="en">' in answer(shown, to_english[1:], Accept_Language="zh").body.content.decode()


def test_nothing_leads_outside_and_nothing_is_inline() -> None:
    standing = standing_of(drift=1)
    for query, language in product(("", "tool=conda", "q=t&sort=size"), ("en", "zh")):
        shown = page(locks=["pylock.node.toml", "requirements.node.txt"], standing=standing)
        reader = read(shown, query, Accept_Language=language)
        assert reader.addresses
        for address in reader.addresses:
            assert urljoin("http://mirror/ml/", address).startswith("http://mirror/ml/"), address
        assert not {name for name in reader.attributes if name == "style" or name.startswith("on")}
        assert len(set(reader.ids)) == len(reader.ids)
        policy = dict(answer(shown, query).headers)["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy


def test_assets_are_named_by_their_bytes_and_kept_for_ever() -> None:
    shown = page()
    routes = shown.routes()
    for name, (content_type, content) in assets().items():
        assert hashlib.sha256(content).hexdigest()[:16] in name
        given = routes[f"/assets/{name}"].answer(
            Question(path="", query="", field=lambda _: None, origin="http://mirror", now=NOW)
        )
        assert (given.body.content, given.body.content_type) == (content, content_type)
        assert "immutable" in given.cache_control
        assert f"assets/{name}" in read(shown).addresses
        assert b"http" not in content.replace(b"http://www.w3.org/2000/svg", b"")


def test_what_the_mirror_holds_is_escaped() -> None:
    name = HOSTILE.replace("/", "")  # no file name has one
    hostile = DriftWarning(path=PurePosixPath(HOSTILE), what=Drifted.UNLISTED, held="0", other=None, noticed=NOW)
    shown = page(locks=[f"requirements.{name}.txt"], standing=standing_of(warnings=(hostile,)))
    html = answer(shown, f"q={HOSTILE}&torch={HOSTILE}&was={HOSTILE}&lang={HOSTILE}").body.content.decode()
    assert "<script>alert" not in html
    assert HOSTILE in Reader(html).texts["standing"]
    assert "alert" not in answer(page(), "", f"http://{HOSTILE}").body.content.decode()


def test_an_empty_mirror_says_what_to_do_next() -> None:
    shown = page(())
    text = read(shown).texts["empty"]
    assert "pytorch-offline fetch torch" in text
    assert "pytorch-offline publish" in text
    assert "upstream" not in text
    fetching = PeoplePage(lambda: take_stock((), ()), lambda: None, fetches=True)
    texts = read(fetching).texts
    assert "upstream" in texts["empty"]
    assert texts["first"] == "pip install torch --index-url http://mirror:8080/whl/cpu --trusted-host mirror"


def test_a_mirror_without_torch_lists_what_it_has() -> None:
    reader = read(page([row("whl/numpy-2.0-cp312-cp312-win_amd64.whl")]))
    assert "picker" not in reader.texts
    assert "numpy" in reader.texts["projects"]


def test_projects_with_versions_files_sizes_and_dates() -> None:
    files = [
        *HELD,
        row("whl/sympy-1.12-py3-none-any.whl", size=5_700_000, upload_time="2024-01-02T03:04:05Z"),
        row("whl/sympy-1.13.1-py3-none-any.whl", size=6_200_000, upload_time="2024-07-19T09:26:51Z"),
        row("whl/sympy-1.14rc1-py3-none-any.whl", size=100),
    ]
    reader = read(page(files), "q=SymPy")
    text = " ".join(reader.texts["list"].split())
    assert "sympy 1.13.1 3 versions, 3 files 11.9 MB 2024-07-19 2026-08-22" in text
    assert "simple/sympy/" in reader.addresses
    assert "simple/torch/" not in reader.addresses
    twice = [files[-2], replace(files[-2], path=PurePosixPath("whl/nightly/sympy-1.13.1-py3-none-any.whl"))]
    assert "6.2 MB" in read(page(twice)).texts["standing"]  # one content, linked
    by_size = [one for one in read(page(files), "sort=size").addresses if one.startswith("simple/")]
    assert by_size[0] == "simple/sympy/"
    assert next(one for one in read(page(files)).addresses if one.startswith("simple/")) == "simple/torch/"


def test_many_projects_come_in_pages_of_bounded_size() -> None:
    many = [row(f"whl/project_{number:04}-1.0-py3-none-any.whl") for number in range(5 * PAGE_SIZE + 3)]
    shown = page(many)
    assert len(answer(shown).body.content) < 120_000
    links = [one for one in read(shown, "page=6").addresses if one.startswith("simple/project")]
    assert len(links) == 3
    assert [one for one in read(shown, "page=999999").addresses if one.startswith("simple/project")] == links


def standing_of(drift: int = 0, warnings: tuple[DriftWarning, ...] = (), **reached: object) -> Standing:
    made = tuple(
        DriftWarning(
            path=PurePosixPath(f"whl/cu121/triton-{number}.whl"), what=Drifted.REUPLOADED, held="0", other="1",
            noticed=NOW,
        )
        for number in range(drift)
    )  # fmt: skip
    milestones: dict[str, object] = {
        "crawled": (Crawled(upstream="u", ended=NOW - timedelta(hours=3), pages=3, whole=True),),
        "published": NOW - timedelta(minutes=5),
    }
    return Standing(
        at=NOW,
        whole=Holding(directory="", files=1, projects=1, size=1),
        oldest=NOW - timedelta(days=12),
        newest=NOW,
        reached=Reached(**(milestones | reached)),  # type: ignore[arg-type]
        drive=Drive(total=2_000_000_000_000, free=400_000_000_000),
        drift=(*made, *warnings),
    )


def test_freshness_disk_and_drift() -> None:
    text = read(page(standing=standing_of(drift=30))).texts["standing"]
    for part in ("3 hours ago", "2026-08-22 11:00 UTC", "12 days ago", "5 minutes ago", "80%", "400 GB free of 2.0 TB"):
        assert part in text
    assert "whl/cu121/triton-0.whl" in text
    assert "and 22 more" in text
    bare = read(page(standing=standing_of(crawled=(), published=None))).texts["standing"]
    assert "never" in bare
    assert "not known" in bare
    assert "bundle" not in bare
    imported = Imported(
        ended=NOW - timedelta(days=2),
        bundle="0",
        lineage="1",
        counter=7,
        created=datetime(2026, 8, 1, 6, tzinfo=UTC),
        brought=3,
    )
    taken = read(page(standing=standing_of(imported=imported))).texts["standing"]
    assert "number 7, written 2026-08-01" in taken
    assert "2 days ago" in taken
    bad = Verified(ended=NOW, files=3, read=3, deep=False, findings=1, oldest=NOW)
    assert "damaged files" in read(page(standing=standing_of(verified=bad))).texts["standing"]


def test_a_page_is_made_once_for_each_generation_and_choice() -> None:
    holdings = [take_stock(HELD, ())]
    shown = PeoplePage(lambda: holdings[-1], lambda: None)
    assert answer(shown).body is answer(shown).body
    assert answer(shown).body is not answer(shown, "tool=uv").body
    before = answer(shown).body
    holdings.append(take_stock(HELD[:1], ()))
    assert answer(shown).body.etag != before.etag
    for number in range(200):
        answer(shown, f"q={number}")
    assert len(shown._kept) < 100


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (123_456_789, "123 MB"),
        (2_500_000_000, "2.5 GB"),
        (10**16, "10000 TB"),
    ],
)
def test_sizes_are_written_as_downloads_are_sold(size: int, text: str) -> None:
    assert render_size(size) == text


@pytest.mark.parametrize("tool", Tool)
def test_every_tool_has_a_name_in_every_language(tool: Tool) -> None:
    for language in Language:
        assert read_words(language).tools[tool.value]


def test_many_answers_are_folded_away_but_not_the_chosen_one_nor_the_cpu() -> None:
    toolkits = [f"cu1{minor}" for minor in range(10, 30)] + ["rocm6.3", "rocm6.4", "rocm7.0", "xpu", "cpu"]
    files = [torch("2.9.0", "cp312", backend) for backend in toolkits]
    files += [torch(f"2.{minor}.0", "cp312", "cpu") for minor in range(20)]

    def folded(query: str) -> tuple[list[str], bool]:
        html = answer(page(files), query).body.content.decode()
        details = html.partition('id="question-backend"')[2].partition("</fieldset>")[0].partition("<details")[2]
        return re.findall(r'value="([^"]+)"', details), details.lstrip().startswith('class="older" open')

    hidden, is_open = folded("")
    newest = ["cu125", "cu126", "cu127", "cu128", "cu129", "rocm6.4", "rocm7.0", "xpu", "cpu"]
    assert [one for one in toolkits if one not in hidden] == newest
    assert not is_open
    assert folded("backend=cu110")[1]
    assert "20 more" not in read(page(files)).texts["question-torch"]
    assert "11 more" in read(page(files)).texts["question-torch"]


@settings(max_examples=60, deadline=None)
@given(
    query=st.text(max_size=120),
    origin=st.one_of(st.just("http://mirror"), st.text(max_size=40)),
    header=st.text(max_size=80),
)
def test_nothing_that_is_sent_breaks_the_page(query: str, origin: str, header: str) -> None:
    headers = dict.fromkeys(("Accept_Language", "X_Mirror_Address", "X_Forwarded_Proto", "X_Forwarded_Prefix"), header)
    for fields in ({}, headers):
        reader = read(WHOLE, query, origin, **fields)
        assert "result" in reader.texts
        # What is copied holds nothing that a shell would read, whoever asked.
        assert not set(reader.texts["command-text"]) & set("$`;|<>\\'")


WHOLE = page()
