"""Verification of a bundle against processes that hash as many files at once as there are cores, turn by turn.

Run it as ``python -m benchmarks.verifying_bundles WHEEL [--copies N] [--rounds N] [--volume-size BYTES]``. A bundle of
``copies`` files with the wheel's bytes, each with bytes of its own on disk, is laid out as a directory or in volumes;
all of it is in the page cache. What is measured for us is a process of its own that opens the bundle, reads its
manifest and verifies all of it, as ``install.py --verify-only`` does, interpreter start included. Against it: one
process of ``sha256sum`` for each file, and of ``openssl dgst`` (which uses the processor's own instructions, as hashlib
does), as many at once as cores; and a bare hashlib loop in as many threads. These compare nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.verify import hash_bare
from pytorch_offline.bundle.format.manifest import content_id, render_manifest
from pytorch_offline.bundle.format.model import BundleFile, Manifest
from pytorch_offline.bundle.writing.packing import pack_manifest
from pytorch_offline.bundle.writing.volumes import labels_of, lay_out, tops_of
from pytorch_offline.mirror.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Callable

VERIFY = """
import sys
from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.bundle.reading.verification import verify_source
assert verify_source(open_source(sys.argv[1:])).findings == ()
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def lay_out_bundle(wheel: Path, copies: int, root: Path, volume_size: int | None) -> None:
    """Write a bundle that holds a wheel's bytes several times, each time with other last bytes."""
    base, files, places = wheel.read_bytes(), [], {}
    for number in range(copies):
        place = root.parent / "original" / f"{number}.whl"
        place.parent.mkdir(exist_ok=True)
        body = base + str(number).encode()
        place.write_bytes(body)
        files.append(BundleFile(f"whl/{number:03d}.whl", len(body), hashlib.sha256(body).hexdigest()))
        places[files[-1].path] = place
    made = Manifest("", "none", 1, None, "2026-01-01T00:00:00Z", (), (), tuple(files))
    made = made._replace(id=content_id(made.lineage, (), made.files))
    if volume_size is not None:
        made = pack_manifest(made, places, volume_size, bad=lambda bad: OSError(str(bad)), progress=Silent())
    for part in lay_out(made):
        path = root / part.file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with places[part.of].open("rb") as file:
            file.seek(part.offset)
            path.write_bytes(file.read(part.file.size))
    for top in tops_of(made):
        (root / top / "manifest.json").write_bytes(render_manifest(made))
    for name, label in labels_of(made).items():
        (root / name).write_bytes(label)
    shutil.rmtree(root.parent / "original")


def measure(root: Path, rounds: int) -> None:
    """Take turns, so that a noisy neighbour meets everybody."""
    paths = sorted(str(path) for path in root.rglob("*") if path.is_file() and path.stat().st_size > 1 << 20)
    cores = os.cpu_count() or 1
    peaks: list[int] = []

    def ours() -> None:
        command = [sys.executable, "-c", VERIFY, str(root)]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True).stdout))

    def processes(*command: str) -> None:
        names = "\0".join(paths).encode()
        together = ["xargs", "-0", "-n", "1", "-P", str(cores), *command]
        subprocess.run(together, input=names, stdout=subprocess.DEVNULL, check=True)

    def loop() -> None:
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(hash_bare, map(Path, paths)))

    contenders: dict[str, Callable[[], None]] = {
        "sha256sum, a process per core": lambda: processes("sha256sum"),
        "openssl dgst, a process per core": lambda: processes("openssl", "dgst", "-sha256"),
        "bare hashlib loop, a thread per core": loop,
        "verification": ours,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    processor: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):  # the first only warms the page cache
        for name, run in contenders.items():
            before, started = sum(os.times()[:4]), time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
            processor[name].append(sum(os.times()[:4]) - before)
    size = sum(Path(path).stat().st_size for path in paths) / 1e9
    print(f"{len(paths)} files, {size:.2f} GB, {cores} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| method | s (median) | GB/s | CPU s per GB |")
    print("|---|---:|---:|---:|")
    for name in contenders:
        median, spent = statistics.median(seconds[name][1:]), statistics.median(processor[name][1:])
        print(f"| {name} | {median:.2f} | {size / median:.2f} | {spent / size:.2f} |")
    print()
    for name in list(contenders)[:-1]:
        ratio = statistics.median(a / b for a, b in zip(seconds[name][1:], seconds["verification"][1:], strict=True))
        print(f"verification runs at {ratio:.2f} times the speed of {name}")
    print(f"most memory of verification: {max(peaks) / 1024:.0f} MiB")


def main() -> None:
    """Lay out a bundle, measure, and take it away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--volume-size", type=int)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as place:
        root = Path(place) / "bundle"
        lay_out_bundle(options.wheel, options.copies, root, options.volume_size)
        measure(root, options.rounds)


if __name__ == "__main__":
    main()
