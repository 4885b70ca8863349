"""Write a bundle: choose, number, draft, copy, finish. The steps between are values (``plan.py``)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.manifest import INSTALLER_NAME, MANIFEST_NAME, parse_manifest, render_manifest
from pytorch_offline.bundle.reading.parity import PARITY_PREFIX
from pytorch_offline.bundle.writing.assembly import assemble
from pytorch_offline.bundle.writing.destination import BundleDirectory, check_place
from pytorch_offline.bundle.writing.facts import bundle_file_of, describe_targets, read_mirror_files
from pytorch_offline.bundle.writing.handing_over import seal, signer_of
from pytorch_offline.bundle.writing.numbering import Given, number_bundle, parse_given, render_given, seconds_of
from pytorch_offline.bundle.writing.packing import pack_manifest
from pytorch_offline.bundle.writing.parity import parity_encoder
from pytorch_offline.bundle.writing.plan import Contents, add_root_files, draft_manifest, sorted_files
from pytorch_offline.bundle.writing.protecting import promise_of, protect, protected_before
from pytorch_offline.bundle.writing.reports import make_reports
from pytorch_offline.bundle.writing.since import counter_floor, make_delta
from pytorch_offline.bundle.writing.tools import choose_tools
from pytorch_offline.bundle.writing.volumes import Laid, labels_of, lay_out, tops_of
from pytorch_offline.disk_errors import disk_errors, file_too_large
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UpstreamError, UsageError
from pytorch_offline.mirror.disk import Disk, make_directories, write_atomically
from pytorch_offline.mirror.layout import STATE_NAME
from pytorch_offline.mirror.lock import MirrorLock
from pytorch_offline.mirror.progress import Doing, Outcome, Stage
from pytorch_offline.mirror.room import MARGIN, free_bytes, largest_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pytorch_offline.bundle.format.holdings import Holdings
    from pytorch_offline.bundle.format.model import BundleFile, Manifest
    from pytorch_offline.bundle.writing.destination import Standing
    from pytorch_offline.bundle.writing.handing_over import Signing
    from pytorch_offline.bundle.writing.numbering import Number
    from pytorch_offline.bundle.writing.protecting import ParityWish
    from pytorch_offline.bundle.writing.since import Saving
    from pytorch_offline.bundle.writing.tools import Lacking
    from pytorch_offline.mirror.progress import Progress
    from pytorch_offline.target.model import Target

MEMORY_NAME = "bundles.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleWishes:
    """What is asked for.

    Args:
        mirror: the mirror's directory.
        out: where the bundle goes.
        targets: names of targets whose locks there are; empty for all.
        force: write over another bundle that lies there.
        signing: with which key it is signed; None leaves a bundle that is the same already as it is, signed or not.
        with_uv: let uv travel along too.
        sbom: whether an SBOM is made; None for where its library is installed.
        declared: the date that the bundle shall have; None for when its content was first given.
        since: what the far side holds, for a delta.
        volume_size: the size of each volume; None for one directory.
        parity: how much of it is added; None for none.
    """

    mirror: Path
    out: Path
    targets: tuple[str, ...] = ()
    force: bool = False
    signing: Signing | None = None
    sbom: bool | None = None
    with_uv: bool = False
    declared: datetime | None = None
    since: Holdings | None = None
    volume_size: int | None = None
    parity: ParityWish | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleReport:
    """What was done.

    Args:
        manifest: the bundle's.
        written: how many of its files were written; the others lay there, whole.
        size: bytes of all files that it carries.
        bytes_written: of those written.
        seconds: how long writing took.
        warnings: what the user should know.
        signed_by: the fingerprint of the key; None of a bundle that is not signed.
        saving: what a delta leaves with its base.
        parity: what its parity mends, in words.
    """

    manifest: Manifest
    written: int
    size: int
    bytes_written: int
    seconds: float
    warnings: tuple[str, ...] = ()
    signed_by: str | None = None
    saving: Saving | None = None
    parity: str | None = None


def write_bundle(
    wishes: BundleWishes, contents: Contents, *, now: Callable[[], datetime], progress: Progress
) -> BundleReport:
    """Write a bundle of what was gathered of a mirror.

    Run again, it goes on where it was cut off, and leaves a bundle as it is that is the same already.

    Raises:
        UsageError: ``bad-destination``, ``bundle-exists``, ``destination-busy``, ``bad-signing-key``,
            ``no-ssh-keygen``, ``no-cyclonedx``, ``volume-too-small``, ``parity-needs-zfec``.
        IntegrityError: ``bad-files`` naming each file of the mirror that is not what its manifest says,
            ``bad-bundle-memory``.
        UpstreamError: ``disk-full``, ``disk-failed``, ``file-too-large``.
    """
    check_place(wishes.out, wishes.mirror)
    destination = BundleDirectory(wishes.out)
    standing = destination.look()
    number, warnings = remember_number(wishes, contents, now=now, floor=counter_floor(wishes.since))
    draft, saving = make_delta(draft_manifest(contents, number), wishes.since)
    bodies, notes = render_root_files(draft, contents.places, sbom=wishes.sbom)
    manifest = add_root_files(draft, bodies)
    _refuse_unreadable(manifest)
    _refuse_to_replace(standing.manifest, manifest, wishes)
    if wishes.volume_size is not None:
        reserved = 0 if wishes.parity is None else wishes.parity.letters(manifest, wishes.volume_size)
        manifest = pack_manifest(
            manifest, contents.places, wishes.volume_size, bad=rotten, progress=progress, reserved=reserved
        )
    if wishes.parity is not None:
        parity_encoder(wishes.parity.percent)
    started = time.monotonic()
    protected = protected_before(standing.manifest, manifest, wishes.parity)
    laid = lay_out(protected or manifest)
    missing = laid if standing.is_free else _not_there(destination, laid, progress)
    last, seals = ({}, {}) if protected is None else finish(wishes, protected, bodies, destination, standing)
    if standing.unfinished or missing or protected is None or not destination.holds_bodies(last):
        data = lay_out(manifest)
        copied = tuple(part for part in missing if part in data)
        _require_room(wishes.out, copied, 0 if wishes.parity is None else wishes.parity.size(manifest))
        with destination.changing():
            destination.begin_anew([part.file.path for part in data])
            _copy_all(destination, copied, contents.places, bodies, progress)
            if wishes.parity is not None:
                protected = protect(manifest, destination, wishes.parity, progress)
                tops = [part for part in lay_out(protected) if part.of in bodies and part not in data]
                _copy_all(destination, tuple(tops), contents.places, bodies, progress)  # of parity's own volumes
                last, seals = finish(wishes, protected, bodies, destination, standing)
            for path, body in last.items():
                destination.put(path, body)
            laid = lay_out(protected or manifest)
            missing = tuple(part for part in laid if part in copied or part not in data)
            destination.set_dates([*(part.file.path for part in laid), *last], seconds_of(manifest.created))
    manifest = protected or manifest
    return BundleReport(
        manifest=manifest,
        written=len(missing),
        size=sum(part.file.size for part in laid),
        bytes_written=sum(part.file.size for part in missing),
        seconds=time.monotonic() - started,
        warnings=(*warnings, *notes),
        saving=saving,
        signed_by=signer_of(seals),
        parity=promise_of(manifest),
    )


def finish(
    wishes: BundleWishes,
    manifest: Manifest,
    bodies: Mapping[str, bytes],
    destination: BundleDirectory,
    standing: Standing,
) -> tuple[dict[str, bytes], Mapping[str, bytes]]:
    """Sign, and make what is written when all parts lie there, by path; gives the seals too."""
    body = render_manifest(manifest)
    seals = there = destination.seals(tops_of(manifest)[0]) if standing.body == body else {}
    if wishes.signing is not None:
        seals = seal(wishes.signing, body, mirror=wishes.mirror, created=manifest.created, there=there)
    return finishing_files(manifest, body, seals, bodies[INSTALLER_NAME]), seals


def _refuse_unreadable(manifest: Manifest) -> None:
    """See to it that whoever reads the bundle can take it: a mirror may hold names that not every medium keeps apart.

    Raises:
        UsageError: ``cannot-be-packed``.
    """
    try:
        parse_manifest(render_manifest(manifest))
    except IntegrityError as error:
        raise UsageError(
            "cannot-be-packed",
            error.message.replace("cannot be used", "could not be read"),
            facts=error.facts,
            hint="pack targets that do not go together into bundles of their own, with --target",
        ) from error


def _refuse_to_replace(there: Manifest | None, manifest: Manifest, wishes: BundleWishes) -> None:
    """Keep what lies there, unless it is this very bundle, packed alike, or is meant to go.

    Raises:
        UsageError: ``bundle-exists``.
    """
    if there is None or wishes.force:
        return
    if (there.id, there.base, there.volume_size) == (manifest.id, manifest.base, wishes.volume_size):
        return
    raise UsageError(
        "bundle-exists",
        f"{wishes.out} holds another bundle, number {there.counter} of {there.created}",
        facts={"it has": _packing_of(there), "asked for": _packing_of(manifest, wishes.volume_size)},
        hint="name a new directory, or write over it with --force",
    )


def _packing_of(manifest: Manifest, volume_size: int | None = None) -> str:
    size = manifest.volume_size or volume_size
    parts = [f"content {manifest.id[:12]}", "complete" if manifest.base is None else f"on top of {manifest.base[:12]}"]
    return ", ".join([*parts, "in one directory" if size is None else f"in volumes of {size:,} bytes"])


def finishing_files(manifest: Manifest, body: bytes, seals: Mapping[str, bytes], installer: bytes) -> dict[str, bytes]:
    """Make labels, seals, and last of all the manifest at every top; parity in one directory has copies of them."""
    found = labels_of(manifest)
    if manifest.parity is not None and manifest.volume_size is None:
        copies = {INSTALLER_NAME: installer, **seals, MANIFEST_NAME: body}
        found.update({PARITY_PREFIX + name: content for name, content in copies.items()})
    for beside in (seals, {MANIFEST_NAME: body}):
        found.update({top + name: content for top in tops_of(manifest) for name, content in beside.items()})
    return found


def gather(
    wishes: BundleWishes, bring: Callable[[Sequence[Lacking], Mapping[str, Target]], None]
) -> tuple[Contents, tuple[Lacking, ...]]:
    """Find out what the bundle is made of.

    Args:
        wishes: what is asked for.
        bring: brings tools that the mirror lacks into it, as far as it can.

    Returns:
        What it is made of, and which tools could not be had.

    Raises:
        UsageError: ``not-a-mirror``, ``unknown-target``, ``unknown-manifest-format``, ``bad-target-file``.
        IntegrityError: ``bad-manifest``, ``bad-lock``, ``bad-files``.
    """
    held = read_mirror_files(wishes.mirror)
    described = describe_targets(wishes.mirror, held, wishes.targets)
    tools, lacking = choose_tools(held.values(), described.targets, described.machines, with_uv=wishes.with_uv)
    if lacking:
        bring(lacking, described.machines)
        held = read_mirror_files(wishes.mirror)
        tools, lacking = choose_tools(held.values(), described.targets, described.machines, with_uv=wishes.with_uv)
    places = {file.path: wishes.mirror / file.path for file in described.files}
    places.update((one.tool.path, wishes.mirror / one.file.path) for one in tools)
    rows = (bundle_file_of(one.file)._replace(path=one.tool.path) for one in tools)
    contents = Contents(
        targets=described.targets,
        tools=tuple(one.tool for one in tools),
        files=sorted_files((*described.files, *rows)),
        places=places,
    )
    return contents, lacking


def render_root_files(
    draft: Manifest, places: Mapping[str, Path], *, sbom: bool | None
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Make the files that lie beside the manifest; give warnings beside them.

    Raises:
        UsageError: ``no-cyclonedx``.
    """
    reports, warnings = make_reports(places, draft, sbom=sbom)
    return {INSTALLER_NAME: assemble().encode("utf-8"), **reports}, warnings


def remember_number(
    wishes: BundleWishes, contents: Contents, *, now: Callable[[], datetime], floor: int = 0
) -> tuple[Number, tuple[str, ...]]:
    """Number the content, and let the mirror remember it before the bundle is finished; give warnings beside it.

    Raises:
        IntegrityError: ``bad-bundle-memory``.
    """
    state = wishes.mirror / STATE_NAME
    path = state / MEMORY_NAME
    disk = Disk()
    lock = MirrorLock(wishes.mirror, state / "bundling", work="bundle")
    try:
        make_directories(disk, state)
        lock.acquire(lambda _: None)
    except (OSError, UsageError) as error:
        given = _read_given(path)
        number, _ = number_bundle(
            given, contents.targets, contents.files, now=now(), declared=wishes.declared, floor=floor
        )
        said = f"{wishes.mirror} cannot remember that it gave bundle {number.counter}: {error}"
        return number, (f"{said}; another content would get the same number",)
    try:
        before = _read_given(path)
        number, after = number_bundle(
            before, contents.targets, contents.files, now=now(), declared=wishes.declared, floor=floor
        )
        if after != before:
            with disk_errors(wishes.mirror):
                write_atomically(disk, path, render_given(after), temporary=path.with_name(f"{path.name}.new"))
    finally:
        lock.release()
    return number, ()


def _read_given(path: Path) -> Given:
    try:
        return parse_given(path.read_bytes(), source=str(path))
    except FileNotFoundError:
        return Given()
    except OSError as error:
        raise IntegrityError("bad-bundle-memory", f"{path} cannot be read: {error.strerror or error}") from error


def _not_there(destination: BundleDirectory, laid: tuple[Laid, ...], progress: Progress) -> tuple[Laid, ...]:
    """Hash what lies there already, and say which files have to be written."""
    progress.plan({part.file.path: part.file.size for part in laid}, stage=Stage.STOCK)
    missing = []
    for part in laid:
        progress.begin(part.file.path, part.file.size, 0)
        progress.doing(part.file.path, Doing.HASHING)
        if not destination.holds(part.file, advanced=_advancing(progress, part.file)):
            missing.append(part)
        progress.end(part.file.path)
    return tuple(missing)


def _advancing(progress: Progress, file: BundleFile) -> Callable[[int], None]:
    position = 0

    def advanced(count: int) -> None:
        nonlocal position
        position += count
        progress.advance(file.path, position, file.size)

    return advanced


def _require_room(out: Path, missing: tuple[Laid, ...], parity: int) -> None:
    """Ask the file system before the first of many GB is written."""
    files = [part.file for part in missing]
    needed, free = sum(file.size for file in files) + parity + MARGIN, free_bytes(out)
    for file in files:  # what lies there under the name is written over
        place = out / file.path
        free += place.stat().st_size if place.is_file() else 0
    if needed > free:
        facts = {"needed": needed, "free": free}
        raise UpstreamError(
            "disk-full",
            f"the bundle needs {needed:,} bytes in {out}, {free:,} are free; nothing was written",
            facts=facts,
        )
    limit, largest = largest_file(out), max((file.size for file in files), default=0)
    if limit is not None and largest > limit:
        error = file_too_large(out, {"largest file": f"{largest:,} bytes", "it holds": f"{limit:,} bytes"})
        error.hint = "--volume-size fat32 cuts files into pieces that fit"
        raise error


def _copy_all(
    destination: BundleDirectory,
    laid: tuple[Laid, ...],
    places: Mapping[str, Path],
    bodies: Mapping[str, bytes],
    progress: Progress,
) -> None:
    """Copy files, or runs of their bytes; name all of the mirror's that are not what its manifest says.

    Raises:
        IntegrityError: ``bad-files``.
    """
    bad = {}
    progress.plan({part.file.path: part.file.size for part in laid}, stage=Stage.PACK)
    for part in laid:
        file = part.file
        progress.begin(file.path, file.size, 0)
        progress.doing(file.path, Doing.HASHING)
        problem = None
        if part.of in bodies:
            destination.put(file.path, bodies[part.of])
            progress.advance(file.path, file.size, file.size)
        else:
            run = (part.offset, file.size) if part.is_run else None
            problem = destination.copy(places[part.of], file, advanced=_advancing(progress, file), run=run)
        if problem is not None:
            bad[part.of] = problem
        progress.end(file.path, Outcome.DONE if problem is None else Outcome.FAILED)
    if bad:
        raise rotten(bad)


def rotten(bad: Mapping[str, str]) -> PytorchOfflineError:
    """Make the error that names files of the mirror which are not what its manifest says."""
    few = "1 file of the mirror is" if len(bad) == 1 else f"{len(bad)} files of the mirror are"
    return IntegrityError(
        "bad-files",
        f"{few} not what its manifest says; the bundle is not finished",
        facts=dict(bad),
        hint="`pytorch-offline verify --repair` fetches what is bad of them again; then run the same command again: "
        "it goes on with what is whole",
    )
