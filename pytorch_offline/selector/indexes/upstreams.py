"""Recognise the upstreams that answer, and say which did not.

Torch's family comes from them and from nowhere else, with one exception, which PyTorch's own instructions make: on
macOS, and on Windows without a GPU, they install from the default index, which carries the same builds there. So when
no upstream answers at all, the family of such a target may come from the default index, and the user is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.addresses import redacted
from pytorch_offline.crawler.recognition import recognise_upstream
from pytorch_offline.crawler.upstream import CHANNELS, Layout, Upstream
from pytorch_offline.errors import UpstreamError
from pytorch_offline.target.model import AcceleratorKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytorch_offline.crawler.reader import IndexReader
    from pytorch_offline.selector.indexes.plan import IndexPlan
    from pytorch_offline.target.model import Target

# The errors that mean "nobody answered", as opposed to "the answer was no".
_NO_ANSWER = frozenset({"unreachable", "tls-error", "bad-proxy", "proxy-refused"})


def find_planned_upstreams(
    plan: IndexPlan, target: Target, *, reader: IndexReader, default_index: str | None
) -> tuple[tuple[Upstream, ...], tuple[str, ...]]:
    """Recognise the upstreams of a plan that answer; say in warnings which did not.

    A backend's own directory needs no recognising: its project pages are where pip would look for them.

    Raises:
        UpstreamError: as ``find_upstreams``.
    """
    found: list[Upstream] = []
    warnings: list[str] = []
    to_recognise: dict[str, list[str]] = {}
    for one in plan.upstreams:
        if one.backend is None or one.flat:
            to_recognise.setdefault(one.channel, []).append(one.root)
        else:
            root = f"{one.root.rstrip('/')}/{CHANNELS[one.channel]}"
            found.append(
                Upstream(
                    root=root, layout=Layout.BACKENDS, channel=one.channel, by_backend=True, backends=(one.backend,)
                )
            )
    for channel, roots in to_recognise.items():
        upstreams, said = find_upstreams(roots, target, reader=reader, channel=channel, default_index=default_index)
        found += upstreams
        warnings += said
    return tuple(found), tuple(warnings)


def find_upstreams(
    urls: Sequence[str], target: Target, *, reader: IndexReader, channel: str, default_index: str | None
) -> tuple[tuple[Upstream, ...], tuple[str, ...]]:
    """Recognise the upstreams that answer; say in warnings which did not.

    Raises:
        UpstreamError: none answered, and the default index may not stand in for this target.
    """
    found: list[Upstream] = []
    warnings: list[str] = []
    failure: UpstreamError | None = None
    for url in urls:
        try:
            found.append(recognise_upstream(reader, url, channel))
        except UpstreamError as error:
            if reader.offline and error.code == "no-index-here":
                raise UpstreamError(
                    "not-in-catalogue",
                    f"nothing of {redacted(url)} is in the catalogue, and nothing is asked of the network",
                    hint="run the same command once without --offline, or `pytorch-offline crawl`",
                ) from error
            if error.code not in _NO_ANSWER:
                raise
            failure = failure or error
            warnings.append(f"upstream {redacted(url)} did not answer: {error.message}")
    if found or failure is None:
        return tuple(found), tuple(warnings)
    if default_index is None or channel != "stable" or not default_index_carries_family(target):
        raise failure
    warnings.append(
        f"torch's family is taken from the default index, as PyTorch's own instructions do for {target.system}"
    )
    return (), tuple(warnings)


def default_index_carries_family(target: Target) -> bool:
    """Whether the default index has the same torch builds as upstream for this target.

    https://pytorch.org/get-started/locally/ gives a plain ``pip3 install`` for macOS, and for Windows without CUDA.
    """
    kind = AcceleratorKind.NONE if target.accelerator is None else target.accelerator.kind
    if target.system == "Darwin":
        return True
    return target.system == "Windows" and target.machine == "AMD64" and kind is AcceleratorKind.NONE
