"""What is measured by ``download.py``: our downloader and those that people use, as command lines."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Files to be brought: what each is called, where it is and its sha256; ``certificate`` is who to trust."""

    base: str
    files: Mapping[str, str]
    certificate: Path

    @property
    def urls(self) -> list[str]:
        """Spell the addresses."""
        return [f"{self.base}/{name}" for name in self.files]


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloader:
    """One way to bring files.

    Args:
        name: for the table.
        commands: what to run, one after the other, in an empty directory.
        files: what to write into the directory before.
        one_by_one: whether it never has more than one connection, and so takes as long as the line lets one.
        measures_itself: whether the first command prints its own seconds, CPU seconds and peak.
        everywhere: whether it is measured on every line, or where nothing limits the line alone.
    """

    name: str
    commands: Sequence[Sequence[str]]
    files: Mapping[str, str] = field(default_factory=dict)
    one_by_one: bool = False
    measures_itself: bool = False
    everywhere: bool = True


PYTHON = f"3.{sys.version_info.minor}"
OURS = "pytorch-offline"
COMMAND = "`pytorch-offline fetch`, all of it"
CURL = "curl; sha256sum"
ARIA = "aria2c -x16; sha256sum"
ARIA_SPLIT = "aria2c -x16 -s16 -k1M; sha256sum"
PIP = "pip download"


def downloaders(task: Task) -> Iterator[Downloader]:
    """Give all of them, whether they are installed or not."""
    sums = "".join(f"{sha256}  {name}\n" for name, sha256 in task.files.items())
    check = ["sha256sum", "--check", "--quiet", "SUMS"]
    listed = {"SUMS": sums, "URLS": "".join(f"{url}\n" for url in task.urls)}
    curl = ["curl", "--silent", "--show-error", "--fail", "--cacert", str(task.certificate), "--remote-name-all"]
    yield Downloader(name=CURL, commands=[[*curl, *task.urls], check], files=listed, everywhere=False)
    yield Downloader(
        name="curl; sync; sha256sum",
        commands=[[*curl, *task.urls], ["sync", *task.files], check],
        files=listed,
        everywhere=False,
    )
    if len(task.files) > 1:
        yield Downloader(
            name="curl --parallel; sha256sum", commands=[[*curl, "--parallel", *task.urls], check], files=listed
        )
    yield Downloader(
        name="wget; sha256sum",
        commands=[["wget", "--quiet", "--ca-certificate", str(task.certificate), "--input-file", "URLS"], check],
        files=listed,
        everywhere=False,
    )
    aria = ["aria2c", "--no-conf", "--quiet", "--ca-certificate", str(task.certificate), "-x16"]
    split = ["-s16", "-k1M"]
    yield Downloader(name=ARIA, commands=[[*aria, "--input-file", "URLS"], check], files=listed)
    yield Downloader(name=ARIA_SPLIT, commands=[[*aria, *split, "--input-file", "URLS"], check], files=listed)
    checked = "".join(
        f"{url}\n checksum=sha-256={sha256}\n" for url, sha256 in zip(task.urls, task.files.values(), strict=True)
    )
    yield Downloader(
        name="aria2c -x16, its own checksum",
        commands=[[*aria, "--input-file", "URLS"]],
        files={"URLS": checked},
        everywhere=False,
    )
    yield Downloader(name=PIP, commands=[_pip(task)], files={"requirements.txt": _requirements(task)}, one_by_one=True)
    plan = json.dumps(list(zip(task.urls, task.files.values(), strict=True)))
    ours = [sys.executable, "-m", "benchmarks.fetching", "PLAN", "mirror"]
    yield Downloader(name=OURS, commands=[ours], files={"PLAN": plan}, measures_itself=True)
    yield Downloader(
        name=f"{OURS}, without syncing",
        commands=[[*ours, "--without-sync"]],
        files={"PLAN": plan},
        measures_itself=True,
        everywhere=False,
    )
    yield Downloader(
        name=COMMAND,
        commands=[_whole(task)],
        files={"requirements.txt": _requirements(task)},
        everywhere=len(task.files) > 1,
    )


def is_missing(downloader: Downloader) -> str | None:
    """Name the program that a downloader lacks, if it lacks one."""
    for command in downloader.commands:
        program = command[0]
        if shutil.which(program) is None:
            return program
        if "pip" in command and importlib.util.find_spec("pip") is None:
            return "pip"
    return None


def _requirements(task: Task) -> str:
    lines = (
        f"{name.split('-')[0]} @ {url}#sha256={sha256}"
        for (name, sha256), url in zip(task.files.items(), task.urls, strict=True)
    )
    return "\n".join(lines)


def _pip(task: Task) -> list[str]:
    return [
        *(sys.executable, "-m", "pip", "download", "--isolated", "--no-deps", "--no-index", "--no-cache-dir"),
        *("--disable-pip-version-check", "--quiet", "--cert", str(task.certificate), "-r", "requirements.txt"),
    ]


def _whole(task: Task) -> list[str]:
    # An index must be there, but every requirement has its address.
    nowhere = f"{task.base}/whl"
    return [
        *(sys.executable, "-m", "pytorch_offline", "fetch", "--quiet", "--no-deps", "--mirror", "mirror"),
        *(
            "--upstream",
            nowhere,
            "--default-index",
            nowhere,
            "--accelerator",
            "none",
            "--python-version",
            PYTHON,
            "--platform",
            "manylinux_2_28_x86_64",
            "-r",
            "requirements.txt",
        ),
    ]
