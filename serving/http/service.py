"""What every online service is: models asked over HTTP, with the events that they look back at."""

import json
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import polars as pl

from fulcrum.features.raw.conform import conform_frame
from fulcrum.features.transform.past import Gathered
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.http.arrow import read_stream
from fulcrum.serving.http.batching import Batching
from fulcrum.serving.http.body import ARROW, Body, RequestError
from fulcrum.serving.http.event_store import open_store
from fulcrum.serving.http.live_past import LivePast
from fulcrum.serving.http.metrics import Metrics
from fulcrum.serving.scoring.json_rows import Columns, parse_rows
from fulcrum.serving.scoring.scorer import Scorer
from fulcrum.serving.scoring.stages import Stages

ROWS_PER_CALL = 1024
"""Most rows per call of the graph, of one request or of several."""

Work = Callable[[Body], Any]
"""Gives what is answered as JSON, or a response that is no JSON."""


class Service(ABC):
    """Loaded when it is made, and answers between `open` and `close`. Safe to call from several
    threads."""

    metrics: Metrics

    def __init__(self, title: str, version: str, limits: ServingConfig, store: Path | None) -> None:
        """For a subclass that has its scorers and metrics; `store` is the file of the events.
        Raises what `EventStore` does."""
        self.title = title
        self.version = version
        self.limits = limits
        states = [scorer.state for scorer in self.scorers]
        self.time = next((state.time for state in states if state.time is not None), None)
        """How the models read times."""
        self.store = open_store(states, limits, store)
        """There exactly when a model looks back."""
        self._pasts: WeakKeyDictionary[Scorer, LivePast] = WeakKeyDictionary()
        self._starting = Lock()
        self._batchings: WeakKeyDictionary[Scorer, Batching] = WeakKeyDictionary()
        self.stages = Stages()
        """`parse`, `past` and `answer`; the rest is counted by the scorers."""
        self.ready = False

    @property
    @abstractmethod
    def scorers(self) -> Sequence[Scorer]:
        """Those that answer at present."""

    @abstractmethod
    def score(self, body: Body) -> Any:
        """Answer `POST /score`: `{"rows": [...], "events": [...]}`; `events`, when there, stand in
        for the stored ones."""

    @property
    def posts(self) -> Mapping[str, Work]:
        """What answers the body of a POST, by route."""
        return {"/score": self.score, "/events": self.add_events}

    def open(self) -> None:
        """Warm up; answers are given from here on. Raises what `LivePast` does."""
        for scorer in self.scorers:
            self.prepare(scorer)
        self.ready = True
        self.metrics.ready.set(1)

    def prepare(self, scorer: Scorer) -> None:
        """Let it answer its first row as fast as any."""
        scorer.warm_up()
        self.past(scorer)

    def follow(self) -> None:
        """Take over newer versions of the models, for a service that does."""
        return

    def close(self) -> None:
        """Let the files go, once the last request is answered."""
        if self.store is not None:
            self.store.close()

    def add_events(self, body: Body) -> dict[str, Any]:
        """Answer `POST /events`: `{"events": [...]}` or an Arrow stream of them; those already
        stored are ignored."""
        if self.store is None:
            models = "this model does" if len(self.scorers) == 1 else "these models do"
            raise RequestError(422, f"events: {models} not look at past events")
        if body.kind == ARROW:
            events = self.read_stream(body, self.store.columns, "events")
        else:
            events = parse_rows(body.decode().get("events"), self.store.columns, "events")
        count = self.store.append(events)
        for scorer in self.scorers:
            self.past(scorer)  # so that the next request need not wait for it
        self.metrics.events.inc(count)
        return {"added": count, "ignored": events.height - count}

    def unknown(self) -> Counter[str]:
        """Ids that the vocabularies of the present models did not hold, by feature."""
        counts: Counter[str] = Counter()
        for scorer in self.scorers:
            counts.update(dict(scorer.unknown))
        return counts

    def seconds(self) -> dict[str, float]:
        """That answers took so far, by stage."""
        total: defaultdict[str, float] = defaultdict(float)
        for stages in (self.stages, *(scorer.stages for scorer in self.scorers)):
            for stage, seconds in dict(stages.seconds).items():
                total[stage] += seconds
        return total

    def limit(self, what: str, count: int) -> None:
        """Raises RequestError 422 when one request has too many."""
        if count > self.limits.max_rows:
            raise RequestError(
                422, f"{what}: {count} in one request, at most {self.limits.max_rows} allowed"
            )

    def parse(
        self, request: Mapping[str, Any], columns: Columns
    ) -> tuple[pl.DataFrame, pl.LazyFrame | None]:
        """The rows, and the events that stand in for the stored ones, where the request has any."""
        rows = parse_rows(request.get("rows"), columns)
        self.limit("rows", rows.height)
        rows = self.typed(rows, columns)
        if self.store is None or request.get("events") is None:
            return rows, None
        return rows, parse_rows(request["events"], self.store.past_columns, "events").lazy()

    def read_stream(
        self, body: Body, names: Collection[str], what: str, others: Collection[str] = ()
    ) -> pl.DataFrame:
        """These columns of an Arrow stream as they are, and others where it has them."""
        rows, size = self.limits.max_rows, self.limits.max_body_bytes
        return read_stream(body.content, names, what, rows, size, others)

    def typed(self, rows: pl.DataFrame, columns: Columns) -> pl.DataFrame:
        """Rows in the types that training saw, times among them, which requests have as text."""
        return conform_frame(rows, columns, "rows", self.time)

    def predict(
        self, scorer: Scorer, rows: pl.DataFrame, past: pl.LazyFrame | None, due: float
    ) -> pl.DataFrame:
        """Scores after `past`, or after the stored events without it, together with other requests
        that wait for them; null where a number is not finite. `due` as in `Body`. Raises what
        `Batching` and `Scorer` do."""
        if past is not None:
            return self._predict(scorer, rows, past)
        batching = self._batchings.setdefault(
            scorer, Batching(ROWS_PER_CALL, self.limits.batch_delay)
        )
        return batching.score(rows, due, lambda rows: self._predict(scorer, rows, None))

    def _predict(
        self, scorer: Scorer, rows: pl.DataFrame, past: pl.LazyFrame | Gathered | None
    ) -> pl.DataFrame:
        if past is None:
            with self.stages.stage("past"):
                past = self.past(scorer)
        scores = scorer.predict(rows, past)
        return scores.select(pl.when(pl.col(n).is_finite()).then(n) for n in scores.columns)

    def past(self, scorer: Scorer) -> Gathered | None:
        """What a model sees of the stored events by now; None for one that does not look back."""
        if self.store is None or not scorer.state.past_columns:
            return None
        if scorer not in self._pasts:
            with self._starting:
                if scorer not in self._pasts:
                    self._pasts[scorer] = LivePast(self.store, scorer.state, self.limits.lateness)
        return self._pasts[scorer].gathered()


def key_columns(
    rows: Sequence[Mapping[str, Any]] | pl.DataFrame, typed: pl.DataFrame, keys: Sequence[str]
) -> pl.DataFrame:
    """The keys of each row as columns: of an Arrow stream as they were sent, null where it has no
    such column; of JSON in the types of the model, and as text where it does not read them."""
    if isinstance(rows, pl.DataFrame):
        return rows.select(
            pl.col(key) if key in rows.columns else pl.lit(None).alias(key) for key in keys
        )
    return pl.DataFrame(
        [
            typed[key]
            if key in typed.columns
            else pl.Series(key, [key_text(row.get(key)) for row in rows], pl.String)
            for key in keys
        ]
    )


def key_text(value: Any) -> str | None:
    """A key that no model reads, as text."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def with_keys(
    answers: pl.DataFrame,
    rows: Sequence[Mapping[str, Any]] | pl.DataFrame,
    keys: Sequence[str],
) -> list[dict[str, Any]]:
    """The answers as JSON, each with the keys of its row just as they were sent."""
    if isinstance(rows, pl.DataFrame):
        rows = rows.select(key for key in keys if key in rows.columns).to_dicts()
    sent = ([row.get(key) for row in rows] for key in keys)
    names = (*keys, *answers.columns)
    columns = zip(*sent, *answers.to_dict(as_series=False).values(), strict=True)
    return [dict(zip(names, values, strict=True)) for values in columns]
