from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.cli.main import main
from tests.crawler.site import Answer, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as running:
        running.project_list("/whl/", ["torch", "cpu", "gone"])
        running.files("/whl/torch/", ["/whl/cpu/torch-1%2Bcpu-py3-none-any.whl#sha256=" + "1" * 64])
        running.project_list("/whl/cpu/", ["torch"])
        running.files(
            "/whl/cpu/torch/", ["/whl/cpu/torch-1%2Bcpu-py3-none-any.whl#sha256=" + "1" * 64, "javascript:alert(1)"]
        )
        yield running


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTORCH_OFFLINE_MIRROR", str(tmp_path / "mirror"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["crawl", *arguments])
    said = capsys.readouterr()
    return int(str(caught.value.code or 0)), said.out, said.err


def document(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    exit_code, out, _ = run(capsys, *arguments, "--json")
    assert exit_code == code
    parsed: dict[str, Any] = json.loads(out)
    return parsed


def test_a_crawl_in_text(site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "--upstream", site.base)
    assert code == 0
    assert "4 new" in out
    assert "links: 2 listed, 2 new" in out
    assert "unsafe-href" in out
    assert "1 listed or requested page not there" in err
    assert "/whl/gone/" in err
    assert (tmp_path / "mirror" / ".state" / "catalogue.sqlite").exists()


def test_a_crawl_in_json(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    path = "/whl/cpu/torch-1+cpu-py3-none-any.whl"
    first = document(capsys, "--upstream", site.base)
    assert first["layout"] == "backends"
    assert (first["pages"]["new"], first["pages"]["failed"]) == (4, 0)
    assert {entry["path"] for entry in first["new"]} == {path}
    assert first["rejected"] == [
        {
            "page": f"{site.base}/cpu/torch/",
            "href": "javascript:alert(1)",
            "reason": "unsafe-href",
            "detail": first["rejected"][0]["detail"],
        }
    ]
    assert first["absent"] == [f"{site.base}/gone/"]
    site.files("/whl/cpu/torch/", ["/whl/cpu/torch-1%2Bcpu-py3-none-any.whl#sha256=" + "2" * 64])
    site.files("/whl/torch/", ["x-1-py3-none-any.whl"])
    second = document(capsys, "--upstream", site.base)
    assert (second["pages"]["changed"], second["pages"]["unchanged"]) == (2, 2)
    (change,) = second["changed"]
    assert (change["path"], change["before"], change["after"]) == (path, "1" * 64, "2" * 64)
    assert second["vanished"] == [{"path": path, "page": f"{site.base}/torch/"}]
    third = document(capsys, "--upstream", site.base)
    assert (third["pages"]["unchanged"], third["changed"], third["new"]) == (4, [], [])


def test_narrowed_to_a_project_and_a_backend(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    said = document(capsys, "--upstream", site.base, "--project", "Torch", "--backend", "cpu")
    assert sum(said["pages"].values()) == 1
    assert said["links"] == 1


def test_a_page_that_fails_is_told_and_the_rest_is_kept(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.answers["/whl/cpu/torch/"] = Answer(b"<html>Please log in</html>")
    said = document(capsys, "--upstream", site.base, code=3)
    assert said["pages"]["new"] == 3
    assert [(error["page"], error["code"]) for error in said["errors"]] == [
        (f"{site.base}/cpu/torch/", "not-an-index-page")
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (["--project", "nosuch"], 3, "nothing-there"),
        (["--project", "../etc"], 2, "bad-project-name"),
        (["--backend", "cu12x"], 2, "unknown-backend"),
        (["--channel", "nightly"], 3, "no-index-here"),
    ],
)
def test_what_cannot_be(
    site: Site, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, name: str
) -> None:
    said = document(capsys, "--upstream", site.base, *arguments, code=code)
    assert said["error"]["code"] == name


def test_nobody_answers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with Site() as gone:
        base = gone.base
    code, out, err = run(capsys, "--upstream", base)
    assert (code, out) == (3, "")
    assert "cannot be reached" in err
    assert "hint: is the network up" in err
    assert list(tmp_path.iterdir()) == []


def test_a_backend_of_an_index_without_any(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    said = document(capsys, "--upstream", site.base + "/cpu", "--backend", "cpu", code=2)
    assert said["error"]["code"] == "no-backends-here"


def test_a_damaged_catalogue_is_told(site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    state = tmp_path / "mirror" / ".state"
    state.mkdir(parents=True)
    (state / "catalogue.sqlite").write_bytes(b"rubbish" * 1000)
    said = document(capsys, "--upstream", site.base, code=4)
    assert said["error"]["code"] == "catalogue-damaged"
    assert (state / "catalogue.sqlite").read_bytes() == b"rubbish" * 1000
