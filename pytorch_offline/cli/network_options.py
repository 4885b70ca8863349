"""The options that say how the network is reached, by pip's names, for every command that asks it something."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytorch_offline.crawler.default_index import Reach

if TYPE_CHECKING:
    from collections.abc import Callable


def network_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command pip's options for networks, and hand it them as ``reach``."""

    @click.option("--proxy", metavar="URL", help="http://[USER:PASSWORD@]HOST:PORT, for everything outside NO_PROXY.")
    @click.option(
        "--cert",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="CA certificates (PEM) to trust beside the system's.",
    )
    @click.option(
        "--client-cert",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The client's own certificate and key in one PEM file.",
    )
    @click.option(
        "--trusted-host",
        "trusted_hosts",
        multiple=True,
        metavar="HOST[:PORT]",
        help="Do not check this host's certificate; repeatable.",
    )
    @click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True, max=86400),
        metavar="SECONDS",
        help="How long to wait for a connection, and for the next bytes.  [default: pip's, else 10 and 30]",
    )
    @click.option(
        "--retries",
        type=click.IntRange(0, 1000),
        metavar="N",
        help="How often in a row to try again what brings nothing.  [default: pip's, else 5; 7 for a file]",
    )
    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> None:  # noqa: ANN401  (click passes by keyword)
        mine = {name: options.pop(name) for name in Reach.__dataclass_fields__}
        function(*args, reach=Reach(**mine), **options)

    return wrapper
