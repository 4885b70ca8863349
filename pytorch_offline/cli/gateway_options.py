"""The options of ``serve`` that make it a gateway, and the gateway that they ask for."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from pytorch_offline.addresses import redacted
from pytorch_offline.cli.network_options import network_options
from pytorch_offline.cli.rates import rate_option, size_option
from pytorch_offline.cli.session import is_typed
from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytorch_offline.cli.session import Session
    from pytorch_offline.crawler.default_index import Reach
    from pytorch_offline.server.gateway.site import GatewaySite
    from pytorch_offline.server.tree.following import FollowedMirror


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """What is asked of a gateway; without an ``upstream`` there is none."""

    upstream: str | None
    default_index: str | None
    use_default_index: bool
    max_size: int | None
    limit_rate: int | None
    reach: Reach


def gateway_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a gateway, and hand it them as ``gateway``."""

    @click.option("--upstream", metavar="URL", help="Ask this index for what the mirror has not, and keep what came.")
    @click.option(
        "--default-index",
        metavar="URL",
        help="With --upstream: where everything else than torch's family comes from.  [default: pip's]",
    )
    @click.option("--no-default-index", is_flag=True, default=False, help="With --upstream: use upstream alone.")
    @size_option(
        "With --upstream: keep the mirror to 500G, 2Ti; what was asked for longest ago goes, no lock's file does."
    )
    @rate_option("With --upstream: bytes per second of all downloads together: 500k, 20M.")
    @network_options
    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> None:  # noqa: ANN401  (click passes by keyword)
        names = set(GatewayOptions.__dataclass_fields__) - {"use_default_index"}
        mine = {name: options.pop(name) for name in names}
        gateway = GatewayOptions(use_default_index=not options.pop("no_default_index"), **mine)
        _check(gateway)
        function(*args, gateway=gateway, **options)

    return wrapper


def _check(options: GatewayOptions) -> None:
    """Refuse what contradicts itself on the command line; what is set for all commands may not be meant for it."""
    if options.default_index is not None and not options.use_default_index and is_typed("default_index"):
        raise UsageError("contradiction", "--default-index and --no-default-index exclude each other")
    if options.upstream is None:
        given = {
            "--default-index": options.default_index,
            "--max-size": options.max_size,
            "--limit-rate": options.limit_rate,
        }
        for name, value in given.items():
            if value is not None and is_typed(name.removeprefix("--").replace("-", "_")):
                raise UsageError(
                    "contradiction",
                    f"{name} says how a gateway works, and there is none",
                    hint="--upstream URL makes one; leave the option out to serve what the mirror holds",
                )
    elif not options.upstream.lower().startswith(("http://", "https://")):
        raise UsageError("bad-url", f"--upstream {redacted(options.upstream)!r} is not an http or https address")


def make_gateway(session: Session, options: GatewayOptions, local: FollowedMirror) -> GatewaySite | None:
    """Make the gateway that is asked for; None without an upstream.

    Raises:
        UsageError: ``pip-unusable`` if pip cannot be asked for the default index.
    """
    if options.upstream is None:
        return None
    from pytorch_offline.crawler.default_index import configured_http, configured_index_url  # noqa: PLC0415
    from pytorch_offline.mirror.store import Mirror  # noqa: PLC0415
    from pytorch_offline.server.gateway.fetcher import LOCK_SECONDS  # noqa: PLC0415
    from pytorch_offline.server.gateway.finding import Indexes  # noqa: PLC0415
    from pytorch_offline.server.gateway.site import GatewaySite  # noqa: PLC0415

    default_index = (options.default_index or configured_index_url()) if options.use_default_index else None
    return GatewaySite(
        local,
        Mirror(session.mirror, work="serve --upstream", patience=LOCK_SECONDS),
        Indexes(upstream=options.upstream.rstrip("/"), default_index=default_index),
        configured_http(reach=options.reach),
        say=session.message,
        max_size=options.max_size,
        limit_rate=options.limit_rate,
    )
