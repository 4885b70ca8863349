"""Pythons as people write them: ``3.10``, ``3.13t``; and ranges of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.tags import Tag

    from pytorch_offline.wheels.filename import WheelName

_INTERPRETER = re.compile(r"(?P<kind>cp|py|pp)(?P<major>[0-9])(?P<minor>[0-9]*)")
_SPELLING = re.compile(r"(?P<kind>pypy)?(?P<major>[0-9]+)(?:\.(?P<minor>[0-9]+))?(?P<flavour>t|\+)?")
# Between the ends of a range.
DASH = "\N{EN DASH}"
# The last group of ``python_order`` that is a Python.
_PYPY = 2


def pythons_of(name: WheelName) -> frozenset[str]:
    """Name the Pythons that a wheel is for: ``3.10``, ``3.13t`` (free-threaded), ``3.9+`` (stable ABI), ``3`` (any)."""
    return frozenset(_python(tag) for tag in name.tags)


def _python(tag: Tag) -> str:
    match = _INTERPRETER.fullmatch(tag.interpreter)
    if match is None:
        return tag.interpreter
    text = match["major"] + (f".{match['minor']}" if match["minor"] else "")
    if match["kind"] == "pp":
        return f"pypy{text}"
    if tag.abi == "abi3":
        return f"{text}+"
    return f"{text}t" if tag.abi.endswith("t") and tag.abi.startswith("cp") else text


def python_order(python: str) -> tuple[object, ...]:
    """Sort key among Pythons: CPython by version, free-threaded behind all of the usual kind, PyPy last."""
    match = _SPELLING.fullmatch(python)
    if match is None:
        return (9, 0, 0, python)
    group = 2 if match["kind"] else 1 if match["flavour"] == "t" else 0
    return (group, int(match["major"]), int(match["minor"] or 0), python)


def python_age(python: str) -> tuple[object, ...]:
    """Sort key among Pythons by version, each before its free-threaded build."""
    group, major, minor, *_ = python_order(python)
    return (group == _PYPY, major, minor, group != 1)


def render_pythons(pythons: Iterable[str]) -> str:
    """Write Pythons as ranges: ``2.7, 3.5-3.8`` (with a longer dash); only neighbours are joined."""
    runs: list[list[str]] = []
    for python in sorted(set(pythons), key=python_order):
        if runs and _follows(runs[-1][-1], python):
            runs[-1].append(python)
        else:
            runs.append([python])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}{DASH}{run[-1]}" for run in runs)


def _follows(before: str, python: str) -> bool:
    one, other = _SPELLING.fullmatch(before), _SPELLING.fullmatch(python)
    if one is None or other is None or not one["minor"] or not other["minor"]:
        return False
    same = all(one[part] == other[part] for part in ("kind", "major", "flavour"))
    return same and int(other["minor"]) == int(one["minor"]) + 1
