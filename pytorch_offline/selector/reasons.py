"""The rules by which a wheel, or a whole backend, is not chosen: stable codes that scripts may rely on.

docs/codes.md tells users the same list (a test compares them).
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why something was not chosen, first what no request changes, then what the request says, then preference."""

    # The machine.
    WHEEL_TAGS = "wheel-tags"  # other interpreter, platform or C library, by the file's name
    PIP_TOO_OLD = "pip-too-old"  # the target's pip does not know the tags
    REQUIRES_PYTHON = "requires-python"  # by its page or its METADATA
    GLIBC = "glibc"  # needs a newer one than the target's, whatever its tag says
    ACCELERATOR = "accelerator"  # built for another kind of device, or for none
    DRIVER = "driver"  # the target's is too old for the backend
    GPU_ARCHITECTURE = "gpu-architecture"  # no code for some device of the target
    # The wheel and its index.
    BAD_METADATA = "bad-metadata"  # cannot be read, so that nobody knows what it requires
    URL_REQUIREMENT = "url-requirement"  # requires an address instead of a version
    YANKED = "yanked"  # withdrawn by its publisher, and not pinned
    UNLISTED = "unlisted"  # its page listed it once
    # The request.
    REQUIREMENT = "requirement"  # outside a bound that was asked for, or that a wheel of the closure sets
    PRE_RELEASE = "pre-release"  # not asked for
    HASH = "hash"  # none of those demanded
    BACKEND = "backend"  # another was forced, or serves better
    COMPANION = "companion"  # by the table of companions it belongs to another torch
    NOT_REQUIRED = "not-required"  # nothing in the closure asks for the project
    CONFLICT = "conflict"  # does not go together with the rest of the closure
    # Preference.
    COMMON = "common"  # another version serves several targets alike (--common)
    OLDER = "older"  # a newer one fits as well
    LESS_PREFERRED = "less-preferred"  # another wheel is newer, or closer to the target's best tag
