"""From requirements files and addresses as people have them to the right wheels, against the faithful upstream."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec
from tests.cli.in_process import LINUX, Tool

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD = (*LINUX[:-1], "450.80.02")
BARE = LINUX[:-2]
CU121 = "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
CU118 = "torch-2.4.0+cu118-cp310-cp310-linux_x86_64.whl"
CU124 = "torch-2.5.0+cu124-cp310-cp310-linux_x86_64.whl"
FILELOCK = "filelock-3.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def spec() -> Spec:
    spec = Spec()
    for directory, name in (("cu118", CU118), ("cu121", CU121), ("cu124", CU124)):
        spec.add_wheel(directory, name, requires=["filelock"])
    spec.add_wheel("cu121", "torchvision-0.19.0+cu121-cp310-cp310-linux_x86_64.whl", requires=["torch==2.4.0"])
    spec.add_wheel("nightly/cu124", "torch-2.6.0.dev20241001+cu124-cp310-cp310-linux_x86_64.whl", requires=[])
    # An old directory, whose pages publish no hashes.
    spec.add_wheel("cu102", "torch-1.9.0-cp310-cp310-linux_x86_64.whl", requires=[], hash_listed=False)
    spec.add_default(FILELOCK)
    spec.add_default("company-1.0-py3-none-any.whl")
    return spec


@pytest.fixture(scope="module")
def upstream(spec: Spec) -> Iterator[Simulator]:
    with Simulator(spec) as simulator:
        yield simulator


def sha256(spec: Spec, filename: str) -> str:
    offer = next(one for one in spec.offers() if one.filename == filename)
    body = spec.body(offer)
    return hashlib.sha256(body.read(0, body.size)).hexdigest()


def names(document: Any) -> list[str]:  # noqa: ANN401  (JSON)
    return sorted(file["filename"] for file in document["files"])


def default(upstream: Simulator) -> tuple[str, str]:
    return ("--default-index", upstream.default_index_url)


def test_an_extra_index_of_a_backend_forces_it(upstream: Simulator, tool: Tool) -> None:
    text = f"--extra-index-url {upstream.url}/cu121\ntorch\n"
    assert names(tool.select(text, *default(upstream))) == [FILELOCK, CU121]
    # Forced, as --backend would: a target that cannot run it is warned of.
    out, err = tool.run("select", "-r", "r.txt", *OLD, *default(upstream))
    assert CU121 in out
    assert "will not run there" in err


def test_the_index_and_nothing_else(upstream: Simulator, tool: Tool) -> None:
    """With --index-url alone the default index is not read; upstream's own pages list what torch needs."""
    assert names(tool.select(f"-i {upstream.url}/cu121/\ntorch\n")) == [FILELOCK, CU121]
    failed = tool.select(f"-i {upstream.url}/cu121/\ncompany\n", expect=5)
    assert failed["error"]["code"] == "project-not-found"
    text = f"-i {upstream.url}/cu121/\n--extra-index-url {upstream.default_index_url}\ntorch\n"
    assert names(tool.select(text)) == [FILELOCK, CU121]


def test_nightly_by_its_index(upstream: Simulator, tool: Tool) -> None:
    text = f"--pre\n-i {upstream.url}/nightly/cu124\ntorch\n"
    assert names(tool.select(text)) == ["torch-2.6.0.dev20241001+cu124-cp310-cp310-linux_x86_64.whl"]


def test_two_backends_contradict_each_other_by_their_lines(upstream: Simulator, tool: Tool) -> None:
    text = f"--extra-index-url {upstream.url}/cu121\ntorch\n--extra-index-url {upstream.url}/cu118\n"
    error = tool.select(text, expect=2)["error"]
    assert error["code"] == "contradiction"
    places = [fact.partition(":")[0] for fact in error["facts"].values()]
    assert places == ["r.txt, line 1", "r.txt, line 3"]


def test_a_file_with_pytorchs_addresses_works_behind_a_mirror(upstream: Simulator, spec: Spec, tool: Tool) -> None:
    wheel = CU121.replace("+", "%2B")
    behind = ("--upstream", upstream.url, *default(upstream))
    index = "--extra-index-url https://download.pytorch.org/whl/cu121\ntorch\n"
    assert names(tool.select(index, *behind)) == [FILELOCK, CU121]
    document = tool.select(f"torch @ https://download.pytorch.org/whl/cu121/{wheel}\n", *behind)
    assert names(document) == [FILELOCK, CU121]
    torch = next(file for file in document["files"] if file["project"] == "torch")
    assert torch["url"] == f"{upstream.url}/cu121/{wheel}"
    assert torch["sha256"] == sha256(spec, CU121)


def test_find_links_to_a_flat_page_of_upstream(upstream: Simulator, tool: Tool) -> None:
    text = f"-f {upstream.url}/cu118/torch_stable.html\ntorch\n"
    assert names(tool.select(text, *default(upstream))) == [FILELOCK, CU118]
    text = f"-f {upstream.url}/torch_stable.html\ntorch==2.4.0+cu121\n"
    assert names(tool.select(text, *default(upstream))) == [FILELOCK, CU121]


def test_a_directory_of_wheels_serves_without_any_index(upstream: Simulator, spec: Spec, tool: Tool) -> None:
    wheels = tool.directory / "wheels"
    wheels.mkdir()
    for offer in spec.offers():
        if offer.filename in {CU121, FILELOCK}:
            body = spec.body(offer)
            (wheels / offer.filename).write_bytes(body.read(0, body.size))
    (tool.directory / "r.txt").write_text("--no-index\n--find-links wheels\ntorch\n")
    upstream.requests.clear()
    fetched = tool.json("fetch", "-r", "r.txt", *LINUX)
    assert names(fetched) == [FILELOCK, CU121]
    assert not list(upstream.requests)
    tool.run("verify", "--deep")


def test_the_best_version_of_all_indexes_is_taken(upstream: Simulator, tool: Tool) -> None:
    other = Spec()
    other.add_default("filelock-4.0-py3-none-any.whl")
    with Simulator(other) as company:
        text = f"--extra-index-url {company.default_index_url}\nfilelock\ncompany\n"
        document = tool.select(text, "--upstream", upstream.url, *default(upstream))
    assert names(document) == ["company-1.0-py3-none-any.whl", "filelock-4.0-py3-none-any.whl"]


@pytest.mark.parametrize(
    "form", ["torch @ {url}", "{url}", "torch @ {url}#sha256={digest}", "torch @ {url} ; os_name == 'posix'"]
)
def test_one_exact_wheel_by_its_address(upstream: Simulator, spec: Spec, tool: Tool, form: str) -> None:
    digest = sha256(spec, CU118)
    text = form.format(url=f"{upstream.url}/cu118/{CU118.replace('+', '%2B')}", digest=digest)
    document = tool.select(text, "--upstream", upstream.url, *default(upstream))
    assert names(document) == [FILELOCK, CU118]
    torch = next(file for file in document["files"] if file["project"] == "torch")
    assert (torch["backend"], torch["sha256"], torch["path"]) == ("cu118", digest, f"whl/cu118/{CU118}")


def test_exact_wheels_on_the_command_line(upstream: Simulator, spec: Spec, tool: Tool) -> None:
    offer = next(one for one in spec.offers() if one.filename == FILELOCK)
    body = spec.body(offer)
    (tool.directory / FILELOCK).write_bytes(body.read(0, body.size))
    url = f"{upstream.url}/cu121/{CU121}"
    indexes = ("--upstream", upstream.url, "--no-default-index")
    fetched = tool.json("fetch", url, f"./{FILELOCK}", *LINUX, *indexes)
    assert names(fetched) == [FILELOCK, CU121]
    tool.run("verify", "--deep")


@pytest.mark.parametrize(
    ("target", "reason"),
    [(("--python-version", "3.11", *LINUX[2:]), "wheel-tags"), (OLD, "525.60.13"), (LINUX, "hash")],
    ids=["python", "driver", "hash"],
)
def test_an_exact_wheel_that_does_not_fit_says_the_rule(
    upstream: Simulator, tool: Tool, target: tuple[str, ...], reason: str
) -> None:
    wrong = f"#sha256={'0' * 64}" if reason == "hash" else ""
    text = f"torch @ {upstream.url}/cu121/{CU121.replace('+', '%2B')}{wrong}"
    error = tool.select(text, "--upstream", upstream.url, *default(upstream), expect=5, target=target)["error"]
    assert reason in json.dumps(error)


def test_a_label_asks_for_its_backend(upstream: Simulator, tool: Tool) -> None:
    indexes = ("--upstream", upstream.url, *default(upstream))
    for spelling in ("==", "==="):
        assert CU121 in names(tool.select(f"torch{spelling}2.4.0+cu121", *indexes))
    assert CU121 in names(tool.select("torch==2.4.0", *indexes))
    # Nothing is known of a GPU: the label is all that is known, and it is believed.
    assert CU121 in names(tool.select("torch==2.4.0+cu121", *indexes, target=BARE))
    error = tool.select("torch==2.4.0+cu121", *indexes, target=OLD, expect=5)["error"]
    assert error["code"] == "no-backend"
    assert "525.60.13" in json.dumps(error["facts"])
    error = tool.select("torch==2.4.0+cu121\ntorchvision==0.19.0+cu118", *indexes, expect=5)["error"]
    assert error["code"] == "conflict"


def test_hashes_admit_one_file_and_all_must_have_them(upstream: Simulator, spec: Spec, tool: Tool) -> None:
    indexes = ("--upstream", upstream.url, *default(upstream))
    torch = f"torch==2.4.0 --hash=sha256:{sha256(spec, CU118)} --hash=sha256:{'0' * 64}\n"
    error = tool.select(torch, *indexes, expect=5)["error"]
    assert error["code"] == "hash-missing"
    assert f"filelock==3.0 --hash=sha256:{sha256(spec, FILELOCK)}" in error["facts"]["filelock"]
    whole = f"{torch}filelock==3.0 --hash=sha256:{sha256(spec, FILELOCK)}\n"
    document = tool.select(whole, *indexes)
    assert names(document) == [FILELOCK, CU118]
    assert {one["reason"] for one in document["rejected"] if one["filename"] == CU121} <= {"hash", "backend"}
    unpinned = whole.replace("filelock==3.0", "filelock>=3")
    assert tool.select(unpinned, *indexes, expect=5)["error"]["code"] == "hash-missing"
    assert names(tool.select(f"--no-require-hashes\n{torch}", *indexes)) == [FILELOCK, CU118]
    wrong = whole.replace(sha256(spec, FILELOCK), "1" * 64)
    assert "hash" in json.dumps(tool.select(wrong, *indexes, expect=5)["error"]["facts"])


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_a_hash_that_no_page_publishes_is_compared_when_the_file_is_here(
    upstream: Simulator, spec: Spec, tool: Tool, wrong: int
) -> None:
    name = "torch-1.9.0-cp310-cp310-linux_x86_64.whl"
    others = [f"--hash=sha256:{str(digit) * 64}" for digit in range(max(wrong, 1))]
    right = [] if wrong else [f"--hash=sha256:{sha256(spec, name)}"]
    (tool.directory / "r.txt").write_text(f"torch==1.9.0 {' '.join([*others, *right])}\n")
    tool.run(
        "fetch", "-r", "r.txt", *LINUX, "--backend", "cu102", "--upstream", upstream.url, *default(upstream),
        expect=4 if wrong else 0,
    )  # fmt: skip
    assert (tool.directory / "cache" / "whl" / "cu102" / name).exists() is (wrong == 0)


def test_secrets_of_addresses_stay_out_of_everything(upstream: Simulator, tool: Tool) -> None:
    secret = "geheim"  # noqa: S105  (what must not be seen)
    index = upstream.default_index_url.replace("://", f"://me:{secret}@")
    torch = f"{upstream.url}/cu121".replace("://", f"://me:{secret}@")
    (tool.directory / "r.txt").write_text(f"-i {index}\n--extra-index-url {torch}\ntorch\n")
    for command in ("select", "fetch"):
        assert secret not in "".join(tool.run(command, "-r", "r.txt", *LINUX, "--json", "-v"))
    tool.run("select", "-r", "r.txt", *LINUX, "-o", "pylock.toml")
    tool.run("select", "-r", "r.txt", *LINUX, "--why", "torch")
    (tool.directory / "r.txt").unlink()
    for path in tool.directory.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_the_cpus_build_may_be_asked_for_on_a_machine_with_a_gpu(tool: Tool) -> None:
    spec = Spec()
    spec.add_wheel("cpu", "torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl", requires=[])
    spec.add_wheel("cu121", CU121, requires=[])
    with Simulator(spec) as simulator:
        document = tool.select("torch==2.4.0+cpu", "--upstream", simulator.url, "--no-default-index")
    assert names(document) == ["torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl"]


def test_a_hash_may_mean_the_default_indexs_own_torch(tool: Tool) -> None:
    name = "torch-2.4.0-cp310-cp310-manylinux1_x86_64.whl"
    spec = Spec()
    spec.add_wheel("cu121", CU121, requires=[])
    spec.add_default(name)
    with Simulator(spec) as simulator:
        indexes = ("--upstream", simulator.url, *default(simulator))
        document = tool.select(f"torch==2.4.0 --hash=sha256:{sha256(spec, name)}", *indexes)
        assert names(document) == [name]
        assert names(tool.select("torch==2.4.0", *indexes)) == [CU121]


def test_wheels_beside_the_indexes_compete_with_them(tool: Tool, upstream: Simulator) -> None:
    own = Spec()
    own.add_default("filelock-2.0-py3-none-any.whl")
    own.add_default("filelock-9.0+own-py3-none-any.whl")
    (tool.directory / "wheels").mkdir()
    for offer in own.offers():
        body = own.body(offer)
        (tool.directory / "wheels" / offer.filename).write_bytes(body.read(0, body.size))
    indexes = ("--upstream", upstream.url, *default(upstream))
    assert names(tool.select("-f wheels\nfilelock", *indexes)) == ["filelock-9.0+own-py3-none-any.whl"]
    assert names(tool.select("-f wheels\nfilelock<9", *indexes)) == [FILELOCK]
    (listed,) = tool.select("filelock", *indexes)["files"]
    document = tool.json("fetch", listed["url"], *LINUX, *indexes)
    assert [(one["source"], one["hash_origin"]) for one in document["files"]] == [("direct", "computed")]


def test_a_file_behind_an_address(tool: Tool, upstream: Simulator) -> None:
    (tool.directory / "r.txt").write_text("-c c.txt\nfilelock\n")
    (tool.directory / "c.txt").write_text("filelock<2\n")
    indexes = ("--upstream", upstream.url, *default(upstream))
    for location in ("r.txt", (tool.directory / "r.txt").as_uri()):
        error = tool.json("select", "-r", location, *LINUX, *indexes, expect=5)["error"]
        assert "filelock<2" in json.dumps(error)
    error = tool.json("select", "-r", f"{upstream.url}/absent.txt", *LINUX, *indexes, expect=3)["error"]
    assert error["code"] == "unexpected-status"
