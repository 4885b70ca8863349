"""Write a bundle: number, draft, pack, copy, finish. The steps between are values (``plan.py``)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.manifest import INSTALLER_NAME, MANIFEST_NAME, parse_manifest, render_manifest
from pytorch_offline.bundle.reading.parity import PARITY_PREFIX
from pytorch_offline.bundle.writing.assembly import assemble
from pytorch_offline.bundle.writing.copying import copy_all, not_there, require_room, rotten
from pytorch_offline.bundle.writing.destination import BundleDirectory, check_place
from pytorch_offline.bundle.writing.handing_over import seal, signer_of
from pytorch_offline.bundle.writing.numbering import seconds_of
from pytorch_offline.bundle.writing.packing import pack_manifest
from pytorch_offline.bundle.writing.parity import parity_encoder
from pytorch_offline.bundle.writing.plan import add_root_files, draft_manifest
from pytorch_offline.bundle.writing.protecting import promise_of, protect, protected_before
from pytorch_offline.bundle.writing.remembering import remember_number
from pytorch_offline.bundle.writing.reports import make_reports
from pytorch_offline.bundle.writing.since import counter_floor, make_delta
from pytorch_offline.bundle.writing.volumes import labels_of, lay_out, tops_of
from pytorch_offline.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from pytorch_offline.bundle.format.model import Manifest
    from pytorch_offline.bundle.writing.destination import Standing
    from pytorch_offline.bundle.writing.gathering import BundleWishes
    from pytorch_offline.bundle.writing.plan import Contents
    from pytorch_offline.bundle.writing.since import Saving
    from pytorch_offline.mirror.progress import Progress


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
    number, warnings = remember_number(
        wishes.mirror, contents, now=now, declared=wishes.declared, floor=counter_floor(wishes.since)
    )
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
    missing = laid if standing.is_free else not_there(destination, laid, progress)
    last, seals = ({}, {}) if protected is None else finish(wishes, protected, bodies, destination, standing)
    if standing.unfinished or missing or protected is None or not destination.holds_bodies(last):
        data = lay_out(manifest)
        copied = tuple(part for part in missing if part in data)
        require_room(wishes.out, copied, 0 if wishes.parity is None else wishes.parity.size(manifest))
        with destination.changing():
            destination.begin_anew([part.file.path for part in data])
            copy_all(destination, copied, contents.places, bodies, progress)
            if wishes.parity is not None:
                protected = protect(manifest, destination, wishes.parity, progress)
                tops = [part for part in lay_out(protected) if part.of in bodies and part not in data]
                copy_all(destination, tuple(tops), contents.places, bodies, progress)  # of parity's own volumes
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
    """Keep what lies there, unless it is of the same content and as complete, or is meant to go.

    Raises:
        UsageError: ``bundle-exists``.
    """
    if there is None or wishes.force:
        return
    if (there.id, there.base) == (manifest.id, manifest.base):
        return
    raise UsageError(
        "bundle-exists",
        f"{wishes.out} holds another bundle, number {there.counter} of {there.created}",
        facts={"it has": _said_of(there), "asked for": _said_of(manifest)},
        hint="name a new directory, or write over it with --force",
    )


def _said_of(manifest: Manifest) -> str:
    kind = "complete" if manifest.base is None else f"on top of {manifest.base[:12]}"
    return f"content {manifest.id[:12]}, {kind}"


def finishing_files(manifest: Manifest, body: bytes, seals: Mapping[str, bytes], installer: bytes) -> dict[str, bytes]:
    """Make labels, seals, and last of all the manifest at every top; parity in one directory has copies of them."""
    found = labels_of(manifest)
    if manifest.parity is not None and manifest.volume_size is None:
        copies = {INSTALLER_NAME: installer, **seals, MANIFEST_NAME: body}
        found.update({PARITY_PREFIX + name: content for name, content in copies.items()})
    for beside in (seals, {MANIFEST_NAME: body}):
        found.update({top + name: content for top in tops_of(manifest) for name, content in beside.items()})
    return found


def render_root_files(
    draft: Manifest, places: Mapping[str, Path], *, sbom: bool | None
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Make the files that lie beside the manifest; give warnings beside them.

    Raises:
        UsageError: ``no-cyclonedx``.
    """
    reports, warnings = make_reports(places, draft, sbom=sbom)
    return {INSTALLER_NAME: assemble().encode("utf-8"), **reports}, warnings
