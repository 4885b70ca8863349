"""As what the files of the public tree are served, whoever serves them: their media types, and how long they keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.mirror.layout import JSON_NAME, METADATA_SUFFIX

if TYPE_CHECKING:
    from pathlib import PurePosixPath

HTML = "text/html"
HTML_TYPE = f"{HTML}; charset=utf-8"
JSON_V1 = "application/vnd.pypi.simple.v1+json"  # PEP 691
# Upstream gives wheels as binary/octet-stream, which no registry knows, and nginx gives this.
WHEEL_TYPE = "application/octet-stream"
# Core metadata is UTF-8. It and the locks are read in browsers, too: TOML's own type (RFC 9618) makes them offer it for
# download.
TEXT_TYPE = "text/plain; charset=utf-8"
_TYPES = {
    METADATA_SUFFIX: TEXT_TYPE,
    ".html": HTML_TYPE,
    ".json": "application/json",
    ".toml": TEXT_TYPE,
    ".txt": TEXT_TYPE,
}

# A wheel's path has its bytes for ever: clients that heed this never ask for it again (RFC 8246). It is not "public": a
# cache between must not give to all what a password was asked for (RFC 9111, section 3.5).
IMMUTABLE = "max-age=31536000, immutable"
# Everything else is asked about again each time, which costs a 304: what is published is seen at once.
REVALIDATED = "no-cache"


def media_type_of(path: PurePosixPath) -> str:
    """Say as what a file is served: simple clients judge a page by it alone (PEP 691)."""
    return JSON_V1 if path.name == JSON_NAME else _TYPES.get(path.suffix, WHEEL_TYPE)


def cache_control_of(path: PurePosixPath) -> str:
    """Say how long a client may keep a file without asking: a wheel for ever, all else not at all."""
    return IMMUTABLE if path.suffix in {".whl", METADATA_SUFFIX} else REVALIDATED
