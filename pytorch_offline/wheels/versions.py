"""What PEP 440 says of versions and of bounds on them, where everything here asks the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.specifiers import Specifier, SpecifierSet
    from packaging.version import Version


def release_of(version: Version) -> Version:
    """Leave out the local label: ``2.4.0+cu121`` and ``2.4.0+cpu`` are builds of the release 2.4.0."""
    return version.__replace__(local=None)


def is_pin(bound: Specifier) -> bool:
    """Whether a bound names one exact version: ``===``, or ``==`` without a wildcard."""
    return bound.operator == "===" or (bound.operator == "==" and not bound.version.endswith(".*"))


def holds_pin(bounds: SpecifierSet) -> bool:
    """Whether one of these bounds names one exact version."""
    return any(map(is_pin, bounds))
