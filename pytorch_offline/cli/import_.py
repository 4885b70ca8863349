"""``pytorch-offline import``: merge a bundle that was carried here into a LAN mirror, while that is served."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytorch_offline.bundle.importing.held import holdings_of_mirror
from pytorch_offline.bundle.importing.run import ImportRules, import_bundle
from pytorch_offline.bundle.reading.exporting import write_holdings
from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.bundle.reading.pins import PinPlaces, pins_after, pins_of_mirror, write_pins
from pytorch_offline.bundle.reading.signature import describe_signature
from pytorch_offline.bundle.reading.signed_source import judge_source
from pytorch_offline.cli.progress import shown_progress
from pytorch_offline.cli.progress.words import count
from pytorch_offline.cli.session import Session, common_options, progress_option, wait_option
from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.errors import UsageError
from pytorch_offline.installer.exporting import exported_document, render_exported
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytorch_offline.bundle.importing.run import ImportReport
    from pytorch_offline.bundle.reading.signature import SignatureStatus

EPILOG = """\b
Examples:
  pytorch-offline import /media/usb --mirror /srv/mirror
  pytorch-offline import /media/disc1 /media/disc2 --mirror /srv/mirror
  pytorch-offline import /media/usb --mirror /srv/mirror --export-manifest held.json.gz
  pytorch-offline import --mirror /srv/mirror --export-manifest held.json.gz
"""
_DIRECTORY = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
# More lines than a screen has, nobody reads.
MOST_TOLD = 20


@click.command("import", epilog=EPILOG, short_help="Merge a bundle into a LAN mirror, while it is served.")
@click.argument("bundles", metavar="[BUNDLE]...", nargs=-1, type=_DIRECTORY)
@common_options
@progress_option
@click.option(
    "--allow-older", is_flag=True, default=False, help="Take a bundle that is older than one that was taken here."
)
@click.option(
    "--base-by-content",
    is_flag=True,
    default=False,
    help="Take a delta that was made for another base, if all that it leaves out is here.",
)
@click.option("--allowed-signers", type=_FILE, metavar="FILE", help="Whose signatures count, as ssh-keygen reads it.")
@click.option("--pin", is_flag=True, default=False, help="Trust the key that signed from now on, if nobody is pinned.")
@click.option(
    "--allow-unsigned", is_flag=True, default=False, help="Take what is not signed, although keys are pinned."
)
@click.option("--dry-run", is_flag=True, default=False, help="Say what would be done; change nothing.")
@click.option(
    "--export-manifest",
    "export",
    type=_FILE,
    metavar="FILE",
    help="Then write what the mirror holds, for bundle --since on the other side; FILE.gz is compressed.",
)
@wait_option
def command(
    session: Session,
    *,
    bundles: tuple[Path, ...],
    allow_older: bool,
    base_by_content: bool,
    allowed_signers: Path | None,
    pin: bool,
    allow_unsigned: bool,
    dry_run: bool,
    export: Path | None,
    wait: float | None,
) -> None:
    """Merge a bundle, or a delta, into a mirror; name the directories of all its volumes.

    Every file is proved before any is admitted, and pages change once, at the end: the mirror can be served meanwhile.
    Interrupted at any point, the same command goes on. Wheels that are there are not copied, and none is removed. A
    bundle that is older than one that was taken is refused, and so is a delta for another base.
    """
    if not bundles and export is None:
        raise UsageError("no-bundle", "no bundle is named", hint="see pytorch-offline import --help")
    mirror = Mirror(session.mirror, work="import", patience=wait)
    document: dict[str, Any] = {"mirror": str(session.mirror)}
    lines: list[str] = []
    if bundles:
        source = open_source([str(place) for place in bundles])
        places = PinPlaces(given=allowed_signers, mirror=session.mirror)
        signature = judge_source(source, places, os.environ, time.time, allow_unsigned=allow_unsigned)
        for sentence in describe_signature(signature, pinning=pin):
            session.message(sentence)
        with shown_progress(session) as progress:
            report = import_bundle(
                mirror,
                source,
                rules=ImportRules(allow_older=allow_older, base_by_content=base_by_content),
                dry_run=dry_run,
                progress=progress,
                now=partial(datetime.now, UTC),
            )
        if report.note is not None:
            session.warn(report.note)
        pins = pins_after(signature, pin=pin)
        if pins is not None and not dry_run:
            place = pins_of_mirror(session.mirror)
            with disk_errors(session.mirror):
                write_pins(place, pins)
            session.message(f"from now on only bundles of these signers are taken here: {place}")
        document |= document_of(report, signature, dry_run=dry_run)
        lines += render(report, session.mirror, dry_run=dry_run)
    if export is not None and not dry_run:
        with disk_errors(export.parent, called="directory"):
            exported = write_holdings(export, holdings_of_mirror(mirror))
        document["exported"] = exported_document(exported)
        lines.append(render_exported(exported))
    session.result(document, "" if session.verbosity < 0 else "\n".join(lines))


def document_of(report: ImportReport, signature: SignatureStatus, *, dry_run: bool) -> dict[str, Any]:
    """Make the result for programs."""
    manifest = report.manifest
    return {
        "dry_run": dry_run,
        "bundle": {
            "id": manifest.id,
            "lineage": manifest.lineage,
            "counter": manifest.counter,
            "base": manifest.base,
            "created": manifest.created,
            "signed": signature.signed,
            "signer": signature.principal,
            "key": signature.fingerprint,
        },
        "taken_before": report.again,
        "brought": [
            {"path": str(row.path), "size": row.size, "sha256": row.sha256, "origin": row.origin}
            for row in report.brought
        ],
        "bytes": report.size,
        "already": report.there,
        "restated": report.restated,
        "locks": list(report.locks),
        "not_in_bundle": report.beyond,
    }


def render(report: ImportReport, mirror: Path, *, dry_run: bool) -> Iterator[str]:
    """Say what was done, or would be."""
    manifest = report.manifest
    for row in report.brought[:MOST_TOLD]:
        yield f"{'would bring' if dry_run else 'brought'}: {row.path}, {render_size(row.size)}"
    if len(report.brought) > MOST_TOLD:
        yield f"and {count(len(report.brought) - MOST_TOLD)} more (--json names all)"
    if report.locks:
        yield f"{'would write' if dry_run else 'locks written'}: {', '.join(report.locks)}"
    if report.restated:
        yield f"{count(report.restated)} that were there: what is said of them has changed"
    if report.beyond:
        yield f"{count(report.beyond)} of the mirror are not in this bundle; they stay (prune removes)"
    kind = "bundle" if manifest.base is None else "delta"
    number = f"{kind} {manifest.counter} of {manifest.created} ({manifest.id[:12]})"
    came = f"{count(len(report.brought))}, {render_size(report.size)}"
    if not report.brought and not report.locks and not report.restated:
        yield f"{mirror} has all of {number} already: nothing to do"
    else:
        verb = "would come" if dry_run else "came"
        yield f"{number}: {came} {verb}; {count(report.there)} were in {mirror} already"
