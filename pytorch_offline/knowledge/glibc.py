"""Which C library and which default Python a distribution or container image has, found by its name.

The names are those of the table's first column, spelt leniently (``knowledge.distribution_names``): ``ubuntu:22.04``,
``ubuntu22.04``, ``Ubuntu 22.04.3 LTS``, ``docker.io/library/ubuntu:22.04``; a minor release stands for its major
(``rockylinux:8.9``) where the table has only that. An image that the table does not have is taken for what its own tag
says that it is built on (``rocm/pytorch:rocm6.2_ubuntu22.04_py3.10``).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache

from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.distribution_names import (
    architecture_of,
    image_names,
    lookup_keys,
    names_in_tag,
    plain_name,
    python_of,
    squashed,
)
from pytorch_offline.knowledge.table import read_table

_ALIAS = re.compile(r"(.*?) \((.*)\)")
# The official Python images name their Debian, or are made of whichever was current when they were built.
_PYTHON_WITHOUT_SUITE = re.compile(r"python:3(?:\.[0-9]+)*(?:-slim)?|python:(?:latest|slim)|python")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A distribution or family of container images.

    ``glibc`` and ``musl`` are (major, minor), one of them is ``None``; ``python`` is the default Python 3, e.g.
    ``3.10``, where there is exactly one. ``at_least``: it has this C library or a later one, whatever its tag.
    ``arch`` is as tags spell it, where the name fixes it. A row that is not ``certain`` does not stand for its minor
    releases.
    """

    name: str
    glibc: tuple[int, int] | None
    musl: tuple[int, int] | None
    python: str | None
    certain: bool
    at_least: bool = False
    arch: str | None = None

    @property
    def is_jetpack(self) -> bool:
        """Whether this is NVIDIA's system for Jetson, which is always aarch64."""
        return self.l4t is not None

    @property
    def l4t(self) -> str | None:
        """The major release of Jetson's Linux for Tegra that this is, e.g. ``35``; ``None`` if it is none."""
        found = re.search(r"\(L4T R([0-9]+)\)", self.name)
        return found[1] if found else None


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
        certain=row["certainty"].split()[0] != "low",
        at_least=row["certainty"] == "lower bound",
    )


@cache
def _by_key() -> dict[str, Distribution]:
    known: dict[str, Distribution] = {}
    for row in read_distributions():
        if "*" in row.name.removesuffix(":*"):
            continue
        alias = _ALIAS.fullmatch(row.name)  # "jetpack:5 (L4T R35)" has two names
        for name in alias.groups() if alias else (row.name, row.name.removeprefix("opensuse/")):
            known[squashed(name)] = row
            known.setdefault(squashed(name).replace(".", ""), row)
    return known


def _look_up(plain: str) -> Distribution | None:
    """Look a distribution's name up, by its exact release, by its major, then without its tag (``ubi9:9.4``)."""
    keys = lookup_keys(plain)
    for key in keys:
        found = _by_key().get(key)
        if found is not None and (key == keys[0] or found.certain):
            return found
    return None


def _match(image: str) -> Distribution | None:
    """Look an image up among the table's patterns; Python is as the tag says, where the row does not know."""
    for row in read_distributions():
        if "*" in row.name and fnmatchcase(image, row.name):
            return replace(row, name=image, python=row.python or python_of(image))
    return None


def _named_in_tag(plain: str) -> Distribution | None:
    """Take an image for the one distribution that its tag names; its Python is the tag's, not the distribution's."""
    found = {row.name: row for name in names_in_tag(plain) if (row := _match(name) or _look_up(name))}
    if len(found) != 1:
        return None
    row = next(iter(found.values()))
    return row if row.is_jetpack else replace(row, name=plain, python=python_of(plain))


def find_distribution(name: str) -> Distribution:
    """Find a distribution or container image by name; of an image tagged with a Python, ``python`` is that tag's.

    Raises:
        UsageError: ``unknown-preset`` if the table has none, or the name fits several releases; with near names.
    """
    plain = plain_name(name)
    images = image_names(plain)
    found = next((row for image in images if (row := _match(image) or _look_up(image))), None)
    found = found or _named_in_tag(plain)
    if found is None:
        raise _unknown(name, images[-1])
    return replace(found, arch=architecture_of(plain) or ("aarch64" if found.is_jetpack else None))


def _unknown(name: str, plain: str) -> UsageError:
    if re.match(r"win|mac|osx|darwin", plain):
        hint = "presets are Linux distributions and images; say --platform win_amd64 or macosx_14_0_arm64"
        return UsageError("unknown-preset", f"{name!r} is not a preset", hint=hint)
    message = f"nothing is known of the C library of {name!r}"
    family = re.match(r"[a-z]+(?:-[a-z]+)*", plain)
    named = "jetpack" if re.search(r"jetson|tegra|orin|xavier", plain) else family[0] if family else plain
    releases = sorted((row.name for row in read_distributions() if row.name.startswith(f"{named}:")), reverse=True)
    if _PYTHON_WITHOUT_SUITE.fullmatch(plain):
        message = f"{name!r} does not say which Debian it is made of, and that changes with time"
        near = [f"{plain}-{suite}" for suite in ("bookworm", "trixie", "bullseye")]
    elif releases and not re.search(r"[0-9]", plain):
        message, near = f"{name!r} does not say which release", releases[:8]
    else:
        names = {squashed(row.name): row.name for row in read_distributions()}
        near = [names[item] for item in difflib.get_close_matches(squashed(plain), names, n=5, cutoff=0.6)]
        near += [item for item in releases if item not in near][: 5 - len(near)]
    return UsageError(
        "unknown-preset",
        message,
        facts={"near names": ", ".join(near)} if near else {},
        hint="say it with --glibc, or run the file of `pytorch-offline detect --standalone` there "
        "(for an image: docker run --rm -i IMAGE python3 - < probe.py > target.json)",
    )
