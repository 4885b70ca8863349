"""One run of our downloader for ``download.py``, in a process of its own, without the command around it.

    python -m benchmarks.fetching PLAN DIRECTORY [--without-sync]

``PLAN`` is a JSON list of URL, sha256. What is done is what ``fetch`` does with its defaults, up to and with the hashes
compared, the bytes durable and under their names; what is left out is what no other downloader does, to read every
member of every wheel. Prints seconds and CPU seconds from the first request to the end, and peak memory in MB.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytorch_offline.mirror.disk import Disk
from pytorch_offline.mirror.fetch import fetch_files
from pytorch_offline.mirror.model import HashOrigin, MirrorFile, WantedFile
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.net import Http
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


class Unsynced(Disk):
    """A disk that makes nothing durable, to see what durability costs."""

    def write(self, path: Path, body: bytes) -> None:
        """Write, and leave the rest to the system."""
        path.write_bytes(body)

    def append(self, path: Path, body: bytes) -> None:
        """Add, and leave the rest to the system."""
        with path.open("ab") as file:
            file.write(body)

    def sync(self, path: Path) -> None:
        """Do nothing."""

    def sync_directory(self, path: Path) -> None:
        """Do nothing."""


class Ungated(Mirror):
    """A mirror that lets in whatever has the right hash."""

    def __init__(self, root: Path, disk: Disk) -> None:
        super().__init__(root, disk=disk)

    def admit(
        self,
        part: Path,
        wanted: WantedFile,
        *,
        size: int,
        sha256: str,
        origin_url: str,
        now: Callable[[], datetime],
        hash_origin: HashOrigin | None = None,
    ) -> MirrorFile:
        """Make the bytes durable and give them their name."""
        target = self.root / wanted.path
        target.parent.mkdir(parents=True, exist_ok=True)
        self.disk.sync(part)
        self.disk.replace(part, target)
        self.disk.sync_directory(target.parent)
        return MirrorFile(
            path=wanted.path,
            size=size,
            sha256=sha256,
            hash_origin=hash_origin or HashOrigin.PUBLISHED,
            origin=origin_url,
            metadata_sha256="0" * 64,
            requires_python=None,
            yanked=None,
            upload_time=None,
            verified_at=now().isoformat(),
        )


def main() -> None:
    """Fetch, and print what it took."""
    plan, directory, *further = sys.argv[1:]
    wanted = []
    for url, sha256 in json.loads(Path(plan).read_text()):
        name = PurePosixPath(urlsplit(url).path).name
        wanted.append(
            WantedFile(name=parse_wheel_name(name), path=PurePosixPath("whl", name), urls=(url,), sha256=sha256)
        )
    mirror = Ungated(Path(directory), Unsynced() if "--without-sync" in further else Disk())
    with Http(ca_bundle=Path(bundle) if (bundle := os.environ.get("REQUESTS_CA_BUNDLE")) else None) as http:
        busy, began = _busy(), time.perf_counter()
        report = fetch_files(mirror, wanted, http)
        seconds = time.perf_counter() - began
    if len(report.downloaded) != len(wanted):
        sys.exit("not everything came")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"{seconds} {_busy() - busy} {peak}\n")


def _busy() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
