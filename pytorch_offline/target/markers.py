"""The marker environment of a described target: all eleven values, each from its own facts, and what they decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from packaging.requirements import Requirement


def cpython_marker_values(full_version: str) -> dict[str, str]:
    """Give the marker values that a CPython of this full version (``3.10.12``) decides."""
    return {
        "implementation_name": "cpython",
        "implementation_version": full_version,
        "platform_python_implementation": "CPython",
        "python_full_version": full_version,
        "python_version": ".".join(full_version.split(".")[:2]),
    }


def marker_environment(full_version: str, platform_values: Mapping[str, str]) -> dict[str, str]:
    """Join what the interpreter and what the platform decide; sorted by name."""
    return dict(sorted({**cpython_marker_values(full_version), **platform_values}.items()))


def applies(requirement: Requirement, environment: Mapping[str, str], extra: str = "") -> bool:
    """Whether a requirement's marker holds; ``environment`` gives all eleven values, so that nothing is filled in."""
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})
