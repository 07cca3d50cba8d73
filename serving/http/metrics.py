"""What the service counts, for Prometheus."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPMethod

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = frozenset(HTTPMethod)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""In the environment where several processes answer: the folder in which all of them count."""

Count = Callable[[], Mapping[str, float]]


class Metrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self, unknown: Count, seconds: Count) -> None:
        """`unknown` counts the ids outside the vocabulary by feature, `seconds` the time by stage
        of an answer."""
        self._registry = CollectorRegistry()
        labels = ("route", "method", "status")
        self.requests = Counter(
            "fulcrum_requests", "Answered requests.", labels, registry=self._registry
        )
        self.seconds = Histogram(
            "fulcrum_request_seconds",
            "Time from the request's head to the end of the answer.",
            ("route",),
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            registry=self._registry,
        )
        self.rows = Counter("fulcrum_rows", "Rows scored.", registry=self._registry)
        self.events = Counter("fulcrum_events", "New events stored.", registry=self._registry)
        self.ready = Gauge(
            "fulcrum_ready",
            "1 once warmed up.",
            registry=self._registry,
            multiprocess_mode="min",
        )
        self._elsewhere: list[tuple[Counter, Count, dict[str, float]]] = [
            (Counter(name, text, labels, registry=self._registry), counts, {})
            for name, text, labels, counts in (
                ("fulcrum_unknown_ids", "Ids outside the vocabulary.", ("feature",), unknown),
                ("fulcrum_stage_seconds", "Time by stage of an answer.", ("stage",), seconds),
            )
        ]
        """Counters, what they count, and how much of that they have."""

    def take_over(self) -> None:
        """Add what was counted elsewhere since the last time."""
        for counter, counts, before in self._elsewhere:
            for label, count in counts().items():
                counter.labels(label).inc(max(0, count - before.get(label, 0)))
                before[label] = count

    def text(self) -> bytes:
        """The exposition format; of all processes where several answer."""
        self.take_over()
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        everything = CollectorRegistry()
        MultiProcessCollector(everything)
        return generate_latest(everything)


class ExperimentMetrics(Metrics):
    """What is counted by arm, besides."""

    def __init__(
        self,
        unknown: Count,
        seconds: Count,
        refused: Callable[[], Iterable[Sequence[str]]],
        unread: Callable[[], Iterable[Sequence[str]]],
    ) -> None:
        """`refused` gives alias, version and reason of every version that is not taken over,
        `unread` every alias that the registry does not explain."""
        super().__init__(unknown, seconds)
        for collector in (
            _Ones(
                "fulcrum_refused_version",
                "1 while an alias means a version that does not fit or, so far, cannot be loaded.",
                ("alias", "version", "reason"),
                refused,
            ),
            _Ones(
                "fulcrum_unread_alias",
                "1 while the registry does not say which version an alias means.",
                ("alias",),
                unread,
            ),
        ):
            self._registry.register(collector)
        self.assignments = Counter(
            "fulcrum_assignments",
            "Units assigned for the first time.",
            ("arm",),
            registry=self._registry,
        )
        self.exposures = Counter(
            "fulcrum_exposures",
            "Rows answered and logged.",
            ("arm", "instance", "model", "version"),
            registry=self._registry,
        )
        self.outside = Counter(
            "fulcrum_outside", "Rows of units outside the experiment.", registry=self._registry
        )
        self.outcomes = Counter("fulcrum_outcomes", "Outcomes logged.", registry=self._registry)
        self.scoring = Histogram(
            "fulcrum_scoring_seconds",
            "Time of one arm's model for its rows of one request.",
            ("arm",),
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=self._registry,
        )


class _Ones(Collector):
    """1 for whatever there is at present."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        present: Callable[[], Iterable[Sequence[str]]],
    ) -> None:
        self._name, self._text, self._labels, self._present = name, text, labels, present

    def collect(self) -> list[Metric]:
        family = GaugeMetricFamily(self._name, self._text, labels=self._labels)
        for values in self._present():
            family.add_metric(values, 1)
        return [family]


class Measure:
    """Middleware: counts and times every request by its route, whatever path or method was sent."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.requests.labels(route, method, status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)
            self.metrics.take_over()
