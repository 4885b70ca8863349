"""What wheels say of themselves, read by ranges from a server that may do anything wrong."""

from __future__ import annotations

import re
import zipfile
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.crawler.model import IndexFile, Link
from pytorch_offline.net import Http, Timeouts
from pytorch_offline.selector.indexes import inspection as inspection_module
from pytorch_offline.selector.indexes.inspection import Inspector
from pytorch_offline.simulator.libraries import build_dll, build_elf
from pytorch_offline.wheels.filename import parse_wheel_name
from pytorch_offline.wheels.inspection import Inspection
from tests.loopback import Answer, Loopback, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

FILENAME = "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
ARCHITECTURES = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
LISTED = " ".join(ARCHITECTURES)
TRUE = Inspection(architectures=ARCHITECTURES, glibc=(2, 17))


def elf(need: str = "GLIBC_2.14", *texts: str) -> bytes:
    return build_elf("x86_64", needs=["GLIBC_2.2.5", need], texts=texts)


# As real wheels are: the bundled libgomp needs the most, and what is not loaded by `import torch` does not count.
LINUX = {
    "torch/lib/libc10.so": elf(),
    "torch/lib/libc10_cuda.so": elf(),
    "torch/lib/libtorch_python.so": elf("GLIBC_2.16", LISTED),
    "torch/lib/libtorch_cpu.so": elf("GLIBC_2.16"),
    "torch/lib/libgomp-a34b3233.so.1": elf("GLIBC_2.17"),
    "torch/lib/libnvrtc-builtins.so": elf("GLIBC_2.34"),
    "torch/version.py": b"cuda = '12.1'\n",
}
WINDOWS = {"torch/lib/c10_cuda.dll": build_dll([]), "torch/lib/torch_python.dll": build_dll(["sm_61", LISTED])}


def without(members: Mapping[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: body for name, body in members.items() if name not in names}


def archive(members: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED, zip64: bool = False) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as wheel:
        for name, body in members.items():
            with wheel.open(zipfile.ZipInfo(name), "w", force_zip64=zip64) as member:
                member.write(body)
    return file.getvalue()


class Ranges:
    """A server of one file that answers ranges; ``change`` may spoil what it answers."""

    def __init__(self, body: bytes, change: Callable[[Answer, int], Answer] = lambda answer, _: answer) -> None:
        self.body = body
        self.asked = 0
        self._change = change

    def __call__(self, request: Request) -> Answer:
        self.asked += 1
        wanted = re.fullmatch(r"bytes=(\d*)-(\d+)", request.headers.get("Range", ""))
        if wanted is None:
            return Answer(body=self.body)
        total = len(self.body)
        start = int(wanted[1]) if wanted[1] else max(0, total - int(wanted[2]))
        piece = self.body[start : int(wanted[2]) + 1 if wanted[1] else total]
        said = {"Content-Range": f"bytes {start}-{start + len(piece) - 1}/{total}", "ETag": '"one"'}
        return self._change(Answer(status=206, headers=said, body=piece), self.asked)


def file_at(url: str, filename: str = FILENAME, **facts: object) -> IndexFile:
    link = Link(filename=filename, url=f"{url}/whl/{filename}", path=f"/whl/{filename}", **facts)  # type: ignore[arg-type]
    return IndexFile(name=parse_wheel_name(filename), link=link, page_url=f"{url}/whl/torch/")


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "catalogue.sqlite") as opened:
        yield opened


@contextmanager
def inspector_for(catalogue: Catalogue, *, offline: bool = False) -> Iterator[Inspector]:
    with Http() as http:
        yield Inspector(http=http, catalogue=catalogue, offline=offline)


def inspect(catalogue: Catalogue, answer: Callable[[Request], Answer], filename: str = FILENAME) -> Inspection:
    with Loopback(answer) as server, inspector_for(catalogue) as inspector:
        return inspector.inspect(file_at(server.url, filename))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@pytest.mark.parametrize("zip64", [False, True])
def test_a_cuda_wheel_tells_both(catalogue: Catalogue, method: int, *, zip64: bool) -> None:
    assert inspect(catalogue, Ranges(archive(LINUX, method=method, zip64=zip64))) == TRUE


@pytest.mark.parametrize(
    ("filename", "members", "expected"),
    [
        (
            "torch-2.4.0+cu121-cp310-cp310-win_amd64.whl",
            WINDOWS,
            Inspection(architectures=ARCHITECTURES),
        ),
        (
            "torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl",
            without(LINUX, "torch/lib/libc10_cuda.so"),
            Inspection(architectures=(), glibc=(2, 17)),
        ),
        (
            "torch-2.4.0+rocm6.1-cp310-cp310-linux_x86_64.whl",
            {
                "torch/lib/libc10_hip.so": elf(),
                "torch/lib/libtorch_python.so": elf("GLIBC_2.17", "gfx942", "gfx90a", "gfx900 gfx90a gfx942"),
            },
            Inspection(architectures=("gfx900", "gfx90a", "gfx942"), glibc=(2, 17)),
        ),
        (
            "torchvision-0.19.0+cu121-cp310-cp310-linux_x86_64.whl",
            {"torchvision/_C.so": elf(), "torchvision.libs/libcudart.782fcab0.so.12": elf("GLIBC_2.17")},
            Inspection(glibc=(2, 17)),
        ),
        (
            "torch-2.7.0+cu126-cp310-cp310-manylinux_2_28_x86_64.whl",  # its tag is true: its glibc is not asked for
            without(LINUX, "torch/lib/libgomp-a34b3233.so.1"),
            Inspection(architectures=ARCHITECTURES),
        ),
        ("torchvision-0.22.0-cp310-cp310-manylinux_2_28_x86_64.whl", {"torchvision/_C.so": elf()}, Inspection()),
        ("torch-2.4.0-cp310-none-macosx_11_0_arm64.whl", {}, Inspection()),
        ("torch-2.4.0-py3-none-any.whl", {}, Inspection()),
    ],
)
def test_every_kind_of_wheel(
    catalogue: Catalogue, filename: str, members: Mapping[str, bytes], expected: Inspection
) -> None:
    server = Ranges(archive(members))
    assert inspect(catalogue, server, filename) == expected
    if expected == Inspection():
        assert server.asked == 0  # nothing to be learnt, nothing asked


def test_what_a_wheel_does_not_hold_is_told(catalogue: Catalogue) -> None:
    old = {**LINUX, "torch/lib/libtorch_python.so": elf("GLIBC_2.16")}
    found = inspect(catalogue, Ranges(archive(old)))
    assert (found.architectures, found.glibc) == (None, (2, 17))
    assert "no arch list" in (found.unread or "")
    before = {"torch/_C.cpython-36m-x86_64-linux-gnu.so": elf(), "torch/lib/libATen.so.1": elf()}
    found = inspect(catalogue, Ranges(archive(before)), "torch-0.4.0-cp36-cp36m-linux_x86_64.whl")
    assert (found.architectures, found.glibc) == (None, None)
    assert "no torch_python library" in (found.unread or "")
    found = inspect(catalogue, Ranges(archive(LINUX)), "torch-1.5.1+cu101-cp36-cp36m-linux_x86_64.whl")
    assert (found.architectures, found.glibc) == (None, (2, 17))
    assert "since 1.6.0" in (found.unread or "")


def test_what_was_learnt_is_kept(catalogue: Catalogue) -> None:
    server = Ranges(archive(LINUX))
    with Loopback(server) as loopback:
        file = file_at(loopback.url, sha256="a" * 64)
        with inspector_for(catalogue) as inspector:
            assert inspector.inspect(file) == TRUE
            asked = server.asked
            assert inspector.inspect(file) == TRUE
        with inspector_for(catalogue, offline=True) as inspector:
            assert inspector.inspect(file) == TRUE
            assert "catalogue" in (inspector.inspect(file_at(loopback.url, sha256="b" * 64)).unread or "")
        assert server.asked == asked


def test_only_beginnings_are_fetched(catalogue: Catalogue) -> None:
    noise = b"".join(number.to_bytes(4, "big") * 3 for number in range(0, 4_000_000, 7))
    large = {
        **LINUX,
        "torch/lib/libtorch_cpu.so": elf("GLIBC_2.16") + noise,
        "torch/lib/libtorch_python.so": elf("GLIBC_2.16", LISTED) + noise,
        "torch/lib/libtorch_cuda.so": noise,
    }
    sent = 0

    def count(answer: Answer, _: int) -> Answer:
        nonlocal sent
        sent += len(answer.body)
        return answer

    body = archive(large, method=zipfile.ZIP_STORED)
    assert inspect(catalogue, Ranges(body, count)) == TRUE
    assert sent < len(body) / 5


# Every way to go wrong.


def truncated(answer: Answer, asked: int) -> Answer:
    return Answer(status=206, headers=answer.headers, body=answer.body, reset_after=10) if asked > 1 else answer


def shifted(answer: Answer, asked: int) -> Answer:
    if asked == 1:
        return answer
    return Answer(status=206, headers={**answer.headers, "Content-Range": "bytes 7-8/9"}, body=answer.body)


def replaced(answer: Answer, asked: int) -> Answer:
    return Answer(status=206, headers={**answer.headers, "ETag": f'"{asked}"'}, body=answer.body)


def zeroed(answer: Answer, asked: int) -> Answer:
    return answer if asked == 1 else Answer(status=206, headers=answer.headers, body=bytes(len(answer.body)))


@pytest.mark.parametrize("change", [truncated, shifted, replaced, zeroed])
def test_a_server_that_answers_wrongly(catalogue: Catalogue, change: Callable[[Answer, int], Answer]) -> None:
    spread = {**LINUX, "torch/filling": bytes(300_000)}  # so that more than one answer is needed
    found = inspect(catalogue, Ranges(archive(spread, method=zipfile.ZIP_STORED), change))
    assert (found.architectures, found.glibc) == (None, None)
    assert found.unread


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=404),
        Answer(status=403, body=b"<html>log in</html>"),
        Answer(status=503),
        Answer(status=429, headers={"Retry-After": "3600"}),
        Answer(body=archive(LINUX)),
        Answer(body=b"PK" * 100_000),
        Answer(status=206, headers={"Content-Range": "bytes 0-9/10"}, body=b"no archive"),
        Answer(status=416),
        Answer(status=302, headers={"Location": "file:///etc/passwd"}),
        Answer(headers={"Content-Length": str(10**15)}, reset_after=0),
    ],
)
def test_a_server_that_does_not_answer_ranges(catalogue: Catalogue, answer: Answer) -> None:
    found = inspect(catalogue, lambda _: answer)
    assert found.unread
    assert (found.architectures, found.glibc) == (None, None)


def test_a_host_that_does_not_answer_is_asked_once(catalogue: Catalogue) -> None:
    with Loopback(lambda _: Answer(status=503)) as server, inspector_for(catalogue) as inspector:
        for python in ("cp39", "cp310", "cp311"):
            filename = f"torch-2.4.0+cu121-{python}-{python}-linux_x86_64.whl"
            assert "503" in (inspector.inspect(file_at(server.url, filename)).unread or "")
        assert len(server.requests) == 1


def test_a_missing_file_is_no_silent_host(catalogue: Catalogue) -> None:
    good = Ranges(archive(LINUX))

    def answer(request: Request) -> Answer:
        return Answer(status=404) if "cp39" in request.path else good(request)

    with Loopback(answer) as server, inspector_for(catalogue) as inspector:
        gone = inspector.inspect(file_at(server.url, "torch-2.4.0+cu121-cp39-cp39-linux_x86_64.whl"))
        assert "404" in (gone.unread or "")
        assert inspector.inspect(file_at(server.url)) == TRUE


def test_nobody_listens(catalogue: Catalogue) -> None:
    with inspector_for(catalogue) as inspector:
        assert inspector.inspect(file_at("http://127.0.0.1:9")).unread
        assert inspector.inspect(file_at("http://host.invalid:port")).unread


def test_a_stalled_server_is_let_be(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection_module, "HURRIED", Timeouts(connect=1, read=0.2, whole=1))
    stalled = Answer(status=206, headers={"Content-Length": "1000", "Content-Range": "bytes 0-999/1000"}, body=b"x")
    with Loopback(lambda _: stalled) as server, inspector_for(catalogue) as inspector:
        assert inspector.inspect(file_at(server.url)).unread
        assert inspector.inspect(file_at(server.url, FILENAME.replace("310", "311"))).unread
        assert len(server.requests) == 1


def test_nothing_of_a_failure_is_kept(catalogue: Catalogue) -> None:
    with Loopback(lambda _: Answer(status=503)) as server, inspector_for(catalogue) as inspector:
        file = file_at(server.url, sha256="a" * 64)
        assert inspector.inspect(file).unread
        assert catalogue.inspection(file.link) is None


@pytest.mark.parametrize("size", [10, 10**9])
def test_a_wheel_of_another_size_is_another_wheel(catalogue: Catalogue, size: int) -> None:
    with Loopback(Ranges(archive(LINUX))) as server, inspector_for(catalogue) as inspector:
        assert inspector.inspect(file_at(server.url, size=size)).unread


def test_damaged_members(catalogue: Catalogue) -> None:
    whole = archive(LINUX)
    at = whole.index(b"torch/lib/libtorch_python.so")
    for damaged in (
        whole[: at + 60] + b"\xff" * 40 + whole[at + 100 :],
        whole.replace(b"torch/lib/libtorch_python.so", b"torch/lib/libtorch_pythen.so", 1),
        whole[:-1],
        b"",
    ):
        assert inspect(catalogue, Ranges(damaged)).unread
