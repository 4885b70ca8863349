"""``/metrics``: what Prometheus reads, in its text format or in OpenMetrics, as it asks for.

Everything is read when it is asked for, from plain sums and from what is known of the mirror: nothing here is on the
way of a request. What is not known has no sample, which alerts can tell from an age (``absent()``). Names are
Prometheus's: base units, ``_total`` for what only grows, moments as ``_timestamp_seconds`` (prometheus.io, "Metric and
label naming"). The values of every label are few: directories of the tree, kinds of paths, HTTP's statuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector

from pytorch_offline import __version__
from pytorch_offline.mirror.standing import Drifted, Status
from pytorch_offline.server.monitoring.health import judge
from pytorch_offline.server.resources import Answer, LivePage
from pytorch_offline.server.tree.rendered import make_body

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime, timedelta

    from pytorch_offline.mirror.standing import Standing
    from pytorch_offline.server.monitoring.health import Figures, Kept
    from pytorch_offline.server.monitoring.tally import Tally
    from pytorch_offline.server.resources import Question

_Samples: TypeAlias = "float | Sequence[tuple[tuple[str, ...], float]]"

_PREFIX = "pytorch_offline"
# Upstream has had some sixty directories in ten years; a tree that has many more is counted as a whole.
MOST_DIRECTORIES = 200


class Metrics:
    """Everything that is measured, for a registry to collect.

    Args:
        tally: what the server counts.
        kept: what is known of the mirror.
        figures: of a gateway; None of a plain mirror.
        stale_after: how old may be what is served, as for ``/health``.
    """

    def __init__(
        self,
        *,
        tally: Tally,
        kept: Kept,
        figures: Figures | None = None,
        stale_after: timedelta,
    ) -> None:
        self._tally = tally
        self._kept = kept
        self._figures = figures
        self._stale_after = stale_after

    def describe(self) -> Iterable[Metric]:
        """Tell a registry nothing beforehand: what there is depends on what is known."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Give every metric as it is now."""
        standing, serving = self._kept.current, self._kept.serving
        yield _gauge("build_info", "The version that runs.", [((__version__,), 1)], labels=["version"])
        yield from _of_server(self._tally)
        yield _moment("generation_since", "When this process began to serve the newest generation.", serving.since)
        health = judge(standing, serving, self._figures, stale_after=self._stale_after)
        yield _gauge(
            "status",
            "How well the mirror is, as /health says it: 1 for the status that it has.",
            [((status.value,), int(status is health.status)) for status in Status],
            labels=["status"],
        )
        if standing is not None:
            yield from _of_mirror(standing)
        if self._figures is not None:
            yield from _of_gateway(self._figures)


def _of_server(tally: Tally) -> Iterator[Metric]:
    yield _counter(
        "http_responses",
        "Answers, by what was asked for; none: a connection was ended before there was a request.",
        [((kind, str(status)), count) for (kind, status), count in sorted(tally.answers.items())],
        labels=["kind", "status"],
    )
    yield _counter(
        "http_sent_bytes",
        "Bytes of content that were sent.",
        [((kind,), count) for kind, count in sorted(tally.sent.items())],
        labels=["kind"],
    )
    yield _counter("http_responses_cut", "Answers of which not everything went out that was promised.", tally.cut)
    yield _gauge("http_connections", "Connections that are open.", tally.connections)
    yield _gauge("http_responses_in_progress", "Clients that wait for an answer, or the rest of one.", tally.answering)


def _of_mirror(standing: Standing) -> Iterator[Metric]:
    reached = standing.reached
    holdings = standing.holdings
    if len(holdings) > MOST_DIRECTORIES:
        holdings = (standing.whole,)
    for name, said, values in (
        ("mirror_files", "Wheels that are held", [holding.files for holding in holdings]),
        ("mirror_projects", "Projects of which wheels are held", [holding.projects for holding in holdings]),
        ("mirror_bytes", "Bytes of wheels that are held, each content once", [holding.size for holding in holdings]),
    ):
        samples = [((holding.directory,), value) for holding, value in zip(holdings, values, strict=True)]
        yield _gauge(name, f"{said}, by directory below whl/.", samples, labels=["directory"])
    yield _moment("mirror_looked_at", "When this was found out about the mirror.", standing.at)
    yield _gauge(
        "mirror_crawl_timestamp_seconds",
        "When a crawl of an upstream last succeeded.",
        [((one.upstream,), one.ended.timestamp()) for one in reached.crawled],
        labels=["upstream"],
    )
    yield _moment("mirror_pages_read", "When upstream last said or confirmed any page.", standing.pages_read)
    verified, sound = reached.verified, reached.sound
    ended = None if verified is None else verified.ended
    yield _moment("mirror_verification", "When a verification last came to its end.", ended)
    ended = None if sound is None else sound.ended
    yield _moment("mirror_sound_verification", "When a verification last left nothing bad.", ended)
    yield _gauge(
        "mirror_verification_findings",
        "What the newest verification left bad.",
        [] if verified is None else [((), verified.findings)],
    )
    yield _moment("mirror_oldest_file_verified", "When the file was verified that waits longest.", standing.oldest)
    yield _moment("mirror_published", "When the pages last changed.", reached.published)
    imported = reached.imported
    yield _moment("mirror_import", "When a bundle was last taken.", None if imported is None else imported.ended)
    created = None if imported is None else imported.created
    yield _moment("mirror_import_created", "When that bundle was written on the other side.", created)
    drive = standing.drive
    yield _gauge("disk_size_bytes", "The mirror's disk.", [] if drive is None else [((), drive.total)])
    yield _gauge("disk_free_bytes", "What is free of it.", [] if drive is None else [((), drive.free)])
    yield _gauge(
        "mirror_drifted_files",
        "Files that are held and that upstream replaced, or lists no longer.",
        [] if standing.drift is None else [((what.value,), _count(standing, what)) for what in Drifted],
        labels=["what"],
    )


def _count(standing: Standing, what: Drifted) -> int:
    return sum(one.what is what for one in standing.drift or ())


def _of_gateway(figures: Figures) -> Iterator[Metric]:
    for name, said, count in (
        ("gateway_hits", "Requests for wheels that the mirror held.", figures.hits),
        ("gateway_misses", "Requests for wheels that had to come.", figures.misses),
        ("gateway_upstream_bytes", "Bytes of wheels that came from upstream.", figures.upstream_bytes),
        ("gateway_upstream_errors", "What could not be had from upstream.", figures.upstream_errors),
        ("gateway_evictions", "Wheels removed to keep to the size.", figures.evictions),
        ("gateway_evicted_bytes", "Their bytes.", figures.evicted_bytes),
    ):
        yield _counter(name, said, count)
    yield _gauge("gateway_transfers_in_progress", "Wheels that are coming.", figures.transfers)
    answers = figures.upstream.answers
    yield _gauge("gateway_upstream_up", "Whether it answered last.", [] if answers is None else [((), int(answers))])
    yield _moment("gateway_upstream_success", "When upstream last answered.", figures.upstream.newest_success)
    yield _moment("gateway_upstream_failure", "When upstream last did not.", figures.upstream.newest_failure)


def _gauge(name: str, said: str, samples: _Samples, labels: Sequence[str] = ()) -> Metric:
    return _filled(GaugeMetricFamily(f"{_PREFIX}_{name}", said, labels=labels), samples)


def _counter(name: str, said: str, samples: _Samples, labels: Sequence[str] = ()) -> Metric:
    return _filled(CounterMetricFamily(f"{_PREFIX}_{name}", said, labels=labels), samples)


def _moment(name: str, said: str, moment: datetime | None) -> Metric:
    samples: _Samples = [] if moment is None else moment.timestamp()
    return _gauge(f"{name}_timestamp_seconds", said, samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: _Samples) -> Metric:
    for labels, value in [((), samples)] if isinstance(samples, int | float) else samples:
        family.add_metric(labels, value)
    return family


def metrics_page(metrics: Metrics) -> LivePage:
    """Make the page of a registry of its own: what else runs in this process is not ours to show."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    ProcessCollector(registry=registry)

    def answer(question: Question) -> Answer:
        encode, content_type = choose_encoder(question.field("Accept") or "")
        return Answer(body=make_body(content_type, encode(registry)), vary=("Accept",), cache_control="no-store")

    return LivePage(answer=answer)
