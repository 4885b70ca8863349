"""Images of media, each exactly as large as asked, with the files of a directory, mounted read-only."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def run(*command: str | Path) -> None:
    """Run a program, or skip the test where there is none or it may not do that."""
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"there is no {command[0]} here")
    # That a volume does not fit its medium is what these tests are about.
    assert "full" not in done.stderr.lower(), done.stderr
    assert "no space" not in done.stderr.lower(), done.stderr
    if done.returncode != 0:
        pytest.skip(f"{command[0]}: {done.stderr.strip()[-200:]}")


@contextmanager
def mounted(place: Path, *command: str | Path) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    run(*command, place)
    try:
        for _ in range(100):  # a FUSE file system answers when its process is ready
            if os.path.ismount(place):
                break
            time.sleep(0.05)
        else:
            pytest.skip(f"{command[0]} mounted nothing")
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=False, capture_output=True)


@contextmanager
def fat32(volume: Path, work: Path, size: int) -> Iterator[Path]:
    image = work / f"{volume.name}.img"
    image.touch()
    os.truncate(image, size)
    run("mkfs.fat", "-F", "32", image)
    run("mcopy", "-s", "-i", image, *sorted(volume.iterdir()), "::")
    with mounted(work / volume.name, "fusefat", "-o", "ro", image) as place:
        yield place


@contextmanager
def exfat(volume: Path, work: Path, size: int) -> Iterator[Path]:
    image = work / f"{volume.name}.img"
    image.touch()
    os.truncate(image, size // 512 * 512)
    run("mkfs.exfat", image)
    device = work / "device"
    with device.open("w") as said:
        if subprocess.run(["losetup", "-f", "--show", str(image)], stdout=said, check=False).returncode:
            pytest.skip("no loop device may be had")
    name = device.read_text().strip()
    try:
        with mounted(work / volume.name, "mount.exfat-fuse", name) as place:
            run("cp", "-r", *sorted(volume.iterdir()), place)
        with mounted(work / volume.name, "mount.exfat-fuse", "-o", "ro", name) as place:
            yield place
    finally:
        subprocess.run(["losetup", "-d", name], check=False)


@contextmanager
def iso9660(volume: Path, work: Path, size: int, *extensions: str) -> Iterator[Path]:
    image = work / f"{volume.name}.iso"
    run("xorriso", "-as", "mkisofs", "-quiet", *extensions, "-o", image, volume)
    assert image.stat().st_size <= size
    with mounted(work / volume.name, "fuseiso", image) as place:
        yield place


@contextmanager
def joliet(volume: Path, work: Path, size: int) -> Iterator[Path]:
    with iso9660(volume, work, size, "-J") as place:
        yield place


@contextmanager
def rock_ridge(volume: Path, work: Path, size: int) -> Iterator[Path]:
    with iso9660(volume, work, size, "-R") as place:
        yield place


@contextmanager
def squashfs(volume: Path, work: Path, size: int) -> Iterator[Path]:
    image = work / f"{volume.name}.sqfs"
    run("mksquashfs", volume, image, "-quiet", "-no-progress", "-noD")
    assert image.stat().st_size <= size
    with mounted(work / volume.name, "squashfuse", image) as place:
        yield place
