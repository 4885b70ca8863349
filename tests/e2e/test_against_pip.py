"""What we choose for an interpreter is what that interpreter's own pip resolves from the same upstream."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from pytorch_offline.crawler.catalogue import Catalogue
from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.crawler.upstream import recognise_upstream
from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.net import Http
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.offers import IndexOffers
from pytorch_offline.selector.select import select
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.target.capture import this_machine
from pytorch_offline.wheels.backend import parse_backend
from tests.interpreters import MINORS, interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

# The backend whose page pip is pointed at, and what is asked of it.
ASKED = [
    ("cpu", "torch"),
    ("cpu", "torch torchvision"),
    ("cpu", "torch<2.1"),
    ("cpu", "torch==2.4.*"),
    ("cpu", "torchvision<0.19"),
    ("cpu", "numpy sympy"),
    ("cu118", "torch"),
    ("cu118", "torch torchvision torchaudio"),
    ("cu121", "torch==2.4.0"),
    ("cu121", "torch>=2.1,<2.4 torchvision"),
    ("cu126", "torch"),
    ("cu128", "torch==2.9.1"),
    ("cu130", "torch"),
    ("rocm6.4", "torch"),
]
_REPORT_SINCE = Version("22.2")  # the first pip with --report


@pytest.fixture(scope="module")
def upstream() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def http() -> Iterator[Http]:
    with Http() as client:
        yield client


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize(("backend", "asked"), ASKED, ids=lambda value: value.replace(" ", "_"))
def test_same_files_as_pip(
    upstream: Simulator, http: Http, tmp_path: Path, *, minor: str, backend: str, asked: str
) -> None:
    python = interpreter(minor)
    theirs = resolved_by_pip(python, f"{upstream.url}/{backend}", asked.split(), tmp_path)
    ours = resolved_by_us(python, upstream, http, backend=backend, asked=asked.split(), scratch=tmp_path)
    assert ours == theirs


def resolved_by_us(
    python: Path, upstream: Simulator, http: Http, *, backend: str, asked: list[str], scratch: Path
) -> set[str] | None:
    target = this_machine(python)
    wanted = parse_backend(backend)
    request = Request(requirements=tuple(map(Requirement, asked)), backend=wanted)
    with Catalogue.open(scratch / "catalogue.sqlite") as catalogue:
        reader = IndexReader(http, catalogue)
        with IndexOffers(
            target,
            upstreams=[recognise_upstream(reader, upstream.url)],
            default_index=None,
            reader=reader,
            http=http,
            catalogue=catalogue,
            scratch=scratch,
            offline=False,
        ) as offers:
            try:
                selection = select(request, target, offers, [wanted])
            except UnsatisfiableError:
                return None
    return {choice.candidate.file.link.filename for choice in selection.choices}


def resolved_by_pip(python: Path, index: str, asked: list[str], scratch: Path) -> set[str] | None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment["PIP_CONFIG_FILE"] = os.devnull
    common = ["--isolated", "--index-url", index, "--no-cache-dir", "--disable-pip-version-check", "--no-color", "-q"]
    if pip_version(python) >= _REPORT_SINCE:
        report = scratch / "report.json"
        options = ["install", "--dry-run", "--ignore-installed", "--report", str(report), "--only-binary", ":all:"]
        done = run([python, "-m", "pip", *options, *common, *asked], environment)
        if done.returncode != 0:
            assert "No matching distribution" in done.stderr or "ResolutionImpossible" in done.stderr, done.stderr
            return None
        urls = [item["download_info"]["url"] for item in json.loads(report.read_text())["install"]]
        return {url.rpartition("/")[2].replace("%2B", "+") for url in urls}
    # Older pips have no report: what they download is what they resolved.
    wheelhouse = scratch / "wheelhouse"
    options = ["download", "--dest", str(wheelhouse), "--only-binary", ":all:"]
    done = run([python, "-m", "pip", *options, *common, *asked], environment)
    if done.returncode != 0:
        assert "No matching distribution" in done.stderr or "ResolutionImpossible" in done.stderr, done.stderr
        return None
    return {path.name for path in wheelhouse.iterdir()}


def pip_version(python: Path) -> Version:
    done = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, text=True, check=True)
    return Version(done.stdout.split()[1])


def run(command: list[str | Path], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
