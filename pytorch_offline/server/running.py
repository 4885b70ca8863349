"""A server's life: it opens, says so, hears signals, and ends in order.

SIGTERM and SIGINT let the transfers under way finish, for a while; asked again it ends at once. SIGHUP reads the
certificate and the users again and opens the log anew, SIGUSR1 the log alone, as nginx has it. A SIGHUP that comes
because a terminal was closed ends it, as it does every program that was started there.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.errors import UsageError
from pytorch_offline.server import service_manager
from pytorch_offline.server.listening.connections import Server
from pytorch_offline.server.listening.door import Door
from pytorch_offline.server.listening.tls import read_identity

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from pytorch_offline.server.listening.connections import Handler
    from pytorch_offline.server.listening.limits import Limits
    from pytorch_offline.server.listening.tls import Identity
    from pytorch_offline.server.monitoring.access_log import Log
    from pytorch_offline.server.monitoring.tally import Tally

_LOOK_SECONDS = 0.05
# For those that were broken off to be put away.
_LAST_SECONDS = 1.0
_THREADS_SECONDS = 5.0


class Certificate:
    """The certificate that is shown to new clients.

    Args:
        certificate: its file, with the chain.
        key: its key's file.
        say: told of what happens to them later.

    Raises:
        UsageError: ``bad-certificate``.
    """

    def __init__(self, certificate: Path, key: Path, say: Callable[[str], None]) -> None:
        self._files = (certificate, key)
        self._say = say
        self.identity: Identity = read_identity(*self._files)

    def context(self) -> ssl.SSLContext:
        """Give the context for the next handshake."""
        return self.identity.context

    def read_again(self) -> None:
        """Read the files; where they cannot be used the certificate stays, and the log says why."""
        try:
            self.identity = read_identity(*self._files)
        except UsageError as error:
            self._say(f"the certificate stays as it was: {error.message}")
            return
        self._say(f"the certificate was read again; it is good until {self.identity.until:%Y-%m-%d %H:%M} UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is to be served, and how.

    Args:
        handler: answers requests.
        listeners: bound sockets.
        limits: what clients may take.
        grace: seconds for transfers under way, once it is told to end.
        say: told what the administrator should know.
        log: is told of every answer.
        tally: counts them.
        certificate: for https.
        beside: what lives as long as the server does.
        reload: done at SIGHUP, the certificate apart.
        reopen: done at SIGHUP and SIGUSR1: opens logs anew.
    """

    handler: Handler
    listeners: Sequence[socket.socket]
    limits: Limits
    grace: float
    say: Callable[[str], None]
    log: Log | None = None
    tally: Tally | None = None
    certificate: Certificate | None = None
    beside: Sequence[AbstractAsyncContextManager[object]] = ()
    reload: Sequence[Callable[[], None]] = ()
    reopen: Sequence[Callable[[], None]] = ()


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[tuple[Server, Door]]:
    """Serve for as long as the context lasts; whoever is served at its end is broken off."""
    tally = service.tally
    server = Server(
        service.handler, limits=service.limits, log=service.log if tally is None else tally, say=service.say
    )
    if tally is not None:
        tally.server, tally.log = server, service.log
    context = service.certificate.context if service.certificate is not None else None
    door = Door(server, service.listeners, context)
    async with AsyncExitStack() as stack:
        for one in service.beside:
            await stack.enter_async_context(one)
        looking = asyncio.create_task(server.look_after())
        door.open()
        try:
            yield server, door
        finally:
            looking.cancel()
            await door.close()
            server.abort()
            await server.shutdown(_LAST_SECONDS)


async def serve_until_told(service: Service, ready: Callable[[], None]) -> int:
    """Serve until a signal says to end; give that signal's number.

    Args:
        service: what is served.
        ready: called once clients can come.
    """
    _collect_garbage_early()
    wishes: asyncio.Queue[int] = asyncio.Queue()
    async with serving(service) as (server, door):
        heard = _hear(wishes, service)
        try:
            ready()
            service_manager.notify(service_manager.READY)
            number = await wishes.get()
            service_manager.notify(service_manager.STOPPING)
            await _finish(server, door, service, wishes)
        finally:
            _hear_no_more(heard)
    _leave_in_time(0 if number == signal.SIGTERM else 128 + number)
    return number


def _leave_in_time(code: int) -> None:
    """See to it that the process ends, though a thread may still wait for a disk that does not answer (NFS).

    Everything is put away by now, and Python would wait for its threads without an end.
    """

    def leave() -> None:
        time.sleep(_THREADS_SECONDS)
        os._exit(code)

    threading.Thread(target=leave, name="leaving", daemon=True).start()


def _collect_garbage_early() -> None:
    """Look for garbage often, in what clients leave: a connection and its task hold each other.

    The command line looks rarely, as suits a run that keeps what it makes (``cli.main``). With that, 32,000 connections
    took a server from 45 to 126 MB.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 10, 10)


async def _finish(server: Server, door: Door, service: Service, wishes: asyncio.Queue[int]) -> None:
    """Let transfers end, for as long as there is grace and nobody asks again."""
    await door.close()
    server.finish()
    busy = server.answering
    if busy:
        transfers = "one transfer" if busy == 1 else f"{busy} transfers"
        service.say(f"waiting for {transfers} under way, at most {service.grace:g} s; ask again to end at once")
    loop = asyncio.get_running_loop()
    until = loop.time() + service.grace
    again = asyncio.create_task(wishes.get())
    while server.answering and loop.time() < until and not again.done():
        await asyncio.wait((again,), timeout=_LOOK_SECONDS)
    again.cancel()
    if server.answering:
        service.say(f"transfers broken off: {server.answering}")


def _hear(wishes: asyncio.Queue[int], service: Service) -> list[int]:
    """Let signals come to the loop; give those that do."""
    attended = _has_terminal()

    def hang_up(number: int) -> None:
        if attended and not _has_terminal():
            wishes.put_nowait(number)
        else:
            _read_again(service)

    def open_logs(_number: int) -> None:
        for again in service.reopen:
            again()

    acts = {"SIGTERM": wishes.put_nowait, "SIGINT": wishes.put_nowait, "SIGHUP": hang_up, "SIGUSR1": open_logs}
    known = {getattr(signal, name): act for name, act in acts.items() if hasattr(signal, name)}  # Windows has two
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        del known[signal.SIGINT]  # a shell's background process leaves Ctrl-C to the one in front
    for number, act in known.items():
        _listen_to(number, act)
    return list(known)


def _listen_to(number: int, act: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, act, number)
    except NotImplementedError:  # Windows

        def pass_on(heard: int, _frame: object) -> None:
            loop.call_soon_threadsafe(act, heard)

        signal.signal(number, pass_on)


def _read_again(service: Service) -> None:
    service_manager.notify(*service_manager.reloading())
    if service.certificate is not None:
        service.certificate.read_again()
    for again in (*service.reload, *service.reopen):
        again()
    service_manager.notify(service_manager.READY)


def _hear_no_more(numbers: Sequence[int]) -> None:
    loop = asyncio.get_running_loop()
    for number in numbers:
        with suppress(NotImplementedError):
            loop.remove_signal_handler(number)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | getattr(os, "O_NOCTTY", 0)))
    except OSError:  # none, or it was hung up
        return False
    return True
