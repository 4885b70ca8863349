"""The command line of ``verify``."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.cli.main import main
from pytorch_offline.crawler.catalogue import CATALOGUE_NAME, Catalogue, Fetched
from pytorch_offline.crawler.model import Link, Page, PageKind
from pytorch_offline.mirror.store import Mirror
from tests.mirror.wheels import SYMPY, TORCH_CPU

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    monkeypatch.setenv("PYTORCH_OFFLINE_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").touch()
    mirror = Mirror(tmp_path / "mirror")
    with mirror.lock():
        for wheel in (SYMPY, TORCH_CPU):
            source = tmp_path / wheel.path.name
            source.write_bytes(wheel.body)
            row = wheel.admit(mirror)
            mirror.rewrite([replace(row, origin=source.as_uri())])
        mirror.publish()
    return mirror


def run(capsys: pytest.CaptureFixture[str], mirror: Mirror, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--mirror", str(mirror.root), *arguments])
    code = stop.value.code
    out, err = capsys.readouterr()
    assert isinstance(code, int)
    return code, out, err


def as_json(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    return document


@pytest.mark.parametrize("options", [(), ("--deep",), ("--jobs", "1")])
def test_a_sound_mirror_exits_with_0(
    mirror: Mirror, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    code, out, _ = run(capsys, mirror, *options)
    assert code == 0
    assert "2 files, " in out
    assert out.endswith("all as the manifest says\n")


def test_quiet_says_nothing_of_a_sound_mirror_and_all_of_a_bad_one(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, mirror, "--quiet") == (0, "", "")
    assert run(capsys, mirror, "--quiet", "--watch", "30") == (0, "", "")
    assert as_json(run(capsys, mirror, "--quiet", "--json")[1])["ok"] is True
    (mirror.root / TORCH_CPU.path).unlink()
    code, out, _ = run(capsys, mirror, "--quiet")
    assert code == 4
    assert f"bad: {TORCH_CPU.path}: missing: it is not there" in out


def test_each_bad_file_is_named_and_the_exit_code_is_4(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    (mirror.root / SYMPY.path).write_bytes(b"x" * len(SYMPY.body))
    (mirror.root / TORCH_CPU.path).unlink()
    code, out, _ = run(capsys, mirror)
    assert code == 4
    assert f"bad: {TORCH_CPU.path}: missing: it is not there" in out
    assert f"bad: {SYMPY.path}: hash: " in out
    assert SYMPY.sha256 in out
    assert out.rstrip().endswith(": 2 bad")
    code, out, _ = run(capsys, mirror, "--json")
    assert code == 4
    document = as_json(out)
    assert (document["ok"], document["files"]) == (False, 2)
    assert [(bad["path"], bad["problem"]) for bad in document["bad"]] == [
        (str(TORCH_CPU.path), "missing"),
        (str(SYMPY.path), "hash"),
    ]


def test_repair_ends_with_0(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    (mirror.root / SYMPY.path).write_bytes(b"x")
    code, out, err = run(capsys, mirror, "--repair", "--json")
    assert code == 0
    document = as_json(out)
    assert document["ok"] is True
    assert document["repaired"]["downloaded"] == document["repaired"]["moved_aside"] == [str(SYMPY.path)]
    assert [bad["problem"] for bad in document["repaired"]["found"]] == ["size"]
    assert f"repairing {SYMPY.path}: size" in err
    assert (mirror.root / SYMPY.path).read_bytes() == SYMPY.body


@pytest.mark.parametrize("option", ["--older-than", "--watch"])
def test_by_age_and_with_its_throughput(mirror: Mirror, capsys: pytest.CaptureFixture[str], option: str) -> None:
    document = as_json(run(capsys, mirror, "--json", option, "0")[1])
    assert document["bytes_read"] == document["bytes"] == len(SYMPY.body) + len(TORCH_CPU.body)
    assert document["bytes_per_second"] > 0
    assert document["verified_lately"] == 0
    document = as_json(run(capsys, mirror, "--json", option, "30")[1])
    assert (document["verified_lately"], document["bytes_read"], document["bytes_per_second"]) == (2, 0, None)
    assert "verified lately, and not read again: 2 of 2" in run(capsys, mirror, option, "30")[1]
    assert "/s\n" in run(capsys, mirror)[1]


def test_without_a_manifest_the_caller_is_told(
    tmp_path: Path, mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    del mirror
    code, out, err = run(capsys, Mirror(tmp_path / "nowhere"), "--json")
    assert code == 2
    assert as_json(out)["error"]["code"] == "no-manifest"
    events = [json.loads(line) for line in err.splitlines()]
    assert [event["event"] for event in events] == ["start", "error", "exit"]
    assert (events[1]["code"], events[2]["code"]) == ("no-manifest", 2)
    assert not (tmp_path / "nowhere").exists()


def test_a_manifest_that_cannot_be_read_is_an_integrity_error(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    (mirror.root / "manifest.json").write_bytes(b'{"format": 1, "files": [{}]}')
    code, _, err = run(capsys, mirror)
    assert code == 4
    assert "files[0]." in err
    damaged = mirror.root / "manifest.json"
    assert f"mv {damaged} {damaged}.damaged && pytorch-offline fetch --mirror {mirror.root}" in " ".join(err.split())


def test_a_lost_manifest_makes_no_wheel_a_stranger(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    locks = mirror.root / "locks"
    locks.mkdir()
    for name in ("box.json", "requirements.box.txt"):
        (locks / name).touch()
    (mirror.root / "manifest.json").unlink()
    again = f"pytorch-offline fetch --mirror {mirror.root} -r {locks}/requirements.box.txt --target {locks}/box.json"
    for text in (None, json.dumps({"path": "of another fetch that was cut off"})[:-1]):
        if text is not None:
            (mirror.state / "admitted.jsonl").write_text(text)
        code, _, err = run(capsys, mirror, "--repair")
        assert code == 2
        assert again in " ".join(err.split())
    assert (mirror.root / SYMPY.path).exists()


def test_of_a_damaged_lock_it_says_what_writes_it_anew(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    locks = mirror.root / "locks"
    locks.mkdir()
    (locks / "pylock.box.toml").write_text("x=[")
    (locks / "requirements.box.txt").write_text(
        f"sympy=={SYMPY.path.name.split('-')[1]} --hash=sha256:{SYMPY.sha256}\n"
    )
    again = f"pytorch-offline fetch --mirror {mirror.root} -r {locks}/requirements.box.txt --target {locks}/box.json"
    for options in ((), ("--repair",)):
        code, _, err = run(capsys, mirror, *options)
        assert code == 4
        assert again in err
        assert "verify --repair" not in err
    (locks / "box.json").write_text("x")
    assert f"{locks}/requirements.box.txt --target FILE, which `pytorch-offline detect" in run(capsys, mirror)[2]
    (locks / "requirements.box.txt").write_text("x")
    assert f"pytorch-offline fetch --mirror {mirror.root} …, as the mirror was filled" in run(capsys, mirror)[2]


def test_bytes_of_an_earlier_upload_are_told_as_such(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    page, row = "https://upstream.test/whl/sympy/", mirror.read_files()[SYMPY.path]
    mirror.rewrite([replace(row, origin=f"https://upstream.test/{SYMPY.path}")])
    earlier = b"x" * len(SYMPY.body)
    uploads = (
        (hashlib.sha256(earlier).hexdigest(), datetime(2025, 4, 23, tzinfo=UTC)),
        (SYMPY.sha256, datetime(2025, 5, 14, tzinfo=UTC)),
    )
    with Catalogue.open(mirror.state / CATALOGUE_NAME) as catalogue:
        for sha256, day in uploads:
            path = f"/{SYMPY.path}"
            link = Link(filename=SYMPY.path.name, path=path, url=f"https://upstream.test{path}", sha256=sha256)
            fetched = Fetched(final_url=page, body_sha256="0" * 64, parser=1)
            catalogue.store_page(page, Page(kind=PageKind.FILES, links=(link,)), fetched, now=day)
    (mirror.root / SYMPY.path).write_bytes(earlier)
    code, out, _ = run(capsys, mirror)
    assert code == 4
    assert f"  found bytes are: what {page} published from 2025-04-23 to 2025-04-23" in out
    (bad,) = as_json(run(capsys, mirror, "--json")[1])["bad"]
    assert bad["facts"]["published by"] == f"{page} published from 2025-05-14 to 2025-05-14"
    assert len(bad["facts"]["uploaded again"]) == 2
    (mirror.root / SYMPY.path).write_bytes(earlier[1:])
    (bad,) = as_json(run(capsys, mirror, "--json")[1])["bad"]
    assert (bad["problem"], len(bad["facts"]["uploaded again"])) == ("size", 2)


@pytest.mark.parametrize("options", [["--from", "elsewhere"], ["--offline"], ["--watch", "3", "--older-than", "3"]])
def test_what_makes_no_sense_together_is_told(
    mirror: Mirror, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    code, out, _ = run(capsys, mirror, "--json", *options)
    assert code == 2
    assert as_json(out)["error"]["code"] == "contradiction"


def test_a_repair_offline_from_a_directory(mirror: Mirror, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / SYMPY.path.name).unlink()  # upstream has it no more
    other = tmp_path / "other"
    shutil.copytree(mirror.root, other)
    (mirror.root / SYMPY.path).write_bytes(SYMPY.body[:-1])
    code, out, _ = run(capsys, mirror, "--repair", "--offline")
    assert code == 4
    assert f"not repaired: {SYMPY.path}" in out
    code, out, _ = run(capsys, mirror, "--repair", "--offline", "--from", str(other))
    assert code == 0, out
    assert f"fetched again: {SYMPY.path}" in out
    assert (mirror.root / SYMPY.path).read_bytes() == SYMPY.body
