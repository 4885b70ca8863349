"""The ordered tag list of a CPython on a platform, made by the same functions that the probe runs on a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.tags import Tag

from pytorch_offline.target import probe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def parse_tags(texts: Iterable[str]) -> tuple[Tag, ...]:
    """Make tags, each once, in order, of texts that the probe made."""
    return tuple(dict.fromkeys(Tag(*text.split("-", 2)) for text in texts))


def cpython_target_tags(version: tuple[int, int], abi: str | None, platforms: Sequence[str]) -> tuple[Tag, ...]:
    """List the tags that a CPython accepts, best first.

    ``abi`` is the interpreter's own ABI tag, e.g. ``cp313t`` or ``cp37m``; ``None`` is the common build's.
    """
    abis = probe.cpython_abis(version)
    if abi is not None:
        flags = abi.removeprefix("cp{}{}".format(*version))
        abis = probe.cpython_abis(
            version, free_threaded="t" in flags, debug="d" in flags, pymalloc="m" in flags or version >= (3, 8)
        )
    return parse_tags(probe.cpython_tags(version, abis, platforms))


def platforms_of(tags: Iterable[Tag]) -> tuple[str, ...]:
    """Read back the platforms, best first, that a tag list was made for."""
    return tuple(dict.fromkeys(tag.platform for tag in tags if tag.platform != "any"))
