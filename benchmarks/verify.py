"""``verify`` against a bare hashlib loop on all cores, and ``verify --deep`` against ``unzip -t``, turn by turn.

Run it as ``python benchmarks/verify.py WHEEL [--copies N] [--rounds N] [--directory DIR]``. A mirror of ``copies``
files with the wheel's bytes is laid out, each with bytes of its own on disk; all are in the page cache. What is
measured for us is ``verify_mirror``: bytes, sidecars, pages, and the manifest rewritten with the time. The loop
reads 1 MiB pieces in as many threads as there are cores, and compares nothing. ``--deep`` and ``unzip -t`` are
compared by processor time, since ``unzip`` has one thread: that of ``--deep`` less that of ``verify``, for the hash
of the file itself is not what ``unzip`` does.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pytorch_offline.mirror.layout import sidecar_of
from pytorch_offline.mirror.manifest import render_manifest
from pytorch_offline.mirror.model import HashOrigin, MirrorFile
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.verify import verify_mirror
from pytorch_offline.wheels.archive import check_archive
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Callable

PIECE = 1 << 20


def hash_bare(path: Path) -> str:
    """Hash one file as quickly as Python can."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(PIECE))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def lay_out(wheel: Path, copies: int, root: Path) -> Mirror:
    """Make a mirror that holds a wheel's bytes several times."""
    sha256, metadata = hash_bare(wheel), check_archive(wheel, parse_wheel_name(wheel.name), deep=False).metadata
    rows = []
    for number in range(copies):
        path = PurePosixPath("whl", f"cu{100 + number}", wheel.name)
        (root / path).parent.mkdir(parents=True)
        shutil.copyfile(wheel, root / path)
        (root / sidecar_of(path)).write_bytes(metadata)
        rows.append(
            MirrorFile(
                path=path,
                size=wheel.stat().st_size,
                sha256=sha256,
                hash_origin=HashOrigin.PUBLISHED,
                origin=wheel.as_uri(),
                metadata_sha256=hashlib.sha256(metadata).hexdigest(),
                requires_python=None,
                yanked=None,
                upload_time=None,
                verified_at="2026-01-01T00:00:00Z",
            )
        )
    (root / "manifest.json").write_bytes(render_manifest(rows))
    mirror = Mirror(root)
    mirror.publish()
    return mirror


def measure(mirror: Mirror, rounds: int) -> None:
    """Take turns, so that a noisy neighbour meets everybody."""
    paths = [mirror.root / path for path in mirror.read_files()]
    cores = os.cpu_count() or 1
    now = partial(datetime.now, UTC)

    def loop() -> None:
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(hash_bare, paths))

    def unzip() -> None:
        for path in paths:
            subprocess.run(["unzip", "-tqq", path], check=True)

    contenders: dict[str, Callable[[], object]] = {
        "bare hashlib loop": loop,
        "verify": lambda: verify_mirror(mirror, now=now),
        "verify --deep": lambda: verify_mirror(mirror, deep=True, now=now),
        "unzip -t": unzip,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    processor: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):  # the first only warms the page cache
        for name, run in contenders.items():
            before, started = processor_seconds(), time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
            processor[name].append(processor_seconds() - before)
    size = sum(path.stat().st_size for path in paths) / 1e9
    print(f"{len(paths)} files, {size:.2f} GB, {cores} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| method | s (median) | GB/s | CPU s per GB |")
    print("|---|---:|---:|---:|")
    for name in contenders:
        median, spent = statistics.median(seconds[name][1:]), statistics.median(processor[name][1:])
        print(f"| {name} | {median:.2f} | {size / median:.2f} | {spent / size:.2f} |")
    limit = statistics.median(
        a / b for a, b in zip(seconds["bare hashlib loop"][1:], seconds["verify"][1:], strict=True)
    )
    inside = [deep - plain for deep, plain in zip(processor["verify --deep"][1:], processor["verify"][1:], strict=True)]
    deep = statistics.median(a / b for a, b in zip(processor["unzip -t"][1:], inside, strict=True))
    print(f"\nverify: {limit:.2f} of the loop's speed; inside the wheels: {deep:.2f} times unzip -t per core")


def processor_seconds() -> float:
    """Processor time of this process and of the children it has waited for."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Lay out a mirror, measure, and clear up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=Path())
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(dir=arguments.directory))
    try:
        measure(lay_out(arguments.wheel, arguments.copies, directory), arguments.rounds)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
