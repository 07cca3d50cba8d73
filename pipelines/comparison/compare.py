"""Several networks on the same rows, under one budget: train, measure, weigh, write the page.

The networks' runs are ordinary runs below the comparison's own; finished ones are taken as they
are and stopped ones go on, so a comparison that was stopped is started again. What it leaves lies
in `<workspace>/runs/<run id>`: `compare.html`, `compare.csv` and the pictures of the page.
"""

import hashlib
import logging
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
import torch
from rich.console import Console

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.staging import full_disk
from fulcrum.pipelines.comparison import page, weightings
from fulcrum.pipelines.comparison.balance import MEASURED, Balance, draw, weigh
from fulcrum.pipelines.comparison.contenders import Lineup, check_rows, differences, line_up
from fulcrum.pipelines.comparison.cost import Cost, costs, slower
from fulcrum.pipelines.comparison.seesaw import Seesaw, pareto, standings
from fulcrum.pipelines.config.load import fingerprint
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.figures import run as run_figures
from fulcrum.pipelines.quality.metrics import Predictions, by_task
from fulcrum.pipelines.quality.resamples import (
    LEVEL,
    METRICS,
    RESAMPLES,
    Samples,
    resample,
    undefined,
    units,
)
from fulcrum.pipelines.runs.prepare import prepare_dataset
from fulcrum.pipelines.runs.register import measured_split
from fulcrum.pipelines.runs.run import Options, start, take_up
from fulcrum.pipelines.tracking.mlflow import (
    CONFIG,
    DATA,
    FOLDER,
    PARENT,
    FoundRun,
    MlflowTracker,
    find_tagged,
    flatten,
    history,
    start_run,
)
from fulcrum.pipelines.training.predict import evaluate
from fulcrum.pipelines.training.trainer import read_result

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """What is told at the end."""

    seesaw: Seesaw
    balances: list[Balance]
    """Trunks with several weightings."""
    page: Path
    table: Path


def compare(
    configs: Sequence[RunConfig], seeds: int, console: Console, methods: Sequence[str] = ()
) -> Comparison:
    """Train or find every network with every seed, each with the weightings that `methods` names
    beside its own, and say who rises and who pays."""
    lineup = line_up(weightings.multiply(configs, methods))
    trunks = weightings.trunks(lineup)
    everyone = lineup.configs
    datasets = {name: prepare_dataset(config, console) for name, config in everyone.items()}
    check_rows(datasets)
    split = measured_split(datasets[lineup.first])
    parent = _parent(lineup, datasets, lineup.seeds(seeds))
    folder = parent.folder
    with MlflowTracker(_uri(lineup), parent.id) as tracker, full_disk(folder):
        runs, samples, predictions = _train_all(lineup, datasets, seeds, parent.id, split, console)
        seesaw = Seesaw(
            lineup.single,
            lineup.seeds(seeds),
            {rows.task.name: rows.task.kind for rows in by_task(predictions)},
            standings(samples, lineup.single),
            _undefined(predictions),
        )
        logger.info("timing %d networks side by side", len(everyone))
        networks = {name: (everyone[name], datasets[name]) for name in everyone}
        spent = costs(networks, lineup.single, split)
        trained = {name: _train_rate(_uri(lineup), members) for name, members in runs.items()}
        paces = {}
        for trunk, names in trunks:
            logger.info("timing training steps of %d weightings on %s", len(names), trunk)
            paces[trunk] = slower({name: networks[name] for name in names}, names[0])
        balances = weigh(trunks, seesaw, samples, paces)
        pictures = _draw(seesaw, spent, folder)
        if balances:
            drawn = draw(balances)
            pictures["balance"] = run_figures.save(drawn, folder / "balance.svg")
        facts = page.Facts(
            title=", ".join(everyone),
            split=split,
            protocol=_protocol(lineup, datasets, predictions, split, seesaw.seeds),
            settings={name: _settings(config) for name, config in everyone.items()},
            trained=trained,
            fronts=(_front(seesaw, spent), _undominated(seesaw)),
            runs={
                name: [(run.id, f"{_pages(_uri(lineup))}/{run.page}") for run in members]
                for name, members in runs.items()
            },
        )
        table, html = folder / "compare.csv", folder / "compare.html"
        _table(seesaw, balances, spent, trained, runs).write_csv(table)
        html.write_text(page.render(seesaw, balances, spent, facts, pictures), encoding="utf-8")
        for file in (html, table):
            tracker.log_artifact(file)
        for picture in pictures.values():
            tracker.log_artifact(picture, "figures")
        _log(tracker, seesaw, spent)
    return Comparison(seesaw, balances, html, table)


def _parent(
    lineup: Lineup, datasets: dict[str, PreparedDataset], seeds: tuple[int, ...]
) -> FoundRun:
    """The comparison's run: the one that compared the same before, if there is one."""
    first = lineup.configs[lineup.first]
    parts = [
        f"{fingerprint(_seeded(config, seed))} {datasets[name].fingerprint}"
        for name, config in lineup.configs.items()
        for seed in seeds
    ]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    tags = {CONFIG: digest, DATA: datasets[lineup.first].fingerprint}
    uri = first.tracking.uri
    earlier = find_tagged(uri, tags)
    if not earlier:
        run = start_run(uri, first.tracking.experiment, "compare")
        folder = Path(first.workspace, "runs", run)
        folder.mkdir(parents=True)
        tracker = MlflowTracker(uri, run)
        tracker.log_tags({**tags, FOLDER: folder.resolve()})
        tracker.log_params({"networks": list(lineup.configs), "seeds": list(seeds)})
        earlier = find_tagged(uri, tags)
    return earlier[0]


def _train_all(
    lineup: Lineup,
    datasets: dict[str, PreparedDataset],
    seeds: int,
    parent: str,
    split: str,
    console: Console,
) -> tuple[dict[str, list[FoundRun]], dict[str, list[Samples]], Predictions]:
    """Runs and resampled metrics by network, one a seed; and the predictions of one of them."""
    runs: dict[str, list[FoundRun]] = {name: [] for name in lineup.configs}
    samples: dict[str, list[Samples]] = {name: [] for name in lineup.configs}
    metrics = MEASURED if weightings.trunks(lineup) else METRICS
    jobs = [(seed, name) for seed in lineup.seeds(seeds) for name in lineup.configs]
    for number, (seed, name) in enumerate(jobs, 1):
        config, began = _seeded(lineup.configs[name], seed), time.monotonic()
        run, how = finished(config, datasets[name], parent, console)
        checkpoint = read_result(run.folder / "checkpoints").checkpoint
        predictions = evaluate(config, datasets[name], checkpoint, split)
        runs[name].append(run)
        samples[name].append(resample(predictions, metrics=metrics))
        spent = time.monotonic() - began
        logger.info("%d of %d: %s, seed %d, %s, %.0f s", number, len(jobs), name, seed, how, spent)
    return runs, samples, predictions


def finished(
    config: RunConfig, dataset: PreparedDataset, parent: str, console: Console
) -> tuple[FoundRun, str]:
    """The finished run of a config, and how it came to be."""
    uri, options = config.tracking.uri, Options(1, False, console, parent)
    tags = {CONFIG: fingerprint(config), DATA: dataset.fingerprint}
    runs = find_tagged(uri, tags)
    how = "as it was" if runs and runs[0].finished else "resumed" if runs else "trained"
    if how == "trained":
        start(config, options)
    elif how == "resumed":
        take_up(runs[0], uri, options)
    run = find_tagged(uri, tags)[0]
    tracker = MlflowTracker(uri, run.id)
    if tracker.tag(PARENT):  # a run that was trained by itself stays one
        tracker.log_tags({PARENT: parent})
    return run, how


def _seeded(config: RunConfig, seed: int) -> RunConfig:
    return config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})


def _uri(lineup: Lineup) -> str:
    return lineup.configs[lineup.first].tracking.uri


def _pages(uri: str) -> str:
    """Where a browser finds the runs: at the server, or where `fulcrum ui` shows them."""
    return uri.rstrip("/") if uri.startswith("http") else "http://127.0.0.1:5000"


def _undefined(predictions: Predictions) -> dict[tuple[str, str], str]:
    reasons = {
        (rows.task.name, metric): undefined(rows, metric)
        for rows in by_task(predictions)
        for metric in METRICS[rows.task.kind]
    }
    return {key: reason for key, reason in reasons.items() if reason is not None}


def _train_rate(uri: str, runs: Sequence[FoundRun]) -> float:
    """Median over seeds and reports of the rows per second that training told."""
    return median(v for run in runs for v in history(uri, run.id, "train/rows_per_second"))


def _front(seesaw: Seesaw, spent: dict[str, Cost]) -> list[str]:
    """Networks that no other beats in mean gain and operations together."""
    gains = {name: seesaw.mean_gain(name) for name in seesaw.networks}
    known = {name: gain for name, gain in gains.items() if gain is not None}
    points = np.array([[gain, -spent[name].flops] for name, gain in known.items()]).reshape(-1, 2)
    return [name for name, best in zip(known, pareto(points), strict=True) if best]


def _undominated(seesaw: Seesaw) -> list[str]:
    """Networks that no other beats on all tasks together."""
    gains = [[s.gain.value for s in seesaw.judged(n).values()] for n in seesaw.networks]
    return [n for n, best in zip(seesaw.networks, pareto(np.array(gains)), strict=True) if best]


def _draw(seesaw: Seesaw, spent: dict[str, Cost], folder: Path) -> dict[str, Path]:
    """The seesaw of each network but the single-task ones, and gains against operations."""
    bars = {
        name: {
            task: (s.percent.value, s.percent.low, s.percent.high)
            for task, s in seesaw.judged(name).items()
            if s.percent is not None
        }
        for name in seesaw.ranked()
        if name != seesaw.single
    }
    gains = {name: seesaw.mean_gain(name) for name in seesaw.networks}
    points = {n: (spent[n].flops, gain) for n, gain in gains.items() if gain is not None}
    drawn = {
        "seesaw": run_figures.seesaw(list(seesaw.tasks), bars),
        "front": run_figures.front(points, _front(seesaw, spent)),
    }
    return {n: run_figures.save(figure, folder / f"{n}.svg") for n, figure in drawn.items()}


def _table(
    seesaw: Seesaw,
    balances: Sequence[Balance],
    spent: dict[str, Cost],
    trained: dict[str, float],
    runs: dict[str, list[FoundRun]],
) -> pl.DataFrame:
    """Tidy: a line for each network, seed, task and metric, then the mean over seeds; then a line
    for each network and cost. Where weightings are compared, then the same lines against the
    control of each trunk, and the time of a step over the control's. `over` names the network
    that `single_task` and the gain refer to."""
    rows = _lines(seesaw, seesaw.networks, runs)
    for network, cost in spent.items():
        named = {
            "parameters of tables": cost.tables,
            "dense parameters": cost.dense,
            "flops per row": cost.flops,
            "rows trained per second": trained[network],
            "rows scored per second": cost.scored,
            "scoring rate over single-task": cost.pace,
        }
        rows += [_fact(network, what, value, None) for what, value in named.items()]
    for trials in balances:
        rows += _lines(trials.seesaw, trials.others, runs)
        for network in trials.others:
            pace = trials.slower[network]
            rows.append(_fact(network, "time of a training step over static", pace, trials.control))
    words = dict.fromkeys(("network", "seed", "task", "metric"), pl.String)
    numbers = dict.fromkeys(("value", "single_task", "gain", "low", "high"), pl.Float64)
    schema = {**words, **numbers, "run": pl.String, "over": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _lines(
    seesaw: Seesaw, networks: Sequence[str], runs: dict[str, list[FoundRun]]
) -> list[tuple[object, ...]]:
    """A line for each network, task, metric and seed, and the mean over seeds."""
    rows: list[tuple[object, ...]] = []
    for network in networks:
        for (task, metric), s in seesaw.standings[network].items():
            single = float(np.mean(s.single))
            cells = [*zip(seesaw.seeds, s.values, s.single, s.gains, runs[network], strict=True)]
            for seed, value, other, gain, run in [*cells, ("mean", s.mean, single, s.gain, None)]:
                measured = (value, other, gain.value, gain.low, gain.high)
                run_id = None if run is None else run.id
                rows.append((network, str(seed), task, metric, *measured, run_id, seesaw.single))
    return rows


def _fact(network: str, what: str, value: float | None, over: str | None) -> tuple[object, ...]:
    """A line that is of no task."""
    number = None if value is None else float(value)
    return (network, None, None, what, number, *[None] * 5, over)


def _log(tracker: MlflowTracker, seesaw: Seesaw, spent: dict[str, Cost]) -> None:
    """Gains and costs as metrics of the comparison's run, whose names may hold no `+`."""
    metrics: dict[str, float] = {}
    for network in seesaw.networks:
        named = network.replace("+", ":")
        for task, standing in seesaw.judged(network).items():
            metrics[f"gain/{named}/{task}"] = standing.gain.value
        metrics[f"flops_per_row/{named}"] = spent[network].flops
        mean = seesaw.mean_gain(network)
        if mean is not None:
            metrics[f"mean_gain_percent/{named}"] = mean
    tracker.log_metrics(metrics, 0)


def _settings(config: RunConfig) -> str:
    """What the network is made of, and its weighting."""
    facts = config.model_dump(mode="json", include={"model", "weighting"})
    model = facts["model"]
    kinds = [model["bottom"]["kind"], model["interaction"]["kind"]]
    if any(task.parent for task in config.tasks.values()):
        kinds.append(model["chain"]["kind"])
    parts = [model["architecture"], *(kind for kind in kinds if kind != "none")]
    return f"{' + '.join(parts)}, {facts['weighting']['method']}"


def _protocol(
    lineup: Lineup,
    datasets: dict[str, PreparedDataset],
    predictions: Predictions,
    split: str,
    seeds: tuple[int, ...],
) -> dict[str, str]:
    """How it was done, in words."""
    first, dataset = lineup.configs[lineup.first], datasets[lineup.first]
    rows = {name: facts.rows for name, facts in dataset.manifest.splits.items()}
    budget = flatten(first.train.model_dump(mode="json", exclude={"seed"}))
    count, _ = units(predictions.group)
    what = "rows" if count == len(predictions.group) else f"groups ({first.data.group})"
    apart = {n: differences(config, first) for n, config in lineup.configs.items()}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    machine = f"{platform.machine()}, threads {torch.get_num_threads()}, {device}"
    packages = [f"{name} {version(name)}" for name in ("torch", "torchrec", "polars")]
    return {
        "data": str(first.data.events),
        "rows": ", ".join(f"{name} {count:,}" for name, count in rows.items()),
        "measured on": f"the {split} split, with the weights that training kept",
        "budget": ", ".join(f"{name} {value}" for name, value in budget if value is not None),
        "seeds": ", ".join(map(str, seeds)),
        "intervals": f"{LEVEL:.0%}, {RESAMPLES} paired draws of {count:,} {what}",
        "single-task": f"{lineup.single}: one network per task, tables included",
        "static control": f"{lineup.static}: the first network with equal static weights",
        "differ in more than the network": "; ".join(
            f"{name}: {', '.join(parts)}" for name, parts in apart.items() if parts
        )
        or "none",
        "made with": ", ".join([f"Python {platform.python_version()}", *packages, machine]),
    }
