"""How many files this process may have open, of which every client takes two."""

from __future__ import annotations

import sys

# Windows' C library allows so many; it has no limit to raise.
_WITHOUT_LIMIT = 8192
# More than this is never needed, and where "unlimited" is a million the kernel still asks for memory.
_ENOUGH = 65536


def raise_open_files() -> int:
    """Raise the limit to what the system lets us have, and give it."""
    if sys.platform == "win32":
        return _WITHOUT_LIMIT
    import resource  # noqa: PLC0415  (Windows has none)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        except (OSError, ValueError):  # macOS names a hard limit that it does not grant
            return soft
        return most
    return most
