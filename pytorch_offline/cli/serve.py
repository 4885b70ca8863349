"""``serve``: the mirror for a LAN, under pytorch.org's own paths."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click
from packaging.version import Version

from pytorch_offline.addresses import redacted
from pytorch_offline.cli.gateway_options import GatewayOptions, gateway_options, make_gateway
from pytorch_offline.cli.service_options import ServiceOptions, make_service, service_options
from pytorch_offline.cli.session import Session, common_options
from pytorch_offline.cli.signals import Interrupted
from pytorch_offline.mirror.layout import channel_of
from pytorch_offline.mirror.standing import STALE_AFTER
from pytorch_offline.selector.explaining.render import render_size
from pytorch_offline.server.monitoring.health import health_page
from pytorch_offline.server.monitoring.kept_standing import KeptStanding
from pytorch_offline.server.people.address import parse_address
from pytorch_offline.server.people.kept import KeptHoldings
from pytorch_offline.server.people.page import PeoplePage
from pytorch_offline.server.routed import Routed
from pytorch_offline.server.tree.following import FollowedMirror
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
    from contextlib import AbstractAsyncContextManager
    from pathlib import PurePosixPath

    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.server.tree.snapshot import Snapshot

# How soon what broke off for a reason that nobody foresaw is begun again.
_AGAIN_SECONDS = 10.0
# So many commands are shown to try; a mirror of everything has dozens.
_EXAMPLES = 3
# Of a gateway nobody has asked anything yet; every upstream has this one, and it runs on every machine.
_TRIED_FIRST = "cpu"

EPILOG = """\b
Examples:
  pytorch-offline serve
  pytorch-offline serve --host 0.0.0.0 --port 8080
  pytorch-offline serve --host 0.0.0.0 --upstream https://download.pytorch.org/whl --max-size 500G
  pytorch-offline serve --host :: --tls-cert mirror.pem --tls-key mirror.key --htpasswd users
"""


@click.command(epilog=EPILOG, short_help="Serve the mirror to a LAN.")
@service_options
@gateway_options
@click.option(
    "--stale-after",
    type=click.FloatRange(min=0, min_open=True),
    default=STALE_AFTER.days,
    show_default=True,
    metavar="DAYS",
    help="When /health calls what is served stale: no crawl, nothing new and no verification for so long.",
)
@common_options
def command(session: Session, *, service_options: ServiceOptions, gateway: GatewayOptions, stale_after: float) -> None:
    """Serve the mirror under pytorch.org's own paths, until told to end.

    Clients use pytorch.org's own commands with the host replaced. What another process publishes into the mirror is
    served from then on. With --upstream, what the mirror has not is asked of that index and kept.
    """
    mirror = FollowedMirror(session.mirror, tell=session.message)
    mirror.load()
    from pytorch_offline.server.handler import Handler  # noqa: PLC0415  (aiohttp takes a third of a second to import)
    from pytorch_offline.server.listening.door import addresses, own_addresses, urls_for_clients  # noqa: PLC0415
    from pytorch_offline.server.monitoring.metrics import Metrics, metrics_page  # noqa: PLC0415
    from pytorch_offline.server.monitoring.tally import Tally  # noqa: PLC0415
    from pytorch_offline.server.running import serve_until_told  # noqa: PLC0415

    held = KeptHoldings(session.mirror, lambda: mirror.snapshot)
    held.refresh()
    standing = KeptStanding(session.mirror, mirror)
    asking = make_gateway(session, gateway, mirror)
    figures = None if asking is None else asking.figures
    tally, limit = Tally(), timedelta(days=stale_after)
    people = PeoplePage(lambda: held.current, lambda: standing.current, fetches=asking is not None, stale_after=limit)
    routes = {
        **people.routes(),
        "/health": health_page(standing, figures, stale_after=limit),
        "/metrics": metrics_page(Metrics(tally=tally, kept=standing, figures=figures, stale_after=limit)),
    }
    handler = Handler(Routed(mirror if asking is None else asking, routes), complain=session.warn)
    beside: list[AbstractAsyncContextManager[object]] = [
        _living(follow, session.warn) for follow in (mirror.follow, held.follow, standing.follow)
    ]
    beside += [] if asking is None else [asking]
    service = make_service(session, service_options, handler, beside=beside, tally=tally)
    bound = addresses(service.listeners)
    urls = urls_for_clients(bound, own_addresses(), tls=service.certificate is not None)

    def ready() -> None:
        upstream = None if asking is None or gateway.upstream is None else redacted(gateway.upstream)
        to_try = examples(urls[0], mirror.snapshot, upstream=upstream)
        held_now = {"files": len(mirror.snapshot.files), "upstream": upstream, "examples": to_try}
        session.result(
            {"listening": urls[0], "addresses": urls} | held_now, "\n".join(f"listening on {url}" for url in urls)
        )
        if upstream is not None:
            session.message(f"what the mirror has not is fetched from {upstream}")
        for line in to_try:
            session.message(line)

    number = asyncio.run(serve_until_told(service, ready))
    answered, sent = sum(tally.answers.values()), render_size(sum(tally.sent.values()))
    session.message(f"ended: {answered} {'request' if answered == 1 else 'requests'} answered, {sent} sent")
    if number == signal.SIGINT:
        raise Interrupted(number)  # Ctrl-C has a code of its own; who sends SIGTERM got what was asked for


@asynccontextmanager
async def _living(
    follow: Callable[[], Coroutine[None, None, None]], warn: Callable[[str], None]
) -> AsyncIterator[None]:
    """Let something follow what changes for as long as the context lasts, whatever befalls it."""

    async def go_on() -> None:
        while True:
            try:
                await follow()
            except Exception as error:  # noqa: BLE001  (a server that stands still would look well)
                warn(f"what changes could not be followed, and is tried again: {type(error).__name__}: {error}")
            await asyncio.sleep(_AGAIN_SECONDS)

    follower = asyncio.create_task(go_on())
    try:
        yield
    finally:
        follower.cancel()


def examples(url: str, snapshot: Snapshot, *, upstream: str | None = None) -> list[str]:
    """Give commands that work with this mirror, for people to try; a gateway's first one fills it."""
    address = parse_address(url)
    trust = "" if address is None or address.is_trusted_by_pip else f" --trusted-host {address.host}"
    if not snapshot.files and upstream is not None:
        return [f"pip install torch --index-url {url}/whl/{_TRIED_FIRST}{trust}"]
    if not snapshot.files:
        nothing = f"the mirror in {snapshot.root} is empty"
        if not snapshot.root.is_dir():
            nothing = f"{snapshot.root} is not there yet"
        return [f"{nothing}; what `pytorch-offline fetch` puts there is served at once"]
    newest = newest_torch(snapshot.files.values())
    lines = [f"pip install torch --index-url {url}/{directory}{trust}" for directory in newest[:_EXAMPLES]]
    if len(newest) > _EXAMPLES:
        lines.append(f"and {len(newest) - _EXAMPLES} more builds of torch; {url}/ lists them")
    return lines or [f"pip install PROJECT --index-url {url}/simple/{trust}"]


def newest_torch(files: Iterable[MirrorFile]) -> list[PurePosixPath]:
    """Name the directories that hold builds of torch: the newest torch first, then the newest CUDA, then the others.

    The channel's own directory counts only where no variant of it has torch: it mixes them all.
    """
    newest: dict[PurePosixPath, Version] = {}
    for file in files:
        name = parse_wheel_name(file.path.name)
        if name.project == "torch":
            version = Version(name.version.public)
            newest[file.path.parent] = max(version, newest.get(file.path.parent, version))
    variants = {directory: version for directory, version in newest.items() if channel_of(directory / "x") != directory}
    shown = variants or newest
    return sorted(shown, key=lambda at: (shown[at], at.name.startswith("cu"), at), reverse=True)
