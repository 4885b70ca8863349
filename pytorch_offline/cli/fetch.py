"""``pytorch-offline fetch``: select, download, verify, and publish into the mirror."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import PurePosixPath

import click

from pytorch_offline.cli.choosing import Choosing, choosing_options
from pytorch_offline.cli.fetched import document_of_fetched, render_fetched
from pytorch_offline.cli.help_sections import SectionedCommand
from pytorch_offline.cli.progress import shown_progress, shown_wait
from pytorch_offline.cli.rates import rate_option
from pytorch_offline.cli.selection import chosen, document
from pytorch_offline.cli.session import Session, common_options, progress_option, wait_option
from pytorch_offline.crawler.default_index import retrying
from pytorch_offline.crawler.drift_log import DriftLog
from pytorch_offline.disk_errors import disk_errors
from pytorch_offline.mirror.fetch import JOBS, fetch_files
from pytorch_offline.mirror.flow import CONNECTIONS
from pytorch_offline.mirror.metadata_check import check_metadata
from pytorch_offline.mirror.places import places_of
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.transfer import PATIENCE
from pytorch_offline.mirror.wanted import render_locks, wanted_files
from pytorch_offline.selector.fleet.fleet import render_selections

EPILOG = """\b
Examples:
  pytorch-offline fetch torch torchvision --target gpu-node.json
  pytorch-offline fetch torch==2.4.0 --preset ubuntu22.04 --driver 535.104.05
  pytorch-offline fetch torch==2.13.0 --python-version 3.12 --platform macosx_14_0_arm64 --mirror /srv/mirror
"""


@click.command("fetch", cls=SectionedCommand, epilog=EPILOG)
@common_options
@progress_option
@choosing_options
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 32),
    default=JOBS,
    show_default=True,
    metavar="N",
    help="How many files to download at once.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 32),
    default=CONNECTIONS,
    metavar="N",
    show_default=True,
    help="How many connections to one host, all files together; a file has more than one only where that is faster.",
)
@rate_option("Bytes per second in all: 500k, 20M.")
@wait_option
def command(
    session: Session, choosing: Choosing, *, jobs: int, connections: int, limit_rate: int | None, wait: float | None
) -> None:
    """Choose the wheels for a target, download and verify them, and publish them in the mirror.

    Interrupted at any point, the same command continues where it stopped. What the mirror already holds is not
    downloaded again. The locks are written to MIRROR/locks.
    """
    now = partial(datetime.now, UTC)
    with ExitStack() as stack:
        with shown_wait(session, "choosing what to fetch"):
            choice = stack.enter_context(chosen(session, choosing))
        selections = choice.selections
        mirror = Mirror(session.mirror, work="fetch", patience=wait)
        with mirror.lock(waiting=session.message), disk_errors(mirror.root):
            with shown_progress(session) as progress:
                report = fetch_files(
                    mirror,
                    wanted_files(selections, choice.upstreams),
                    choice.http,
                    jobs=jobs,
                    connections=connections,
                    limit_rate=limit_rate,
                    retry=PATIENCE if (retries := choosing.reach.retries) is None else retrying(PATIENCE, retries),
                    progress=progress,
                    now=now,
                    log=DriftLog(choice.catalogue, now=now),
                )
            check_metadata(
                selections,
                read=lambda path: (mirror.root / path).read_bytes(),
                correct=lambda link, body: choice.catalogue.store_metadata(link, body, "wheel"),
            )
            held = mirror.read_files()
            for selection in selections:
                mirror.write_locks(render_locks(selection, held))
    sizes = {url: held[PurePosixPath(place)].size for one in selections for url, place in places_of(one).items()}
    result = document(selections, sizes=sizes, held=held, sharing=choice.sharing) | {
        "mirror": str(session.mirror),
        **document_of_fetched(report),
        "locks": [f"locks/pylock.{selection.target.name}.toml" for selection in selections],
    }
    lines = [render_selections(selections, sizes, choice.sharing.summary if choice.sharing else ())]
    lines += render_fetched(report, session.mirror, [selection.target.name for selection in selections])
    session.result(result, "\n".join(lines))
