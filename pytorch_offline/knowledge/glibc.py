"""Which C library and which default Python a distribution or container image has, found by its name.

The names are those of the table's first column, spelt leniently: ``ubuntu:22.04``, ``ubuntu22.04``, ``Ubuntu 22.04``,
``docker.io/library/ubuntu:22.04``; a minor release stands for its major (``rockylinux:8.9``) where the table has only
that.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.table import read_table

# /etc/os-release has names of its own for these (its ID field).
_OS_RELEASE_NAMES = {
    "rocky": "rockylinux",
    "ol": "oraclelinux",
    "amzn": "amazonlinux",
    "arch": "archlinux",
    "centos9": "centosstream9",
    "centos10": "centosstream10",
}
# Ubuntu's and Debian's releases are as well known by their names (wiki.ubuntu.com/Releases, wiki.debian.org).
_CODE_NAMES = {
    "bionic": "ubuntu:18.04",
    "focal": "ubuntu:20.04",
    "jammy": "ubuntu:22.04",
    "noble": "ubuntu:24.04",
    "buster": "debian:10",
    "bullseye": "debian:11",
    "bookworm": "debian:12",
    "trixie": "debian:13",
}
_REGISTRY = re.compile(r"^(?:[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::[0-9]+)?|localhost(?::[0-9]+)?)/|^library/")
_IMAGE_PYTHON = re.compile(r"python:(3\.[0-9]+(?:\.[0-9]+)?)\b")
_ALIAS = re.compile(r"(.*?) \((.*)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A distribution or family of container images.

    ``glibc`` and ``musl`` are (major, minor), one of them is ``None``; ``python`` is the default Python 3, e.g.
    ``3.10``, where there is exactly one. A row that is not ``certain`` does not stand for its minor releases.
    """

    name: str
    glibc: tuple[int, int] | None
    musl: tuple[int, int] | None
    python: str | None
    certain: bool

    @property
    def is_jetpack(self) -> bool:
        """Whether this is NVIDIA's system for Jetson, which is always aarch64."""
        return self.name.startswith("jetpack")


@cache
def read_distributions() -> tuple[Distribution, ...]:
    """Read the table of distributions."""
    return tuple(_distribution(row) for row in read_table("glibc"))


def _distribution(row: dict[str, str]) -> Distribution:
    glibc = re.fullmatch(r"([0-9]+)\.([0-9]+)", row["glibc"])
    musl = re.fullmatch(r"musllinux_([0-9]+)_([0-9]+)", row["highest_manylinux"])
    # "3.6 (3.8, 3.9 as modules)" has a default; "2.7 (…)", "none", "as tagged" and "3.13 or later" have none.
    python = re.fullmatch(r"(3\.[0-9]+)(?: \(.*\))?", row["default_python"])
    return Distribution(
        name=row["distribution"],
        glibc=(int(glibc[1]), int(glibc[2])) if glibc else None,
        musl=(int(musl[1]), int(musl[2])) if musl else None,
        python=python[1] if python else None,
        certain=not row["certainty"].startswith("low"),
    )


def _squashed(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.lower())


@cache
def _by_squashed_name() -> dict[str, Distribution]:
    known: dict[str, Distribution] = {}
    for row in read_distributions():
        if "*" in row.name:
            continue
        alias = _ALIAS.fullmatch(row.name)  # "jetpack:5 (L4T R35)" has two names
        for name in alias.groups() if alias else (row.name, row.name.removeprefix("opensuse/")):
            known[_squashed(name)] = row
            known.setdefault(_squashed(name).replace(".", ""), row)
    return known


def _look_up(plain: str) -> Distribution | None:
    """Look a distribution's name up: as it is, by its major release, then without its tag (``ubi9:9.4``)."""
    known = _by_squashed_name()
    key = _squashed(re.sub(r"(?<=[0-9])-[a-z-]+$", "", plain))  # "12-slim", "9-minimal"
    if (head := re.match(r"[a-z]+", key)) and head[0] in _OS_RELEASE_NAMES:
        key = _OS_RELEASE_NAMES[head[0]] + key[head.end() :]
    whole = key = _OS_RELEASE_NAMES.get(key, key)
    while key not in known and "." in key:
        key = key.rsplit(".", 1)[0]
        key = _OS_RELEASE_NAMES.get(key, key)
    found = known.get(key)
    if found is not None and (key == whole or found.certain):
        return found
    return known.get(_squashed(plain.partition(":")[0]))


def find_distribution(name: str) -> Distribution:
    """Find a distribution or container image by name; of an image tagged with a Python, ``python`` is that tag's.

    Raises:
        UsageError: ``unknown-preset`` if the table has none; with near names.
    """
    plain = re.sub(r"@sha256:[0-9a-f]+$", "", name.strip().lower())
    plain = _CODE_NAMES.get(re.sub(r"^(?:ubuntu|debian)[:/ -]?", "", plain), plain)
    while (shorter := _REGISTRY.sub("", plain)) != plain:
        plain = shorter
    for row in read_distributions():
        if "*" in row.name and fnmatchcase(plain, row.name):
            tagged = _IMAGE_PYTHON.match(plain)
            return replace(row, name=plain, python=tagged[1] if tagged else row.python)
    if found := _look_up(plain):
        return found
    names = {_squashed(row.name): row.name for row in read_distributions()}
    near = [names[item] for item in difflib.get_close_matches(_squashed(plain), names, n=5, cutoff=0.5)]
    if re.match(r"win|mac|osx|darwin", plain):
        hint = "presets are Linux distributions and images; say --platform win_amd64 or macosx_14_0_arm64"
        raise UsageError("unknown-preset", f"{name!r} is not a preset", hint=hint)
    raise UsageError(
        "unknown-preset",
        f"nothing is known of the C library of {name!r}",
        facts={"near names": ", ".join(near)} if near else {},
        hint="say it with --glibc, or run the file of `pytorch-offline detect --standalone` there "
        "(for an image: docker run --rm -i IMAGE python3 - < probe.py > target.json)",
    )
