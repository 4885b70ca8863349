"""Find out what a bundle is made of: what is asked for, what the mirror has of it, which tools go along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.bundle.writing.facts import bundle_file_of, describe_targets, read_mirror_files
from pytorch_offline.bundle.writing.plan import Contents, sorted_files
from pytorch_offline.bundle.writing.tools import choose_tools

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pytorch_offline.bundle.format.holdings import Holdings
    from pytorch_offline.bundle.writing.handing_over import Signing
    from pytorch_offline.bundle.writing.protecting import ParityWish
    from pytorch_offline.bundle.writing.tools import Lacking
    from pytorch_offline.target.model import Target


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
