"""Say in a few words what many lost wheels have in common: for which machines they were built, and which were left."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytorch_offline.wheels.manylinux import promised_glibc
from pytorch_offline.wheels.versions import release_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from packaging.tags import Tag
    from packaging.version import Version

    from pytorch_offline.selector.model import Rejection
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend

# Lists longer than this are told by their ends and their number.
NAMED = 4
_CPYTHON = re.compile(r"cp([23])([0-9]+)")


def name_backends(backends: Iterable[Backend]) -> str:
    """Name backends, CUDA first, lowest toolkit first; many of one kind by their ends: ``cu110 to cu118 (7), cpu``."""
    ordered = sorted(set(backends), key=lambda one: one.order)
    kinds = list(dict.fromkeys(one.kind for one in reversed(ordered)))
    return ", ".join(name_many([str(one) for one in ordered if one.kind is kind]) for kind in kinds)


def name_versions(versions: Iterable[Version]) -> str:
    """Name releases, oldest first, without local labels; many by their ends."""
    return name_many([str(version) for version in sorted({release_of(one) for one in versions})])


def name_many(names: Sequence[str]) -> str:
    """Name a few things, of many the first and the last."""
    return ", ".join(names) if len(names) <= NAMED else f"{names[0]} to {names[-1]} ({len(names)})"


def name_first(names: Sequence[str], most: int, rest: str = "more") -> str:
    """Name the first things, and count the others: ``a, b and 3 more``."""
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} {rest}" if left > 0 else "")


def describe_misfits(rejections: Iterable[Rejection], target: Target) -> str:
    """Say for which machines wheels were built that do not fit the target by their tags.

    Those for the target's platform are told by their Pythons; if there is none, the others by their platforms.
    """
    tags = {tag for one in rejections if one.file is not None for tag in one.file.name.tags}
    here = [tag for tag in tags if is_for_platform(tag, target)]
    own = target.tags[0]
    if any(tag.interpreter == own.interpreter for tag in here):
        abis = sorted({tag.abi for tag in here if tag.interpreter == own.interpreter})
        return f"built for {own.interpreter} with ABI {', '.join(abis)}; the target has {own.abi}"
    if here:
        return f"built for {_pythons(tag.interpreter for tag in here)}; the target has {_pythons([own.interpreter])}"
    libc = target.libc
    same = (tag for tag in tags if tag.platform.endswith(f"_{target.machine}"))
    least = sorted({need for tag in same if (need := promised_glibc(tag.platform)) is not None})
    if least and libc is not None and libc.name == "glibc" and least[0] > libc.version:
        return f"built for glibc {least[0][0]}.{least[0][1]} or later; the target has {libc}"
    kinds = sorted({_platform(tag, target) for tag in tags})
    has = f"{target.system.replace('Darwin', 'macOS')} {target.machine}" + (
        "" if libc is None else f" with {libc.name}"
    )
    if target.system == "Darwin" and (own_platforms := [one for one in kinds if "or later" in one]):
        kinds, has = own_platforms[:1], f"{target.tags[0].platform}"
    return f"built for {', '.join(kinds) or 'nothing known'}; the target is {has}"


def is_for_platform(tag: Tag, target: Target) -> bool:
    """Whether a tag's platform is one that the target takes, whatever its interpreter."""
    return any(tag.platform == one.platform for one in target.tags)


def _pythons(interpreters: Iterable[str]) -> str:
    """Name Pythons by their tags: ``Python 3.8, 3.9``; what is no CPython by its tag."""
    names = sorted(set(interpreters), key=_python_order)
    cpythons = [f"{match[1]}.{match[2]}" for name in names if (match := _CPYTHON.fullmatch(name))]
    others = [name for name in names if not _CPYTHON.fullmatch(name)]
    return ", ".join([*([f"Python {name_many(cpythons)}"] if cpythons else []), *others])


def _python_order(interpreter: str) -> tuple[int, int, str]:
    match = _CPYTHON.fullmatch(interpreter)
    return (int(match[1]), int(match[2]), "") if match else (0, 0, interpreter)


def _platform(tag: Tag, target: Target) -> str:
    """Name a platform by system and architecture alone: ``Linux aarch64``; of the target's own macOS the least."""
    text = tag.platform
    if match := re.fullmatch(r"(?:many)?linux(?:1|2010|2014|_[0-9]+_[0-9]+)?_(?P<machine>\w+)", text):
        return f"Linux {match['machine']}"
    if match := re.fullmatch(r"musllinux_[0-9]+_[0-9]+_(?P<machine>\w+)", text):
        return f"Linux {match['machine']} with musl"
    if match := re.fullmatch(r"macosx_(?P<major>[0-9]+)_(?P<minor>[0-9]+)_(?P<machine>\w+)", text):
        if target.system == "Darwin" and match["machine"] == target.machine:
            return f"macOS {match['major']}.{match['minor']} or later {match['machine']}"
        return f"macOS {match['machine']}"
    return {"win_amd64": "Windows AMD64", "win32": "Windows x86", "win_arm64": "Windows ARM64"}.get(text, text)
