"""``serve``: the mirror for a LAN, under pytorch.org's own paths."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from pytorch_offline.cli.session import Session, common_options
from pytorch_offline.server.following import FollowedMirror

if TYPE_CHECKING:
    from pytorch_offline.server.snapshot import Snapshot

EPILOG = """\b
Examples:
  pytorch-offline serve
  pytorch-offline serve --host 0.0.0.0 --port 8080
"""


@click.command(epilog=EPILOG, short_help="Serve the mirror to a LAN.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@common_options
def command(session: Session, *, host: str, port: int) -> None:
    """Serve the mirror under pytorch.org's own paths, until told to end.

    Clients use pytorch.org's own commands with the host replaced. What another process publishes into the mirror is
    served from then on.
    """
    mirror = FollowedMirror(session.mirror, tell=session.message)
    mirror.load()
    asyncio.run(_serve(session, mirror, host, port))


async def _serve(session: Session, mirror: FollowedMirror, host: str, port: int) -> None:
    from pytorch_offline.server.handler import Handler  # noqa: PLC0415  (aiohttp takes a third of a second to import)
    from pytorch_offline.server.listening import listening  # noqa: PLC0415

    handler = Handler(mirror, complain=session.warn)
    async with listening(handler, host=host, port=port) as (address, bound):
        name = f"[{address}]" if ":" in address else address
        url = f"http://{name}:{bound}"
        session.result({"listening": url, "files": len(mirror.snapshot.files)}, f"listening on {url}")
        for line in examples(url, mirror.snapshot):
            session.message(line)
        follower = asyncio.create_task(mirror.follow())
        try:
            await asyncio.Event().wait()
        finally:
            follower.cancel()


def examples(url: str, snapshot: Snapshot) -> list[str]:
    """Give commands that work with this mirror, for people to try."""
    if not snapshot.files:
        return ["the mirror is empty; what `pytorch-offline fetch` puts there is served at once"]
    return [f"pip install torch --index-url {url}/whl/"]
