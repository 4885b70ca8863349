"""Repair of what a verification found, fetching no more than is bad.

Theory of operation. Nobody is given a bad file meanwhile: it leaves its name first, and is kept aside. Before that,
what is good of it becomes a partial download, as if the bad bytes had not come yet: the spans that the checksums of its
blocks (``blocks.py``) or, where nobody noted those, of its members (``wheels/salvage.py``) vouch for. The rest is
``fetch``'s work: it asks for the gaps, hashes the whole, and admits it if it has the manifest's hash; if not, all of it
is fetched anew. So nothing here can let a wrong byte in.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from pytorch_offline.addresses import url_path
from pytorch_offline.crawler.siblings import sibling_addresses
from pytorch_offline.disk_errors import FULL, disk_errors
from pytorch_offline.errors import IntegrityError, PytorchOfflineError
from pytorch_offline.mirror.blocks import BlockSums, agreeing
from pytorch_offline.mirror.fetch import JOBS, FetchReport, fetch_files, part_of
from pytorch_offline.mirror.findings import BYTES_PROBLEMS, SIDECAR_PROBLEMS, Problem
from pytorch_offline.mirror.hashing import read_pieces
from pytorch_offline.mirror.layout import files_in_order
from pytorch_offline.mirror.model import WantedFile
from pytorch_offline.mirror.partial import PartialFile
from pytorch_offline.mirror.progress import Progress, Silent
from pytorch_offline.mirror.sidecar import Partial
from pytorch_offline.mirror.spans import count, joined
from pytorch_offline.mirror.transfer import WHEEL_MAGIC
from pytorch_offline.wheels.filename import parse_wheel_name
from pytorch_offline.wheels.salvage import sound_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path, PurePosixPath

    from pytorch_offline.crawler.drift_log import DriftLog
    from pytorch_offline.mirror.blocks import BlockNotes
    from pytorch_offline.mirror.findings import Finding
    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.mirror.spans import Spans
    from pytorch_offline.mirror.store import Mirror
    from pytorch_offline.net import Http

_COPIED_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What a repair did; only another verification says whether all is well now.

    ``needed`` are the wheels that had to come again and how many bytes of each were bad or missing; ``failures`` what
    could not be mended, and why.
    """

    fetched: FetchReport
    set_aside: tuple[PurePosixPath, ...]
    needed: Mapping[PurePosixPath, int]
    failures: tuple[tuple[PurePosixPath, PytorchOfflineError], ...] = ()


def repair_mirror(
    mirror: Mirror,
    findings: Sequence[Finding],
    http: Http,
    *,
    sources: Sequence[str] = (),
    online: bool = True,
    log: DriftLog | None = None,
    jobs: int = JOBS,
    limit_rate: int | None = None,
    progress: Progress | None = None,
    now: Callable[[], datetime],
) -> RepairReport:
    """Move bad files aside, and fetch what is bad of them from where they came, or from another mirror.

    A wheel comes back only if its bytes have the manifest's hash. A file that the manifest does not list is moved
    aside. Index pages are written anew. A wheel that is unsound although its hash agrees stays, and stays reported;
    so does a bad lock, which only ``fetch`` can write. What cannot be mended does not keep the rest from it.

    Args:
        mirror: the directory.
        findings: what is bad.
        http: the network.
        sources: addresses of other mirrors, ``file://`` ones too, to be asked first.
        online: whether anything but ``file://`` addresses may be asked.
        log: what is known of what upstream had, and where to note what comes.
        jobs: how many files at once.
        limit_rate: bytes per second in all; None for no limit.
        progress: told what happens.
        now: the time, in UTC.

    Raises:
        UpstreamError: ``disk-failed``.
        UsageError: ``mirror-not-writable``.
    """
    teller = progress or Silent()
    problems: dict[PurePosixPath, set[Problem]] = defaultdict(set)
    for finding in findings:
        problems[finding.path].add(finding.problem)
    aside: list[PurePosixPath] = []
    failures: list[tuple[PurePosixPath, PytorchOfflineError]] = []
    with mirror.lock(waiting=teller.say), disk_errors(mirror.root):
        held = mirror.read_files()
        lost = [held[path] for path, found in problems.items() if path in held and found & BYTES_PROBLEMS]
        wanted = {file.path: _wanted(file, sources, online=online) for file in lost}
        whole = {file.sha256 for path, file in held.items() if path not in wanted}
        needed = {}
        for file in lost:
            kept = 0 if file.sha256 in whole else _salvage(mirror, file, wanted[file.path])
            needed[file.path] = 0 if file.sha256 in whole else file.size - kept
            whole.add(file.sha256)  # what has the same bytes is linked, or shares the partial file
        for path, found in problems.items():
            if found & (BYTES_PROBLEMS | {Problem.UNLISTED}) and os.path.lexists(mirror.root / path):
                mirror.set_aside(path, IntegrityError("set-aside", ", ".join(sorted(found))), now=now)
                aside.append(path)
            elif found & SIDECAR_PROBLEMS and path in held:
                try:
                    mirror.mend_sidecar(held[path])
                except PytorchOfflineError as error:
                    failures.append((path, error))
        fetched = fetch_files(
            mirror,
            [wanted[file.path] for file in files_in_order(lost)],
            http,
            jobs=jobs,
            limit_rate=limit_rate,
            progress=progress,
            now=now,
            log=log,
            failed=lambda path, error: failures.append((path, error)),
        )
        # The hash that was asked for is the manifest's: what it said of where that came from still holds.
        mirror.rewrite(replace(file, verified_at=row.verified_at) for file in lost if (row := _row_of(fetched, file)))
    if log is not None:
        for path, failure in failures:
            if path in held and "uploaded again" not in failure.facts:
                with suppress(PytorchOfflineError):
                    failure.facts.update(log.fate(held[path].origin))
    return RepairReport(fetched=fetched, set_aside=tuple(aside), needed=needed, failures=tuple(failures))


def plan_partial(file: MirrorFile, good: Spans) -> Partial | None:
    """Say what a partial download has that holds only some spans of a file; None if they are not worth it.

    Every wheel begins with the same four bytes, so that a partial download that has none needs not begin with a gap.
    """
    spans = joined(((0, len(WHEEL_MAGIC)), *((start, min(stop, file.size)) for start, stop in good)))
    if count(spans) <= len(WHEEL_MAGIC):
        return None
    return Partial(
        url_path=url_path(file.origin),
        sha256=file.sha256,
        length=file.size,
        validator=None,
        completed=spans[0][1],
        ahead=spans[1:],
    )


def _salvage(mirror: Mirror, file: MirrorFile, wanted: WantedFile) -> int:
    """Make what is good of a bad file a partial download, unless there is one; say how many bytes need not come."""
    bad, place = mirror.root / file.path, part_of(mirror, wanted)
    try:
        with PartialFile(place) as part:
            earlier = part.resume()
            if earlier is not None and earlier.begins(wanted):
                return earlier.completed + count(earlier.ahead)
            if not bad.is_file():
                return 0
            partial = plan_partial(file, _good_spans(bad, file, mirror.blocks))
            if partial is None:
                return 0
            part.empty()
            try:
                _copy(bad, partial, part)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                _take_over(bad, place, partial)
            return partial.completed + count(partial.ahead)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        place.unlink(missing_ok=True)  # the disk does not give the file: all of it has to come
        return 0


def _take_over(bad: Path, place: Path, partial: Partial) -> None:
    """Make the bad file itself the partial download: there is no room for two of them."""
    bad.replace(place)
    with PartialFile(place) as part:
        part.place(0, WHEEL_MAGIC, 0)
        part.vouch(partial)


def _good_spans(bad: Path, file: MirrorFile, notes: BlockNotes) -> Spans:
    known = notes.read(file.sha256)
    if known is not None and known.size == file.size:
        sums = BlockSums()
        read_pieces(bad, sums.update)
        return agreeing(known, sums.blocks)
    with bad.open("rb") as opened:
        return joined(sound_spans(opened, min(file.size, bad.stat().st_size)))


def _copy(bad: Path, partial: Partial, part: PartialFile) -> None:
    """Copy the good spans to where they belong, and vouch for them."""
    part.place(0, WHEEL_MAGIC, 0)
    with bad.open("rb", buffering=0) as source:
        for start, stop in ((len(WHEEL_MAGIC), partial.completed), *partial.ahead):
            at = source.seek(start)
            while at < stop:
                piece = source.read(min(_COPIED_AT_ONCE, stop - at))
                if not piece:
                    raise OSError(errno.EIO, "it became shorter while it was read")
                part.place(at, piece, 0)
                at += len(piece)
    part.save(partial)


def _wanted(file: MirrorFile, sources: Sequence[str], *, online: bool) -> WantedFile:
    here = [f"{source.rstrip('/')}/{quote(str(file.path))}" for source in sources]
    urls = dict.fromkeys((*here, *sibling_addresses(file.origin, published=True)))
    return WantedFile(
        name=parse_wheel_name(file.path.name),
        path=file.path,
        urls=tuple(url for url in urls if online or url.startswith("file:")),
        sha256=file.sha256,
        size=file.size,
        requires_python=file.requires_python,
        yanked=file.yanked,
        upload_time=file.upload_time,
    )


def _row_of(report: FetchReport, file: MirrorFile) -> MirrorFile | None:
    return next((row for row in (*report.downloaded, *report.already) if row.path == file.path), None)
