"""``verify`` of what is carried: a bundle, or its volumes, wherever they lie."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.manifest import UNFINISHED_NAME
from pytorch_offline.bundle.reading.findings import UNSOUND, BundleFinding, finding_document, render_bundle_finding
from pytorch_offline.bundle.reading.labels import volume_name
from pytorch_offline.bundle.reading.opening import media_beside, open_source, says_bundle
from pytorch_offline.bundle.reading.pins import PinPlaces
from pytorch_offline.bundle.reading.repair import repair_bundle
from pytorch_offline.bundle.reading.signature import describe_signature, signature_document
from pytorch_offline.bundle.reading.signed_source import judge_source
from pytorch_offline.bundle.reading.verification import verify_source
from pytorch_offline.cli.progress import shown_progress
from pytorch_offline.cli.progress.words import duration, speed
from pytorch_offline.errors import IntegrityError
from pytorch_offline.mirror.admission import excuse_for
from pytorch_offline.mirror.progress import Doing, Outcome, Stage
from pytorch_offline.selector.explaining.render import render_size
from pytorch_offline.wheels.archive import check_archive
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pytorch_offline.bundle.reading.sources import Source
    from pytorch_offline.bundle.reading.verification import Verification
    from pytorch_offline.cli.session import Session
    from pytorch_offline.mirror.progress import Progress


def is_bundle(directory: Path) -> bool:
    """Whether a directory holds a bundle or its volumes, and is no mirror."""
    if (directory / UNFINISHED_NAME).is_file() or (directory / volume_name(1)).is_dir():
        return True
    return says_bundle(str(directory)) is True


def repair_where_it_lies(session: Session, places: Sequence[Path], *, signers: Path | None) -> None:
    """Mend a bundle with what it carries itself, and tell of each part; what is left is for ``verify_bundle`` to say.

    Raises:
        UsageError: ``no-bundle``, ``cannot-repair-there``.
        IntegrityError: of a manifest or signature that is wrong.
    """
    source = _open_beside(places)
    judge_source(source, PinPlaces(given=signers), os.environ, time.time, allow_unsigned=signers is None)
    try:
        repair = repair_bundle(source)
    except IntegrityError as beyond:
        session.warn(f"{beyond.message} {'; '.join(f'{name}: {fact}' for name, fact in beyond.facts.items())}")
        return
    for part in repair.mended:
        session.message(f"{part.how}: {part.place}")


def _open_beside(places: Sequence[Path]) -> Source:
    return open_source(list(dict.fromkeys(beside for place in places for beside in media_beside(str(place)))))


def verify_bundle(
    session: Session,
    places: Sequence[Path],
    *,
    deep: bool,
    jobs: int | None,
    signers: Path | None,
    repair: bool = False,
) -> int:
    """Compare every byte of a bundle with its manifest, after a repair where one is asked for; give the exit code.

    Raises:
        UsageError: ``no-bundle``.
        IntegrityError: ``bad-manifest``, ``bundle-unfinished``, ``mixed-bundles``, or of a signature that is wrong.
    """
    if repair:
        repair_where_it_lies(session, places, signers=signers)
    source = _open_beside(places)
    status = judge_source(source, PinPlaces(given=signers), os.environ, time.time, allow_unsigned=signers is None)
    started = time.monotonic()
    with shown_progress(session) as progress:
        found = verify_source(source, told=_Told(source, progress), jobs=jobs)
        findings = [*found.findings, *(_look_into_wheels(source, found, progress) if deep else ())]
    seconds = time.monotonic() - started
    document = {
        "bundle": [str(place) for place in places],
        "ok": not findings,
        "id": source.manifest.id,
        "counter": source.manifest.counter,
        "created": source.manifest.created,
        "volumes": source.manifest.volumes,
        "signed": status.signed,
        "signature": signature_document(status),
        "files": found.files,
        "bytes": found.size,
        "bytes_read": found.bytes_read,
        "seconds": round(seconds, 3),
        "bad": [finding_document(finding) for finding in findings],
    }
    silent = session.verbosity < 0 and not findings
    said = [*describe_signature(status), *_render(source, found, findings, seconds)]
    session.result(document, "" if silent else "\n".join(said))
    return IntegrityError.exit_code if findings else 0


class _Told:
    """Tells the progress of all files as of one: they are read at once, and in parts."""

    def __init__(self, source: Source, progress: Progress) -> None:
        self._label = f"bundle {source.manifest.id[:12]}"
        self._size = sum(file.size for file in source.manifest.files if file.carried)
        self._progress, self._read, self._lock = progress, 0, threading.Lock()
        progress.plan({self._label: self._size}, stage=Stage.VERIFY)
        progress.begin(self._label, self._size, 0)
        progress.doing(self._label, Doing.HASHING)

    def __call__(self, count: int) -> None:
        with self._lock:
            self._read += count
            self._progress.advance(self._label, min(self._read, self._size), self._size)
            if self._read >= self._size > self._read - count:
                self._progress.end(self._label)


def _look_into_wheels(source: Source, found: Verification, progress: Progress) -> Iterator[BundleFinding]:
    """Compare every wheel that is whole with its own RECORD."""
    lost = {finding.path for finding in found.findings}
    wheels = [
        file
        for file in source.manifest.files
        if file.carried and file.path.endswith(".whl") and file.path not in lost and not source.locate(file).missing
    ]
    progress.plan({file.path: file.size for file in wheels}, stage=Stage.VERIFY)
    for file in wheels:
        progress.begin(file.path, file.size, 0)
        name = parse_wheel_name(file.path.rsplit("/", 1)[-1])
        with source.open_file(file.path) as stream:
            problems = [problem for problem in check_archive(stream, name).problems if not excuse_for(name, problem)]
        progress.end(file.path, Outcome.FAILED if problems else Outcome.DONE)
        for problem in problems:
            detail = f"{problem.code} {problem.member}: {problem.detail}"
            bring = "its bytes are as they were packed: look at the mirror that it came from (verify --deep)"
            yield BundleFinding(file.path, UNSOUND, detail, bring, name=file.path)


def _render(source: Source, found: Verification, findings: Sequence[BundleFinding], seconds: float) -> Iterator[str]:
    for finding in findings:
        first, *rest = render_bundle_finding(finding)
        yield f"bad: {first}"
        yield from rest
    if found.bytes_read and seconds:
        rate = speed(found.bytes_read / seconds)
        yield f"read {render_size(found.bytes_read)} in {duration(seconds)}, {rate}"
    manifest = source.manifest
    volumes = "" if manifest.volume_size is None else f" in {manifest.volumes} volumes"
    summed = f"bundle {manifest.counter} of {manifest.created}: {found.files} files, {render_size(found.size)}{volumes}"
    wrong = "1 thing" if len(findings) == 1 else f"{len(findings)} things"
    yield f"{summed}: {wrong} wrong" if findings else f"{summed}: all as the manifest says"
