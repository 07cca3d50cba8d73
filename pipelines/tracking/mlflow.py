"""Runs in MLflow. No other file speaks to MLflow about runs; `publishing.registry` does about
models.

Rank 0 alone holds an `MlflowTracker`, made before any worker starts.
"""

import difflib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from fulcrum.features.errors import ConfigError
from fulcrum.serving.publishing.mlflow_store import answering, client
from fulcrum.serving.publishing.store import address, database

logger = logging.getLogger(__name__)

FLUSH_POINTS, FLUSH_SECONDS = 200, 10.0
"""Metrics wait until there are so many, or the first has waited so long: one call of MLflow costs
about as much as 200 points in one call."""
BATCH = 100
"""Parameters that MLflow takes in one call."""
SAMPLING_SECONDS = 5
"""Between two samples of processor, memory, disk and network."""
FOLDER, CONFIG, DATA = "fulcrum.folder", "fulcrum.config", "fulcrum.data"
"""Tags: the run's folder, the fingerprints of its config and of its prepared data."""
PLUGINS = "fulcrum.plugins"
"""Tag: the distributions, with versions, that brought parts of the run."""
FROM = "fulcrum.from"
"""Tag: the model that the run learned on from."""
PARENT = "mlflow.parentRunId"
"""Tag of a run that is shown below another one."""


@dataclass(frozen=True)
class FoundRun:
    """A run of the store."""

    id: str
    name: str
    folder: Path
    """Where its checkpoints and its config are."""
    finished: bool
    """Whether it came to its end."""
    page: str
    """Where MLflow shows it, below the address of its pages."""
    plugins: tuple[str, ...]
    """The distributions, as `shop-parts==1.2`, that brought parts of it."""


class MlflowTracker:
    """A run that is being made. Ends as finished, killed or failed when the `with` block does."""

    def __init__(self, uri: str, run_id: str) -> None:
        """Go on with a run that `start_run` made, or that an earlier process left."""
        self.uri, self.run_id = uri, run_id
        self._client = client(uri)
        self._points: list[Metric] = []
        self._waiting_since = time.monotonic()
        self._monitor: SystemMetricsMonitor | None = None

    def __enter__(self) -> "MlflowTracker":
        with ExitStack() as stack, answering(self.uri):
            stack.push(self.__exit__)  # so that an interrupt in here leaves no run running either
            self._client.update_run(self.run_id, status="RUNNING")
            self._monitor = SystemMetricsMonitor(
                self.run_id,
                sampling_interval=SAMPLING_SECONDS,
                resume_logging=True,
                tracking_uri=address(self.uri),
            )
            self._monitor.start()
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        status = "FINISHED"
        if kind is not None:
            status = "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        try:
            if self._monitor:
                self._monitor.finish()
            self.flush()
        finally:
            with answering(self.uri):
                self._client.set_terminated(self.run_id, status)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep numbers measured after `step` optimizer steps; they reach the store in batches."""
        if not self._points:
            self._waiting_since = time.monotonic()
        now = int(time.time() * 1000)
        self._points += [Metric(key, float(value), now, step) for key, value in metrics.items()]
        seconds = time.monotonic() - self._waiting_since
        if len(self._points) >= FLUSH_POINTS or seconds > FLUSH_SECONDS:
            self.flush()

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file, under `folder` of the run when given."""
        with answering(self.uri):
            self._client.log_artifact(self.run_id, str(path), folder)

    def log_text(self, text: str, name: str) -> None:
        """Keep a text as the file `name`."""
        with answering(self.uri):
            self._client.log_text(self.run_id, text, name)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Keep what people filter runs on: nested keys are joined by dots. Those that the run has
        already stay as they are, so a resumed run may log them again."""
        flat = [Param(key, _short(value)) for key, value in flatten(params)]
        with answering(self.uri):
            old = self._client.get_run(self.run_id).data.params
            new = [param for param in flat if param.key not in old]
            for start in range(0, len(new), BATCH):
                self._client.log_batch(self.run_id, params=new[start : start + BATCH])

    def log_tags(self, tags: Mapping[str, Any]) -> None:
        """Label the run; an older value is replaced."""
        with answering(self.uri):
            self._client.log_batch(
                self.run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()]
            )

    def tag(self, name: str) -> str | None:
        """The value of a tag of the run, if it has it."""
        with answering(self.uri):
            value: str | None = self._client.get_run(self.run_id).data.tags.get(name)
        return value

    def has_model(self) -> bool:
        """Whether a model was logged for the run."""
        with answering(self.uri):
            outputs = self._client.get_run(self.run_id).outputs
        return bool(outputs and outputs.model_outputs)

    def log_dataset(
        self, name: str, fingerprint: str, source: str, schema: Any, profile: Mapping[str, Any]
    ) -> None:
        """Record what the run trained on: a digest and counts, never the rows."""
        dataset = Dataset(
            name=name,
            digest=fingerprint[:36],
            source_type="local",
            source=json.dumps({"uri": source}),
            schema=json.dumps(schema)[:60_000],
            profile=json.dumps(profile),
        )
        tag = InputTag("mlflow.data.context", "training")
        with answering(self.uri):
            self._client.log_inputs(self.run_id, [DatasetInput(dataset, [tag])])

    def flush(self) -> None:
        """Send the waiting metrics."""
        points, self._points = self._points, []
        with answering(self.uri):
            for start in range(0, len(points), 1000):
                self._client.log_batch(self.run_id, metrics=points[start : start + 1000])


def start_run(uri: str, experiment: str, name: str, parent: str | None = None) -> str:
    """Make the store if there is none, and a run in it, below `parent` if given; gives the run's
    id."""
    tags = {} if parent is None else {PARENT: parent}
    with answering(uri):
        store = client(uri, make=True)
        run = store.create_run(_experiment(store, uri, experiment), run_name=name, tags=tags)
        store.update_run(run.info.run_id, status="SCHEDULED")
        return str(run.info.run_id)


def find_run(uri: str, run: str) -> FoundRun:
    """The run with that id, or the newest with that name. A name means a run of its own; a
    comparison's when there is no other. Where several have the name, it is said which was taken.

    Raises ConfigError with the nearest names when there is none.
    """
    file = database(uri)
    if file is not None and not file.exists():
        raise ConfigError(f"no run {run!r}: there is no store {uri} (see --tracking)")
    with answering(uri):
        newest = _search(client(uri))
    runs = [entry for entry in newest if FOLDER in entry.data.tags]
    for entry in runs:
        if entry.info.run_id == run:
            return _found_run(entry)
    # A stable sort: the newest first within both.
    named = sorted((r for r in runs if r.info.run_name == run), key=lambda r: PARENT in r.data.tags)
    if not named:
        names = sorted({str(entry.info.run_name) for entry in newest})
        near = difflib.get_close_matches(run, names, n=3, cutoff=0.5) or names[:10]
        hint = f"; did you mean {' or '.join(near)}?" if near else "; it holds no runs"
        raise ConfigError(f"no run {run!r} in {uri}{hint}")
    first = named[0]
    if len(named) > 1 or PARENT in first.data.tags:
        what = "of a comparison" if PARENT in first.data.tags else "trained by itself"
        message = "%d called %s: taking %s, the newest that is %s; give an id for another"
        logger.info(message, len(named), run, first.info.run_id, what)
    return _found_run(first)


def find_tagged(uri: str, tags: Mapping[str, str]) -> list[FoundRun]:
    """The runs with these tags whose folder is still there: finished ones first, then the newest.
    Makes the store if there is none."""
    condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    with answering(uri):
        newest = _search(client(uri, make=True), condition)
    runs = [_found_run(run) for run in newest if FOLDER in run.data.tags]
    return sorted((run for run in runs if run.folder.is_dir()), key=lambda run: not run.finished)


def _search(store: MlflowClient, condition: str = "") -> list[Run]:
    """The runs of all experiments, newest first."""
    experiments = [e.experiment_id for e in store.search_experiments()]
    order = ["attributes.start_time DESC"]
    page = store.search_runs(experiments, condition, order_by=order)
    runs = list(page)
    while page.token:
        page = store.search_runs(experiments, condition, order_by=order, page_token=page.token)
        runs += page
    return runs


def history(uri: str, run: str, metric: str) -> list[float]:
    """Every value of a metric that a run has logged."""
    with answering(uri):
        return [point.value for point in client(uri).get_metric_history(run, metric)]


def check_store(uri: str) -> None:
    """Read from the store and write a harmless tag. Raises ResourceError when either fails."""
    with answering(uri):
        store = client(uri, make=True)
        first = store.search_experiments(max_results=1)[0]
        store.set_experiment_tag(first.experiment_id, "fulcrum.checked", str(int(time.time())))


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`{"a": {"b": 1}}` as `("a.b", 1)`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _found_run(run: Run) -> FoundRun:
    info = run.info
    return FoundRun(
        info.run_id,
        info.run_name,
        Path(run.data.tags[FOLDER]),
        info.status == "FINISHED",
        f"#/experiments/{info.experiment_id}/runs/{info.run_id}",
        tuple(filter(None, run.data.tags.get(PLUGINS, "").split(", "))),
    )


def _experiment(store: MlflowClient, uri: str, name: str) -> str:
    """The experiment's id; a new one in a SQLite store keeps its files beside the store."""
    experiment = store.get_experiment_by_name(name)
    if experiment:
        return str(experiment.experiment_id)
    file = database(uri)
    location = None if file is None else (file.resolve().parent / "mlruns").as_uri()
    try:
        return str(store.create_experiment(name, artifact_location=location))
    except MlflowException:
        experiment = store.get_experiment_by_name(name)  # another process may have been faster
        if not experiment:
            raise
        return str(experiment.experiment_id)


def _short(value: Any) -> str:
    text = json.dumps(value) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 500 else f"{text[:497]}..."
