"""How a server stands towards its clients: the options of ``serve`` about listening, TLS, users, logs and limits."""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from pytorch_offline.cli.session import Session
    from pytorch_offline.server.listening.connections import Handler
    from pytorch_offline.server.listening.limits import Limits
    from pytorch_offline.server.monitoring.tally import Tally
    from pytorch_offline.server.running import Service

_FILE = click.Path(path_type=Path, dir_okay=False)
_STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """What was asked for; see each option's help."""

    host: str
    port: int
    tls_cert: Path | None
    tls_key: Path | None
    htpasswd: Path | None
    access_log: Path | None
    access_log_format: str
    grace: float
    connections: int | None

    @property
    def scheme(self) -> str:
        """What addresses of this server begin with."""
        return "https" if self.tls_cert is not None else "http"


def service_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give ``serve`` the options about its clients, handed over as ``service_options``."""

    @click.option("--host", default="127.0.0.1", show_default=True, help="The address; 0.0.0.0 or :: for all.")
    @click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
    @click.option("--tls-cert", type=_FILE, help="Serve https: the certificate in PEM, with its chain.")
    @click.option("--tls-key", type=_FILE, help="The certificate's key in PEM, not encrypted.")
    @click.option("--htpasswd", type=_FILE, help="Ask for a user and a password of this file (htpasswd -B FILE USER).")
    @click.option("--access-log", type=_FILE, help="Add a line per answer to this file; - for standard output.")
    @click.option(
        "--access-log-format",
        type=click.Choice(["combined", "json"]),
        default="combined",
        show_default=True,
        help="Apache's and nginx's combined form, or one JSON object per line.",
    )
    @click.option(
        "--grace",
        type=click.FloatRange(min=0),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="How long transfers under way may go on when the server is told to end.",
    )
    @click.option(
        "--connections",
        type=click.IntRange(1),
        default=None,
        metavar="N",
        help="How many clients at a time.  [default: 4096, or what the limit of open files leaves room for]",
    )
    @functools.wraps(function)
    def wrapper(
        *args: Any,  # noqa: ANN401  (click passes by keyword)
        host: str,
        port: int,
        tls_cert: Path | None,
        tls_key: Path | None,
        htpasswd: Path | None,
        access_log: Path | None,
        access_log_format: str,
        grace: float,
        connections: int | None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        asked = ServiceOptions(
            host=host,
            port=port,
            tls_cert=tls_cert,
            tls_key=tls_key,
            htpasswd=htpasswd,
            access_log=access_log,
            access_log_format=access_log_format,
            grace=grace,
            connections=connections,
        )
        function(*args, service_options=asked, **options)

    return wrapper


def make_service(
    session: Session,
    asked: ServiceOptions,
    handler: Handler,
    *,
    beside: Sequence[AbstractAsyncContextManager[object]] = (),
    reload: Sequence[Callable[[], None]] = (),
    tally: Tally | None = None,
) -> Service:
    """Read every file that was named, and then listen: what is wrong with one is said before a client can come.

    Raises:
        UsageError: one of them cannot be used, or the address is not to be had.
    """
    from pytorch_offline.server.listening.authentication import Authenticator, authenticated  # noqa: PLC0415
    from pytorch_offline.server.listening.door import addresses, bind, is_loopback  # noqa: PLC0415
    from pytorch_offline.server.monitoring.access_log import AccessLog, LogFormat  # noqa: PLC0415  (aiohttp is slow to import)
    from pytorch_offline.server.running import Certificate, Service  # noqa: PLC0415

    if (asked.tls_cert is None) != (asked.tls_key is None):
        raise UsageError("bad-usage", "--tls-cert and --tls-key belong together")
    if session.as_json and asked.access_log == _STANDARD_OUTPUT:
        raise UsageError("bad-usage", "standard output has the one document of --json, and cannot have the log, too")
    certificate = None
    if asked.tls_cert is not None and asked.tls_key is not None:
        certificate = Certificate(asked.tls_cert, asked.tls_key, session.message)
    again, at_end = list(reload), []
    if asked.htpasswd is not None:
        authenticator = Authenticator(asked.htpasswd, session.message)
        handler = authenticated(handler, authenticator)
        again.append(authenticator.read_again)
        at_end.append(authenticator.close)
    limits = _limits(session, asked)
    log = None
    if asked.access_log is not None:
        path = None if asked.access_log == _STANDARD_OUTPUT else asked.access_log
        log = AccessLog(path, LogFormat(asked.access_log_format), session.warn)
        at_end.append(log.close)
    listeners = bind(asked.host, asked.port)
    if asked.htpasswd and certificate is None and not all(is_loopback(address) for address, _ in addresses(listeners)):
        session.warn("passwords travel in plain text: anybody on the network can read them; see --tls-cert")
    return Service(
        handler=handler,
        listeners=listeners,
        limits=limits,
        grace=asked.grace,
        say=session.message,
        log=log,
        tally=tally,
        certificate=certificate,
        beside=(*(_at_end(act) for act in at_end), *beside),
        reload=tuple(again),
        reopen=(log.reopen,) if log is not None else (),
    )


@asynccontextmanager
async def _at_end(act: Callable[[], None]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        act()


def _limits(session: Session, asked: ServiceOptions) -> Limits:
    from pytorch_offline.server.listening.limits import MOST_CONNECTIONS, Limits, connections_within  # noqa: PLC0415
    from pytorch_offline.server.listening.open_files import raise_open_files  # noqa: PLC0415

    files = raise_open_files()
    possible = connections_within(files)
    if asked.connections is not None and asked.connections > possible:
        session.warn(f"no more than {possible} connections fit into this process's limit of {files} open files")
    most = min(asked.connections or MOST_CONNECTIONS, possible)
    return Limits(connections=most, connections_per_client=max(1, most // 2))
