"""Which indexes are read: what the command line names, together with what requirements files say (docs/adr/0009).

The files say *what* is wanted of torch's indexes (a backend, a channel); where ``--upstream`` or ``--default-index``
name an address, that is *where* it is had, so that a file with PyTorch's addresses works behind a mirror as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_offline.addresses import redacted
from pytorch_offline.crawler.upstream import CHANNELS, DEFAULT_UPSTREAM
from pytorch_offline.errors import UsageError
from pytorch_offline.selector.asking.index_options import TorchIndex

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.selector.asking.index_options import IndexOptions
    from pytorch_offline.wheels.backend import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedIndexes:
    """What the command line says of indexes."""

    upstreams: tuple[str, ...] = ()
    default_index: str | None = None
    use_default_index: bool = True
    channel: str = "stable"
    backend: Backend | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPlan:
    """What is to be read.

    Args:
        upstreams: where torch's family comes from.
        default_index: where everything else comes from; None for nowhere, or if ``as_configured``.
        as_configured: whether the default index is the one that pip is configured with.
        extra_indexes: indexes that serve what the default index does.
        find_links: pages and directories of wheels.
        backend: the backend that is forced, None for automatic choice.
        stand_in: the upstream that stands in for PyTorch's own addresses.
        warnings: sentences for the user.
    """

    upstreams: tuple[TorchIndex, ...]
    default_index: str | None
    as_configured: bool
    extra_indexes: tuple[str, ...]
    find_links: tuple[str | Path, ...]
    backend: Backend | None
    stand_in: str | None
    warnings: tuple[str, ...]

    @property
    def upstream_addresses(self) -> tuple[str, ...]:
        """Where the upstreams' pages begin: the channel's address, or that of a flat page."""
        return tuple(
            one.root if one.root.endswith((".html", ".htm")) else f"{one.root.rstrip('/')}/{CHANNELS[one.channel]}"
            for one in self.upstreams
        )


def plan_indexes(
    options: IndexOptions, named: NamedIndexes, *, locked: bool = False, by_address: bool = False
) -> IndexPlan:
    """Combine what files and the command line say.

    ``locked`` if a lock names every address, and no index is needed; ``by_address`` if some wheel's address is known.

    Raises:
        UsageError: ``contradiction`` where both cannot hold; ``bad-url``.
    """
    _check_contradictions(options, named)
    if options.no_index is not None and not (options.find_links or options.torch_indexes or by_address):
        raise UsageError(
            "contradiction",
            f"{options.no_index}: --no-index leaves nothing to choose from",
            hint="name a directory or a page of wheels with --find-links",
        )
    warnings = list(options.warnings)
    backend = named.backend or options.backend
    for one in options.torch_indexes:
        if named.upstreams:
            warnings.append(f"{one.place}: --upstream stands in for {redacted(one.root)}")
        if one.backend is not None and one.backend != backend:
            warnings.append(f"{one.place} names {one.backend}, and --backend {backend} goes before it")
    extra = tuple(url for url in options.indexes if url is not None and url != options.index_url)
    own = options.index_url if options.index_url in options.indexes else None
    if own is not None and named.default_index is not None:
        warnings.append(f"--default-index stands in for --index-url {redacted(own)}")
    use_default_index = named.use_default_index and not locked
    return IndexPlan(
        upstreams=() if locked else _upstreams(options, named),
        default_index=(named.default_index or own) if use_default_index else None,
        as_configured=use_default_index and named.default_index is None and None in options.indexes,
        extra_indexes=extra,
        find_links=options.find_links,
        backend=backend,
        stand_in=named.upstreams[0] if named.upstreams else None,
        warnings=tuple(warnings),
    )


def _upstreams(options: IndexOptions, named: NamedIndexes) -> tuple[TorchIndex, ...]:
    channels = {one.channel for one in options.torch_indexes}
    channel = named.channel
    if channels and channel == "stable":
        channel = min(channels)
        if named.upstreams and len(channels) > 1:
            raise UsageError("contradiction", f"indexes of several channels are named: {', '.join(sorted(channels))}")
    elif channels - {channel}:
        raise UsageError(
            "contradiction",
            f"--channel {channel} is asked for, and another channel's index is named",
            facts={str(one.place): redacted(one.root) for one in options.torch_indexes},
        )
    if named.upstreams:
        return tuple(TorchIndex(root=url, channel=channel) for url in named.upstreams)
    if options.torch_indexes or options.no_index is not None:
        return options.torch_indexes
    return (TorchIndex(root=DEFAULT_UPSTREAM, channel=channel),)


def _check_contradictions(options: IndexOptions, named: NamedIndexes) -> None:
    if options.no_index is not None and (named.upstreams or named.default_index is not None):
        raise UsageError(
            "contradiction",
            f"{options.no_index}: --no-index and the command line's --upstream or --default-index exclude each other",
        )
    others = [url for url in options.indexes if url is not None]
    if not named.use_default_index and others:
        raise UsageError(
            "contradiction",
            f"--no-default-index is given, and the requirements name the index {redacted(others[0])}",
            hint="leave out one of the two",
        )
    url = named.default_index
    if url is not None and not url.lower().startswith(("http://", "https://", "file://")):
        raise UsageError(
            "bad-url",
            f"--default-index {redacted(url)!r} is not an http, https or file address",
            hint="a directory is written file:///path/to/it",
        )
