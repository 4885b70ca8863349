"""Small file systems for tests, where this process may mount them."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def mounted(place: Path, *arguments: str) -> Iterator[Path]:
    """Mount something (``mount``'s arguments but the place) for as long as the block lasts; else skip the test."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", *arguments, str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode != 0:
        pytest.skip(f"this process may not mount: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True, capture_output=True)


@contextmanager
def small_disk(place: Path, *, size: int, inodes: int = 10_000) -> Iterator[Path]:
    """Mount a disk in memory of so many bytes and inodes."""
    with mounted(place, "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes}", "tmpfs"):
        yield place


@contextmanager
def read_only_view(place: Path, of: Path) -> Iterator[Path]:
    """Show a directory at another place, where nothing can be written."""
    with mounted(place, "--bind", str(of)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True, capture_output=True)
        yield place


def resize(place: Path, *, size: int, inodes: int = 10_000) -> None:
    """Give a ``small_disk`` other limits."""
    options = f"remount,size={size},nr_inodes={inodes}"
    subprocess.run(["mount", "-o", options, str(place)], check=True, capture_output=True)
