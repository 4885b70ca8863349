"""Files that nobody would write but by mischance or malice: a clear error soon, with the place, and nothing else."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement

from pytorch_offline.errors import UnsatisfiableError, UsageError
from pytorch_offline.selector.asking.locks import locked_wheels, parse_lock
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.resolving import search
from pytorch_offline.selector.select import select
from pytorch_offline.wheels.backend import parse_backend
from tests.selector.asking import ask
from tests.selector.machines import machine
from tests.selector.memory import MemoryIndex

NESTED = "(" * 900 + "os_name == 'posix'" + ")" * 900
WHEEL = "http://host/torch-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param(f"torch ; {NESTED}", "bad-requirement", id="a marker without end"),
        pytest.param(f"{WHEEL} ; {NESTED}", "bad-requirement", id="the same behind an address"),
        pytest.param("torch>=" + "9" * 5000, "bad-requirement", id="a number of too many digits"),
        pytest.param("torch" + ",!=1.0" * 2000, "bad-requirement", id="a specifier without end"),
        pytest.param("${A}" * 100_000, "bad-requirements-file", id="variables without end"),
        pytest.param("--hash '" + "a" * 1_000_000, "bad-requirements-file", id="an option without end"),
        pytest.param("--index-url http://user:geheim@[x]/simple", "bad-url", id="an index's address"),
        pytest.param("--find-links http://user:geheim@[x]/simple", "bad-url", id="an address of links"),
    ],
)
def test_a_line_is_refused_in_few_words_with_its_place(text: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        ask({"r.txt": f"numpy\n{text}"}, environment={"A": "secret " * 1000})
    assert caught.value.code == code
    assert caught.value.message.startswith("r.txt, line 2")
    assert len(caught.value.message) < 4500
    assert "geheim" not in caught.value.message


def test_much_white_space_before_a_comment_is_read_soon() -> None:
    # A pattern that tried every blank as the first one would take hours.
    asked = ask({"r.txt": "torch" + " " * 500_000 + "# comment\nnumpy" + " \t" * 200_000})
    assert [str(one.requirement) for one in asked.asks] == ["torch", "numpy"]


def test_files_that_include_each_other_without_end_are_told() -> None:
    deep: dict[str, str | bytes] = {f"{n}.txt": f"-r {n + 1}.txt" for n in range(50)}
    with pytest.raises(UsageError, match="in a row"):
        ask(deep, r=("0.txt",))
    wide: dict[str, str | bytes] = {f"{n}.txt": f"-r {n + 1}.txt\n" * 8 for n in range(8)}
    wide["8.txt"] = "torch"
    with pytest.raises(UsageError, match="more than 1000 files"):
        ask(wide, r=("0.txt",))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a = " + "[" * 10_000, id="nested"),
        pytest.param("size = 1" + "0" * 10_000, id="a number of too many digits"),
        pytest.param("requires-python = '>=" + "9" * 5000 + "'", id="the same in a specifier"),
        pytest.param(f"SIZE = -1\nurl = '{WHEEL}'", id="a size below nothing"),
        pytest.param(f"SIZE = 1{'0' * 30}\nurl = '{WHEEL}'", id="a size above all disks"),
        pytest.param(f"HASH = '../../x'\nurl = '{WHEEL}'", id="a hash that is none"),
    ],
)
def test_a_lock_is_refused(text: str) -> None:
    body = 'lock-version = "1.0"\ncreated-by = "x"\n' + text + "\n"
    if "url" in text:
        size = re.search(r"SIZE = (\S+)", text)
        digest = "'../../x'" if "HASH" in text else f"'{'a' * 64}'"
        wheel = f"{{url = '{WHEEL}', size = {size[1] if size else 1}, hashes = {{sha256 = {digest}}}}}"
        body = body.split("SIZE")[0].split("HASH")[0] + f"packages = [{{name = 'torch', wheels = [{wheel}]}}]\n"
    elif "requires" in text:
        body += "packages = []\n"
    with pytest.raises(UsageError) as caught:
        locked_wheels(parse_lock(body.encode(), "pylock.toml"), machine())
    assert caught.value.code in {"bad-lock", "bad-hash"}
    assert caught.value.message.startswith("pylock.toml")


def test_a_contradiction_that_hides_well_ends_after_a_counted_number_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_ROUNDS", 600)
    index = MemoryIndex()
    pigeons, holes = 7, 6
    for pigeon in range(pigeons):
        for hole in range(1, holes + 1):
            index.add(f"p{pigeon}-{hole}-py3-none-any.whl", [f"h{hole}=={pigeon}"], default_index=True)
            index.add(f"h{hole}-{pigeon}-py3-none-any.whl", default_index=True)
    target = machine()
    offers = index.offers_for(target)
    request = Request(requirements=tuple(Requirement(f"p{pigeon}") for pigeon in range(pigeons)))
    with pytest.raises(UnsatisfiableError) as caught:
        select(request, target, offers, [parse_backend("cpu"), parse_backend("cu126")])
    assert caught.value.code == "too-deep"
