"""Where a server listens: binding, saying which addresses clients can use, and taking in who comes."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from pytorch_offline.errors import UsageError
from pytorch_offline.server.listening.limits import TURNED_AWAY_AT_ONCE
from pytorch_offline.server.monitoring.access_log import plain_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytorch_offline.server.listening.connections import Server

# The system keeps so many until we take them in; Linux caps it at net.core.somaxconn, 4096 since 5.4.
_BACKLOG = 4096
# A LAN's TLS handshake takes milliseconds; nginx waits 60 s (client_header_timeout counts there, too).
_HANDSHAKE_SECONDS = 10.0
_TLS_GOODBYE_SECONDS = 2.0
# How long until we look again where there are too many, or the process or the system can open nothing more.
_FULL_SECONDS = 0.2
_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# An address that no packet is sent to, by UDP's connect: asking for the route tells our own address on it (RFC 5737,
# RFC 3849).
_FAR_AWAY = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))

_SIOCGIFADDR = 0x8915


def bind(host: str, port: int) -> tuple[socket.socket, ...]:
    """Listen on every address of a host.

    Args:
        host: an address or a name; ``0.0.0.0`` and ``::`` are all of this machine's (``::`` with IPv4, too).
        port: 0 for one that is free.

    Raises:
        UsageError: ``cannot-listen`` says why not.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(
            "cannot-listen",
            f"{host!r} is no address of this machine, and no name of one",
            facts={"host": host, "reason": str(error)},
            hint="--host 127.0.0.1 for this machine alone, --host 0.0.0.0 or :: for all that can reach it",
        ) from error
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            # A name may have several addresses: a free port is chosen once and is then everybody's.
            chosen = listeners[0].getsockname()[1] if listeners else port
            listeners.append(_listening(family, kind, protocol, (address[0], chosen, *address[2:])))
    except OSError as error:
        for one in listeners:
            one.close()
        raise _refused(host, port, error) from error
    return tuple(listeners)


def _listening(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)  # noqa: FBT003  (socket's own signature)
    except BaseException:
        listener.close()
        raise
    return listener


def _refused(host: str, port: int, error: OSError) -> UsageError:
    facts = {"host": host, "port": port, "reason": error.strerror or str(error)}
    if error.errno == errno.EADDRINUSE:
        hint = "another program listens there; name another one, or 0 for any that is free: --port N"
        return UsageError("cannot-listen", f"port {port} of {host} is taken", facts=facts, hint=hint)
    if error.errno in {errno.EACCES, errno.EPERM}:
        hint = "ports below 1024 need a privilege: --port 8080, or AmbientCapabilities=CAP_NET_BIND_SERVICE in a unit"
        return UsageError("cannot-listen", f"port {port} of {host} is not for this user", facts=facts, hint=hint)
    if error.errno == errno.EADDRNOTAVAIL:
        hint = "--host 0.0.0.0 or :: listens on every address that this machine has"
        return UsageError("cannot-listen", f"{host} is no address of this machine", facts=facts, hint=hint)
    return UsageError("cannot-listen", f"nobody can listen on {host} port {port}: {facts['reason']}", facts=facts)


def addresses(listeners: Iterable[socket.socket]) -> tuple[tuple[str, int], ...]:
    """Say which addresses and ports are listened on."""
    return tuple(dict.fromkeys((one.getsockname()[0], one.getsockname()[1]) for one in listeners))


def urls_for_clients(bound: Sequence[tuple[str, int]], own: Sequence[str], *, tls: bool) -> tuple[str, ...]:
    """Say under which addresses clients reach what is bound.

    Args:
        bound: addresses and ports that are listened on.
        own: this machine's addresses, for those that stand for all of them; a name comes before them.
        tls: whether it is https.
    """
    scheme = "https" if tls else "http"
    urls: dict[str, None] = {}
    for address, port in bound:
        everywhere = ipaddress.ip_address(address.partition("%")[0]).is_unspecified
        ours = [one for one in own if address == "::" or ":" not in one] if everywhere else [address]
        for one in ours:
            urls[f"{scheme}://{f'[{one}]' if ':' in one else one}:{port}"] = None
    return tuple(urls)


def is_loopback(address: str) -> bool:
    """Say whether an address is for this machine alone."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def own_addresses() -> tuple[str, ...]:
    """Find the addresses of this machine that others can use, those on the way out first; else loopback's.

    No name is looked up: where there is no network, a resolver lets one wait.
    """
    own = []
    for family, far in _FAR_AWAY:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((far, 9))
            own.append(str(asking.getsockname()[0]))
    own += _interface_addresses()
    usable = [one for one in dict.fromkeys(own) if not is_loopback(one)]
    return tuple(usable) or ("127.0.0.1",)


def _interface_addresses() -> list[str]:
    """Ask Linux for each interface's IPv4 address; a LAN without a way out has those alone (netdevice(7))."""
    if sys.platform != "linux":
        return []
    import fcntl  # noqa: PLC0415  (Windows has none)

    found: list[str] = []
    try:
        interfaces = socket.if_nameindex()
    except OSError:  # a sandbox without netlink
        return found
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in interfaces:
            with suppress(OSError):  # it has none
                told = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found.append(socket.inet_ntoa(told[20:24]))
    return found


class Door:
    """Takes in clients from listening sockets.

    Args:
        server: has room for them, or not.
        listeners: bound, and not blocking.
        tls: makes the context of the next handshake; None for plain HTTP.
    """

    def __init__(
        self, server: Server, listeners: Sequence[socket.socket], tls: Callable[[], ssl.SSLContext] | None
    ) -> None:
        self._server = server
        self._listeners = tuple(listeners)
        self._tls = tls
        self._shaking: set[asyncio.Task[None]] = set()
        self._accepting: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Begin to take in clients."""
        self._accepting = [asyncio.create_task(self._accept(one)) for one in self._listeners]

    async def close(self) -> None:
        """Take in nobody more: those that wait in the system's queue are reset, as they are by every server's end."""
        for task in (*self._accepting, *self._shaking):
            task.cancel()
        await asyncio.gather(*self._accepting, *self._shaking, return_exceptions=True)
        for one in self._listeners:
            one.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        most = self._server.limits.connections + TURNED_AWAY_AT_ONCE
        while True:
            if len(self._server.connections) + len(self._shaking) >= most and not self._server.make_room():
                await asyncio.sleep(_FULL_SECONDS)
                continue
            try:
                accepted, address = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno in _OUT_OF_FILES:
                    self._server.make_room()
                    await asyncio.sleep(_FULL_SECONDS)
                continue  # else: the client left before it was taken in (ECONNABORTED, or the network's own errors)
            task = asyncio.create_task(self._take_in(accepted, plain_address(str(address[0]))))
            self._shaking.add(task)
            task.add_done_callback(self._shaking.discard)

    async def _take_in(self, accepted: socket.socket, client: str) -> None:
        loop = asyncio.get_running_loop()
        context = self._tls() if self._tls is not None else None
        seconds = (
            {}
            if context is None
            else {
                "ssl_handshake_timeout": _HANDSHAKE_SECONDS,
                "ssl_shutdown_timeout": _TLS_GOODBYE_SECONDS,
            }
        )
        try:
            await loop.connect_accepted_socket(
                lambda: self._server.connection(client), accepted, ssl=context, **seconds
            )
        except (OSError, ssl.SSLError):  # no handshake: plain HTTP, an old TLS, a port scan, nobody there any more
            accepted.close()
        except BaseException:
            accepted.close()
            raise
