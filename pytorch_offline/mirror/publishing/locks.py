"""Locks that are read from an address: wheels by ``url``, with ``+`` as ``%2B``.

pip joins the ``path`` of a lock that it was given by address to that address as it stands, and object stores take a raw
``+`` for a space (research/mirrors.md, section 8). PEP 751 admits both keys beside each other; pip looks at ``path``
first, so it goes.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING
from urllib.parse import quote

import tomli_w

from pytorch_offline.mirror.layout import place_of_locked

if TYPE_CHECKING:
    from pathlib import PurePosixPath


def is_pylock(path: PurePosixPath) -> bool:
    """Say whether a file of ``locks/`` is one by PEP 751."""
    return path.match("pylock.*.toml")


def with_addresses(body: bytes, address: str) -> bytes:
    """Name each wheel of a sound pylock that lies in the mirror by its address below ``address``."""
    document = tomllib.loads(body.decode())
    for package in document.get("packages", ()):
        for wheel in package.get("wheels", ()):
            if "path" in wheel:
                place = place_of_locked(wheel.pop("path"))
                wheel["url"] = f"{address}/{quote(str(place))}"
    return tomli_w.dumps(document, multiline_strings=False).encode()
