"""As what files are served, by value."""

from __future__ import annotations

from pathlib import PurePosixPath

from pytorch_offline.mirror.served_as import cache_control_of, media_type_of


def test_kinds_have_their_types_and_how_long_they_keep() -> None:
    kinds = {name: (media_type_of(PurePosixPath(name)), cache_control_of(PurePosixPath(name))) for name in (
        "a.whl", "a.whl.metadata", "index.html", "index.v1+json", "manifest.json", "pylock.a.toml", "requirements.a.txt"
    )}  # fmt: skip

    for_ever = "max-age=31536000, immutable"
    assert kinds == {
        "a.whl": ("application/octet-stream", for_ever),
        "a.whl.metadata": ("text/plain; charset=utf-8", for_ever),
        "index.html": ("text/html; charset=utf-8", "no-cache"),
        "index.v1+json": ("application/vnd.pypi.simple.v1+json", "no-cache"),
        "manifest.json": ("application/json", "no-cache"),
        "pylock.a.toml": ("text/plain; charset=utf-8", "no-cache"),
        "requirements.a.txt": ("text/plain; charset=utf-8", "no-cache"),
    }
