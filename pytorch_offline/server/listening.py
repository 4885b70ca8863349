"""Listening: a handler gets an address, and keeps it until the process is told to end."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@asynccontextmanager
async def listening(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], *, host: str, port: int
) -> AsyncIterator[tuple[str, int]]:
    """Listen for as long as the context lasts, which gives the address that was bound.

    Args:
        handler: answers each request.
        host: a name or address of this machine.
        port: 0 for one that is free.

    Raises:
        UsageError: ``cannot-listen``.
    """
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise UsageError(
                "cannot-listen",
                f"{host} port {port} cannot be listened on: {error.strerror or error}",
                hint="name another one with --host and --port; --port 0 takes one that is free",
            ) from error
        address = runner.addresses[0]
        yield address[0], address[1]
    finally:
        await runner.cleanup()
