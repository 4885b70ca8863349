"""``pytorch-offline publish``: the public tree, brought to another directory or a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from pytorch_offline.addresses import host_of
from pytorch_offline.cli.help_sections import SectionedCommand
from pytorch_offline.cli.network_options import network_options
from pytorch_offline.cli.progress import shown_progress
from pytorch_offline.cli.progress.words import count, duration, speed
from pytorch_offline.cli.session import Session, common_options, progress_option, wait_option
from pytorch_offline.crawler.default_index import Reach, retrying
from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.publishing.directory import DirectoryDestination
from pytorch_offline.mirror.publishing.places import BucketPlace, check_directory, parse_place
from pytorch_offline.mirror.publishing.publish import JOBS, Wishes, publish_mirror
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.transfer import PATIENCE
from pytorch_offline.mirror.workers import Stop
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path, PurePosixPath

    from pytorch_offline.mirror.progress import Progress
    from pytorch_offline.mirror.publishing.destination import Destination
    from pytorch_offline.mirror.publishing.model import PublishReport

EPILOG = """\b
Examples:
  pytorch-offline publish /mnt/nfs/mirror
  pytorch-offline publish s3://wheels/pytorch --profile mirror --region eu-central-1
  pytorch-offline publish s3://wheels --endpoint-url https://s3.lan:9000 --cert ca.pem
  pytorch-offline publish s3://wheels --delete --dry-run
"""
# A dry run names so many files of each kind; --json has all, and so has -v.
_SHOWN = 20


@click.command("publish", cls=SectionedCommand, epilog=EPILOG)
@click.argument("dest")
@common_options
@progress_option
@click.option("--delete", is_flag=True, default=False, help="Remove there, last of all, what the mirror no longer has.")
@click.option("--dry-run", is_flag=True, default=False, help="Say what would be done; change nothing.")
@click.option("--replace", is_flag=True, default=False, help="Write over wheels that were published with other bytes.")
@click.option("--checksum", is_flag=True, default=False, help="Read again all that is there; believe no record.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 64),
    default=JOBS,
    show_default=True,
    metavar="N",
    help="How many pieces of 8 MiB to send at once.",
)
@click.option(
    "--public-url",
    metavar="URL",
    help="Where readers will find it, for the locks.  [default: the bucket at its endpoint]",
)
@click.option("--endpoint-url", metavar="URL", help="The address of an S3-compatible server, if it is not AWS.")
@click.option("--region", metavar="NAME", help="The bucket's region.  [default: AWS's own settings]")
@click.option("--profile", metavar="NAME", help="A section of ~/.aws/config.  [default: AWS_PROFILE]")
@wait_option
@network_options
@click.pass_context
def command(
    context: click.Context,
    session: Session,
    *,
    dest: str,
    delete: bool,
    dry_run: bool,
    replace: bool,
    checksum: bool,
    jobs: int,
    public_url: str | None,
    endpoint_url: str | None,
    region: str | None,
    profile: str | None,
    wait: float | None,
    reach: Reach,
) -> None:
    """Copy the public tree to DEST: another directory, or s3://BUCKET/PREFIX.

    Wheels first, then the pages that name them, the manifest last: a reader finds only links to what is there.
    Interrupted at any point, the same command continues. Nothing is removed unless asked for. Exits with 4 if a file of
    the mirror is damaged; the others are published.
    """
    place = parse_place(dest)
    if public_url is not None and urlsplit(public_url).scheme not in {"http", "https"}:
        raise UsageError("bad-url", f"--public-url {public_url} is no http or https address")
    mirror = Mirror(session.mirror, work="publish")
    stop = Stop()
    with shown_progress(session) as progress:
        destination: Destination
        if isinstance(place, BucketPlace):
            options = {"url": endpoint_url, "region": region, "profile": profile}
            destination = _bucket(place, options, reach, jobs=jobs, stop=stop, progress=progress)
        else:
            if given := [f"--{name}" for name, value in _bucket_options(endpoint_url, region, profile) if value]:
                raise UsageError("contradiction", f"{', '.join(given)} is for buckets, and {dest} is a directory")
            check_directory(place, session.mirror)
            destination = DirectoryDestination(place, patience=wait, say=session.message)
        report = publish_mirror(
            mirror,
            destination,
            wishes=Wishes(
                dry_run=dry_run,
                delete=delete,
                replace=replace,
                reread=checksum,
                address=None if public_url is None else public_url.rstrip("/"),
                jobs=jobs,
            ),
            stop=stop,
            progress=progress,
        )
    address = public_url or destination.address
    # cron mails whatever is printed: nothing is, with --quiet, where all went well
    silent = session.verbosity < 0 and not report.failures
    session.result(
        document(report, session.mirror, destination.name, address),
        "" if silent else "\n".join(render(report, destination.name, address, everything=session.verbosity > 0)),
    )
    if report.failures:
        context.exit(IntegrityError.exit_code)


def _bucket_options(
    endpoint_url: str | None, region: str | None, profile: str | None
) -> tuple[tuple[str, str | None], ...]:
    return ("endpoint-url", endpoint_url), ("region", region), ("profile", profile)


def _bucket(
    place: BucketPlace, options: dict[str, str | None], reach: Reach, *, jobs: int, stop: Stop, progress: Progress
) -> Destination:
    """Reach a bucket; what speaks S3 is imported for it alone."""
    from pytorch_offline.mirror.publishing.object_store import ObjectStoreDestination  # noqa: PLC0415
    from pytorch_offline.mirror.publishing.s3_client import Endpoint, connect, readers_address  # noqa: PLC0415

    url = options["url"]
    if url is not None and urlsplit(url).scheme not in {"http", "https"}:
        raise UsageError("bad-url", f"--endpoint-url {url} is no http or https address")
    endpoint = Endpoint(
        url=url,
        region=options["region"],
        profile=options["profile"],
        proxy=reach.proxy,
        cert=reach.cert,
        client_cert=reach.client_cert,
        unchecked=url is not None and bool({host_of(url), urlsplit(url).hostname} & set(reach.trusted_hosts)),
        timeout=reach.timeout,
        connections=jobs,
    )
    client, address = connect(endpoint)
    readers = readers_address(address, place.bucket) + (f"/{place.prefix}" if place.prefix else "")
    return ObjectStoreDestination(
        client,
        place.bucket,
        place.prefix,
        address=readers,
        stop=stop,
        progress=progress,
        retry=PATIENCE if reach.retries is None else retrying(PATIENCE, reach.retries),
    )


def render(report: PublishReport, name: str, address: str | None, *, everything: bool) -> list[str]:
    """Say what was done, or would be, for people."""
    lines = []
    for failed in report.failures:
        lines.append(f"bad: {failed.path}: {failed.error.message.removeprefix(f'{failed.path} ')}")
        lines += [f"  {key}: {value}" for key, value in failed.error.facts.items() if key != "file"]
    lines += [f"hint: {hint}" for hint in dict.fromkeys(failed.error.hint for failed in report.failures) if hint]
    if report.planned or everything:
        would = "would " if report.planned else ""
        lines += _named(f"{would}send", report.sent, everything=everything)
        lines += _named(f"{would}write", report.pages, everything=everything)
    if report.planned or everything or report.removed:
        lines += _named("would remove" if report.planned else "removed", report.removed, everything=everything)
    lines += _named("held back, as something that it names is not there", report.held_back, everything=everything)
    lines.append(_summary(report))
    if report.bytes_continued:
        lines.append(f"continued: {render_size(report.bytes_continued)} had come in an earlier run")
    if report.uploads_aborted:
        lines.append(f"unfinished uploads of earlier runs, cleaned away: {report.uploads_aborted}")
    if report.surplus:
        lines.append(f"{count(len(report.surplus))} there that the mirror no longer has; --delete removes them")
    lines.append(f"destination: {name}")
    if address is not None:
        lines.append(f"readers, if it lets them: pip install torch --index-url {address}/whl/BACKEND")
    return lines


def _summary(report: PublishReport) -> str:
    size = render_size(report.bytes_sent)
    if report.planned:
        return f"{count(len(report.sent))} to send ({size}), {report.present} there already; nothing was changed"
    if report.bytes_per_second is not None:
        size += f" in {duration(report.seconds)}, {speed(report.bytes_per_second)}"
    copied = f", {len(report.copied)} copied there" if report.copied else ""
    return (
        f"{count(len(report.sent))} sent ({size}){copied}, {report.present} already there; "
        f"pages and locks written: {len(report.pages)}"
    )


def _named(what: str, paths: Iterable[PurePosixPath], *, everything: bool) -> Iterator[str]:
    paths = list(paths)
    shown = paths if everything else paths[:_SHOWN]
    yield from (f"{what}: {path}" for path in shown)
    if len(paths) > len(shown):
        yield f"{what}: and {len(paths) - len(shown)} more (-v names them)"


def document(report: PublishReport, mirror: Path, name: str, address: str | None) -> dict[str, Any]:
    """Make the result for programs."""
    return {
        "mirror": str(mirror),
        "destination": name,
        "address": address,
        "ok": not report.failures,
        "dry_run": report.planned,
        "sent": [str(path) for path in report.sent],
        "copied": [str(path) for path in report.copied],
        "already_there": report.present,
        "pages": [str(path) for path in report.pages],
        "held_back": [str(path) for path in report.held_back],
        "removed": [str(path) for path in report.removed],
        "surplus": [str(path) for path in report.surplus],
        "failed": [
            {"path": str(one.path), "code": one.error.code, "message": one.error.message, "facts": one.error.facts}
            for one in report.failures
        ],
        "bytes_sent": report.bytes_sent,
        "bytes_continued": report.bytes_continued,
        "uploads_aborted": report.uploads_aborted,
        "seconds": round(report.seconds, 3),
        "bytes_per_second": report.bytes_per_second,
    }
