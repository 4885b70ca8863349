"""The same question put to us, to uv and to pip; each answers with the set of files, or None for "there is none"."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uv
from packaging.requirements import Requirement
from packaging.tags import Tag, parse_tag
from packaging.utils import canonicalize_name
from packaging.version import Version

from pytorch_offline.crawler.reader import IndexReader
from pytorch_offline.crawler.recognition import recognise_upstream
from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.selector.indexes.offers import IndexOffers
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.select import select
from pytorch_offline.wheels.backend import parse_backend
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytorch_offline.crawler.catalogue import Catalogue
    from pytorch_offline.net import Http
    from pytorch_offline.selector.model import Selection
    from pytorch_offline.target.model import Target

_REPORT_SINCE = Version("22.2")  # the first pip with --report


@dataclass(frozen=True, slots=True, order=True)
class Chosen:
    """One file of an answer: enough of its name to tell it from its siblings."""

    project: str
    version: str
    tags: tuple[str, ...]


Answer = frozenset[Chosen] | None


def chosen_of(filename: str) -> Chosen:
    """Read a wheel's name."""
    name = parse_wheel_name(filename)
    return Chosen(project=name.project, version=str(name.version), tags=_spelt(name.tags))


def _spelt(tags: frozenset[Tag]) -> tuple[str, ...]:
    return tuple(sorted(map(str, tags)))


def selected_by_us(
    target: Target,
    asked: Sequence[str],
    backend: str,
    *,
    upstream: str,
    http: Http,
    catalogue: Catalogue,
    scratch: Path,
) -> Selection | None:
    """Choose from a backend's pages of the upstream, and from nothing else; None if it cannot be done."""
    wanted = parse_backend(backend)
    request = Request(requirements=tuple(map(Requirement, asked)), backend=wanted)
    reader = IndexReader(http, catalogue)
    with IndexOffers(
        target,
        upstreams=[recognise_upstream(reader, upstream)],
        default_index=None,
        reader=reader,
        http=http,
        catalogue=catalogue,
        scratch=scratch,
        offline=False,
    ) as offers:
        try:
            return select(request, target, offers, [wanted])
        except UnsatisfiableError:
            return None


def answer_of(selection: Selection | None) -> Answer:
    """The files of a selection."""
    if selection is None:
        return None
    return frozenset(chosen_of(choice.candidate.file.link.filename) for choice in selection.choices)


def answered_by_uv(platform: str, python: str, asked: Sequence[str], *, index: str, scratch: Path) -> Answer:
    """Have uv install for a foreign platform into a directory, and read what it put there."""
    into = scratch / "site"
    command: list[str | Path] = [
        uv.find_uv_bin(),
        "pip",
        "install",
        "--no-config",
        "--target",
        into,
        "--cache-dir",
        scratch.parent / "uv-cache",
    ]
    command += ["--python-platform", platform, "--python-version", python, "--only-binary", ":all:"]
    command += ["--default-index", index, "--link-mode", "symlink", "--no-progress", "--color", "never", *asked]
    # uv takes the macOS version from here; the targets are described as macOS 14.
    environment = {"PATH": os.environ["PATH"], "HOME": str(scratch), "MACOSX_DEPLOYMENT_TARGET": "14.0"}
    done = run(command, environment)
    if done.returncode != 0:
        assert "No solution found" in done.stderr, done.stderr
        return None
    found = frozenset(_installed(directory) for directory in into.glob("*.dist-info"))
    shutil.rmtree(into, ignore_errors=True)
    return found


def _installed(dist_info: Path) -> Chosen:
    fields = [line.partition(": ") for line in (dist_info / "METADATA").read_text().partition("\n\n")[0].splitlines()]
    facts = {name: value for name, _, value in fields}
    wheel = (dist_info / "WHEEL").read_text().splitlines()
    tags = frozenset(tag for line in wheel if line.startswith("Tag: ") for tag in parse_tag(line.removeprefix("Tag: ")))
    return Chosen(project=canonicalize_name(facts["Name"]), version=str(Version(facts["Version"])), tags=_spelt(tags))


def answered_by_pip(python: Path, asked: Sequence[str], *, index: str, scratch: Path) -> Answer:
    """Have an interpreter's own pip resolve for itself."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment["PIP_CONFIG_FILE"] = os.devnull
    common = ["--isolated", "--index-url", index, "--no-cache-dir", "--disable-pip-version-check", "--no-color", "-q"]
    common += ["--only-binary", ":all:"]
    if pip_version(python) >= _REPORT_SINCE:
        report = scratch / "report.json"
        options = ["install", "--dry-run", "--ignore-installed", "--report", str(report)]
        if not _succeeded(run([python, "-m", "pip", *options, *common, *asked], environment)):
            return None
        urls = [item["download_info"]["url"] for item in json.loads(report.read_text())["install"]]
        return frozenset(chosen_of(url.rpartition("/")[2].replace("%2B", "+")) for url in urls)
    # Older pips have no report: what they download is what they resolved.
    wheelhouse = scratch / "wheelhouse"
    if not _succeeded(run([python, "-m", "pip", "download", "--dest", wheelhouse, *common, *asked], environment)):
        return None
    return frozenset(chosen_of(path.name) for path in wheelhouse.iterdir())


def _succeeded(done: subprocess.CompletedProcess[str]) -> bool:
    if done.returncode != 0:
        assert "No matching distribution" in done.stderr or "ResolutionImpossible" in done.stderr, done.stderr
    return done.returncode == 0


def pip_version(python: Path) -> Version:
    """The version of an interpreter's pip."""
    done = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, text=True, check=True)
    return Version(done.stdout.split()[1])


def run(command: Sequence[str | Path], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a peer."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
