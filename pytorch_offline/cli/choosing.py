"""The options that ``select`` and ``fetch`` share: what is asked for, for which targets, and from where."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytorch_offline.cli.network_options import network_options
from pytorch_offline.cli.requirement_sources import read_location
from pytorch_offline.cli.target_options import target_options
from pytorch_offline.crawler.upstream import DEFAULT_UPSTREAM
from pytorch_offline.errors import UsageError
from pytorch_offline.selector.asking.asked import Asked, read_asked
from pytorch_offline.selector.indexes.plan import NamedIndexes
from pytorch_offline.wheels.backend import parse_backend

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytorch_offline.crawler.default_index import Reach
    from pytorch_offline.target.model import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """The options that decide what is chosen, as the user gave them."""

    requirements: tuple[str, ...]
    requirement_files: tuple[str, ...]
    constraint_files: tuple[str, ...]
    targets: tuple[Target, ...]
    backend: str
    upstreams: tuple[str, ...]
    default_index: str | None
    use_default_index: bool
    channel: str
    pre: bool
    no_deps: bool
    offline: bool
    as_of: str | None
    common: bool
    index_url: str | None
    extra_index_urls: tuple[str, ...]
    find_links: tuple[str, ...]
    reach: Reach

    def asked(self) -> Asked:
        """Read what is asked for.

        Raises:
            UsageError: ``nothing-requested``, or what is wrong with a requirement or a file.
            UpstreamError: a file that lies behind an address could not be had.
        """
        return read_asked(
            self.requirements,
            self.requirement_files,
            self.constraint_files,
            read=partial(read_location, reach=self.reach),
            exists=Path.exists,
            environment=os.environ,
            index_options=[
                *([("--index-url", self.index_url)] if self.index_url is not None else []),
                *(("--extra-index-url", url) for url in self.extra_index_urls),
                *(("--find-links", place) for place in self.find_links),
            ],
        )

    def named(self) -> NamedIndexes:
        """Say what these options name of indexes."""
        return NamedIndexes(
            upstreams=self.upstreams,
            default_index=self.default_index,
            use_default_index=self.use_default_index,
            channel=self.channel,
            backend=None if self.backend == "auto" else parse_backend(self.backend),
        )


def choosing_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that decide what is chosen, and hand it them as ``choosing``."""

    @click.argument("requirements", nargs=-1, metavar="REQ...")
    @click.option(
        "-r",
        "--requirement",
        "requirement_files",
        multiple=True,
        metavar="FILE",
        help="Read requirements from a file, or a lock (pylock.toml).",
    )
    @click.option(
        "-c",
        "--constraint",
        "constraint_files",
        multiple=True,
        metavar="FILE",
        help="Bound versions by a file, of projects that are needed anyway.",
    )
    @target_options
    @click.option(
        "--backend",
        default="auto",
        show_default=True,
        metavar="BACKEND",
        help="Force a build: cpu, cu121, rocm6.4, xpu …",
    )
    @click.option(
        "--upstream",
        "upstreams",
        multiple=True,
        metavar="URL",
        help=f"Where torch's family comes from.  [default: {DEFAULT_UPSTREAM}]",
    )
    @click.option(
        "--default-index",
        default=None,
        metavar="URL",
        help="Where everything else comes from.  [default: the index that pip is configured for]",
    )
    @click.option(
        "-i",
        "--index-url",
        metavar="URL",
        help="As pip's: …/whl/cu126 forces that build of torch's family; another replaces the default index.",
    )
    @click.option(
        "--extra-index-url",
        "extra_index_urls",
        multiple=True,
        metavar="URL",
        help="As pip's: the same, beside the default index.",
    )
    @click.option(
        "-f",
        "--find-links",
        multiple=True,
        metavar="URL|PATH",
        help="As pip's: a page or a directory of wheels, e.g. …/whl/torch_stable.html.",
    )
    @click.option("--no-default-index", is_flag=True, default=False, help="Use upstream alone.")
    @click.option(
        "--channel",
        type=click.Choice(["stable", "test", "nightly"]),
        default="stable",
        show_default=True,
        help="Which of upstream's channels.",
    )
    @click.option("--pre", is_flag=True, default=False, help="Admit pre-releases.")
    @click.option("--no-deps", is_flag=True, default=False, help="Choose what is named alone, without dependencies.")
    @click.option("--offline", is_flag=True, default=False, help="Ask no index; use the catalogue of earlier runs.")
    @click.option("--as-of", metavar="DATE", help="Choose from what was known on this day (UTC); no page is read.")
    @click.option(
        "--common",
        is_flag=True,
        default=False,
        help="Prefer versions that serve several targets alike: fewer bytes, older than the newest where need be.",
    )
    @network_options
    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> None:  # noqa: ANN401  (click passes by keyword)
        names = set(Choosing.__dataclass_fields__) - {"use_default_index"}
        mine = {name: options.pop(name) for name in names}
        if options["no_default_index"] and mine["default_index"] is not None:
            raise UsageError("contradiction", "--default-index and --no-default-index exclude each other")
        choosing = Choosing(use_default_index=not options.pop("no_default_index"), **mine)
        function(*args, choosing=choosing, **options)

    return wrapper
