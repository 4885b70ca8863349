"""``pytorch-offline bundle``: what is carried across the gap, in one directory that needs nothing on the other side."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytorch_offline.bundle.format.manifest import INSTALLER_NAME
from pytorch_offline.bundle.writing.destination import check_place
from pytorch_offline.bundle.writing.gathering import BundleWishes, gather
from pytorch_offline.bundle.writing.handing_over import Signing
from pytorch_offline.bundle.writing.numbering import declared_date
from pytorch_offline.bundle.writing.parity import parity_encoder, parse_percent
from pytorch_offline.bundle.writing.protecting import ParityWish
from pytorch_offline.bundle.writing.since import Saving, read_since
from pytorch_offline.bundle.writing.tools import PIP
from pytorch_offline.bundle.writing.volumes import tops_of
from pytorch_offline.bundle.writing.write import BundleReport, write_bundle
from pytorch_offline.cli.bundled_tools import ToolSupply
from pytorch_offline.cli.help_sections import SectionedCommand
from pytorch_offline.cli.network_options import network_options
from pytorch_offline.cli.progress import shown_progress
from pytorch_offline.cli.progress.words import count
from pytorch_offline.cli.rates import volume_size_option
from pytorch_offline.cli.session import Session, common_options, progress_option
from pytorch_offline.errors import UsageError
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytorch_offline.bundle.format.model import TargetLock
    from pytorch_offline.bundle.writing.tools import Lacking
    from pytorch_offline.crawler.default_index import Reach

EPILOG = """\b
Examples:
  pytorch-offline bundle -o /media/usb/torch
  pytorch-offline bundle -o out --target gpu-node --target login-node
  pytorch-offline bundle -o /media/usb/delta --since held.json.gz
  pytorch-offline bundle -o out --volume-size 4.7GB
  pytorch-offline bundle -o out --volume-size dvd --parity 25%
  pytorch-offline bundle -o out --sign ~/.ssh/id_ed25519
\b
On the other side, with its own Python and nothing else:
  python3 /media/usb/torch/install.py --venv env
"""


@click.command("bundle", cls=SectionedCommand, epilog=EPILOG)
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Where the bundle goes: a new or empty directory, or one that holds it already.",
)
@click.option(
    "--target", "targets", multiple=True, metavar="NAME", help="Only this target's lock; repeatable.  [default: all]"
)
@click.option(
    "--since",
    type=click.Path(path_type=Path),
    metavar="MANIFEST",
    help="Carry only what the far side lacks: the file of its --export-manifest, or the manifest.json that it has.",
)
@volume_size_option(
    "Cut it into volumes that fit a medium: 700MB, 4.7GB, 4GiB-1, or cd, dvd, bd, fat32; without a size for FAT32."
)
@click.option(
    "--parity",
    default=None,
    metavar="N%",
    help="Add so much that mends what is damaged or lost on the way, in volumes of its own where there are volumes.",
)
@click.option("--force", is_flag=True, default=False, help="Write over another bundle that lies there.")
@click.option(
    "--sign",
    "key",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    metavar="KEY",
    help="Sign with this SSH key by ssh-keygen: a private key, or a public one whose other half ssh-agent has.",
)
@click.option(
    "--rotate-from",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    metavar="OLD",
    help="Let this key, which the other side trusts, say that KEY takes its place.",
)
@click.option(
    "--sbom/--no-sbom",
    default=None,
    help="Write sbom.cdx.json, a CycloneDX document of what is inside.  [default: where its library is installed]",
)
@click.option("--with-uv", is_flag=True, default=False, help="Let uv travel along too, for --installer uv.")
@click.option("--default-index", metavar="URL", help="Where pip and uv come from.  [default: as pip is configured]")
@click.option("--no-default-index", is_flag=True, default=False, help="Take pip and uv from the mirror, or do without.")
@click.option("--offline", is_flag=True, default=False, help="Ask no index for them.")
@network_options
@common_options
@progress_option
def command(
    session: Session,
    *,
    out: Path,
    targets: tuple[str, ...],
    since: Path | None,
    volume_size: int | None,
    parity: str | None,
    force: bool,
    key: Path | None,
    rotate_from: Path | None,
    sbom: bool | None,
    with_uv: bool,
    default_index: str | None,
    no_default_index: bool,
    offline: bool,
    reach: Reach,
) -> None:
    """Pack what must be carried: wheels, locks, a manifest of both, and an installer that needs nothing else.

    A pip for each target's Python travels along, for machines whose own is missing or too old; what the mirror lacks of
    it is fetched into the mirror.

    The same mirror and options give the same bytes again. Interrupted at any point, the same command goes on; until it
    is through, the bundle says of itself that it is not finished. Exits with 4 if a file of the mirror is damaged.
    """
    if rotate_from is not None and key is None:
        raise UsageError("bad-usage", "--rotate-from names the key that is left; --sign must name the one after it")
    signing = None if key is None else Signing(key=key, rotate_from=rotate_from, told=session.message)
    wishes = BundleWishes(
        mirror=session.mirror,
        out=out,
        targets=targets,
        force=force,
        signing=signing,
        sbom=sbom,
        with_uv=with_uv,
        declared=declared_date(os.environ),
        since=None if since is None else read_since(since),
        volume_size=volume_size,
        parity=None if parity is None else ParityWish(percent=parse_percent(parity)),
    )
    check_place(out, session.mirror)
    if wishes.parity is not None:
        parity_encoder(wishes.parity.percent)  # before anything is fetched
    supply = ToolSupply(
        session,
        default_index=default_index,
        ask=not (offline or no_default_index),
        reach=reach,
    )
    contents, lacking = gather(wishes, supply.bring)
    for one in lacking:
        session.warn(_render_lacking(one))
    with shown_progress(session) as progress:
        report = write_bundle(wishes, contents, now=partial(datetime.now, UTC), progress=progress)
    for warning in report.warnings:
        session.warn(warning)
    silent = session.verbosity < 0
    session.result(document(report, session.mirror, out), "" if silent else "\n".join(render(report, out)))


def _render_lacking(one: Lacking) -> str:
    if one.name == PIP:
        return f"no pip for target {one.target} travels along: its own must do, if it has one"
    return f"no {one.name} for target {one.target} could be had: there --installer {one.name} will need its own"


def render(report: BundleReport, out: Path) -> Iterator[str]:
    """Say what was written, for people."""
    manifest = report.manifest
    carried = sum(file.carried for file in manifest.files)
    held = f"{count(carried)}, {render_size(report.size)}"
    volumes = (
        "" if manifest.volume_size is None else f" in volumes of {manifest.volume_size:,} bytes: {manifest.volumes}"
    )
    yield f"bundle {manifest.counter} of {manifest.created} in {out}: {held}{volumes}"
    yield from (f"  {_render_target(target)}" for target in manifest.targets)
    if not report.written:
        yield "all of it lay there already, every byte was read again"
    elif report.bytes_written != report.size:
        yield f"{render_size(report.bytes_written)} were written, the rest lay there already"
    if report.saving is not None:
        yield from _render_saving(report.saving)
    if report.parity is not None:
        yield f"parity: {report.parity}"
    yield f"id: {manifest.id}"
    yield f"signed by: {report.signed_by or 'nobody (--sign KEY)'}"
    where = Path(out.name or "DIR", tops_of(manifest)[0], INSTALLER_NAME)
    if manifest.base is None:
        yield f"on the other side: python3 {where} --venv env"
    else:
        yield f"on the other side: pytorch-offline import {out.name} --mirror MIRROR"
        yield f"or, with its base beside it: python3 {where} --from BASE --from {out.name} --venv env"


def _render_saving(saving: Saving) -> Iterator[str]:
    left = f"{count(saving.files)}, {render_size(saving.size)}, stay with the base {saving.base[:12]}"
    if saving.is_empty:
        yield f"nothing new: the far side has every wheel of it already ({left})"
    else:
        yield f"a delta: {left}"


def _render_target(target: TargetLock) -> str:
    torch = next((wheel for wheel in target.wheels if wheel.project == "torch"), None)
    size = render_size(sum(wheel.installed_bytes for wheel in target.wheels))
    held = f"{count(len(target.wheels))}, {size} installed" + (f", torch {torch.version}" if torch else "")
    return f"{target.target}: Python {target.python} on {target.system} {target.machine}; {held}"


def document(report: BundleReport, mirror: Path, out: Path) -> dict[str, Any]:
    """Make the result for programs."""
    manifest = report.manifest
    return {
        "mirror": str(mirror),
        "bundle": str(out),
        "id": manifest.id,
        "lineage": manifest.lineage,
        "counter": manifest.counter,
        "base": manifest.base,
        "created": manifest.created,
        "left_out": None if report.saving is None else {"files": report.saving.files, "bytes": report.saving.size},
        "targets": [target.target for target in manifest.targets],
        "tools": [tool.path for tool in manifest.tools],
        "files": sum(file.carried for file in manifest.files),
        "bytes": report.size,
        "written": report.written,
        "bytes_written": report.bytes_written,
        "volumes": manifest.volumes,
        "parity": report.parity,
        "signed_by": report.signed_by,
        "seconds": round(report.seconds, 3),
        "warnings": list(report.warnings),
    }
