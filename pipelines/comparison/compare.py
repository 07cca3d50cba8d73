"""Several networks on the same rows, under one budget: train, measure, weigh, write the page.

The networks' runs are ordinary runs below the comparison's own; finished ones are taken as they
are and stopped ones go on, so a comparison that was stopped is started again. What it leaves lies
in `<workspace>/runs/<run id>`: `compare.html`, `compare.csv`, `compare.md` and the pictures of the
page.
"""

import hashlib
import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.staging import full_disk
from fulcrum.features.tasks import TASKS
from fulcrum.pipelines.comparison import page, weightings
from fulcrum.pipelines.comparison.balance import MEASURED, Balance, draw, weigh
from fulcrum.pipelines.comparison.contenders import Lineup, check_rows, differences, line_up
from fulcrum.pipelines.comparison.cost import Cost, costs, slower
from fulcrum.pipelines.comparison.fairness import annealing
from fulcrum.pipelines.comparison.fairness.selection import Selection, select, voters
from fulcrum.pipelines.comparison.fairness.trials import Trials
from fulcrum.pipelines.comparison.gains import RELEVANT
from fulcrum.pipelines.comparison.markdown import markdown
from fulcrum.pipelines.comparison.runs import Trained, seeded, train_all
from fulcrum.pipelines.comparison.seesaw import Seesaw, pareto, weigh_up
from fulcrum.pipelines.comparison.sentences import sentences
from fulcrum.pipelines.comparison.tidy import tidy
from fulcrum.pipelines.config.load import fingerprint
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.figures import run as run_figures
from fulcrum.pipelines.quality.predictions import GROUP, Predictions, by_task
from fulcrum.pipelines.quality.pulls import LEVEL, METRICS, undefined
from fulcrum.pipelines.quality.units import units
from fulcrum.pipelines.runs.prepare import prepare_dataset
from fulcrum.pipelines.runs.register import measured_split
from fulcrum.pipelines.tracking.mlflow import (
    CONFIG,
    DATA,
    FOLDER,
    FoundRun,
    MlflowTracker,
    find_tagged,
    flatten,
    history,
    start_run,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """What is told at the end."""

    seesaw: Seesaw
    balances: list[Balance]
    """Trunks with several weightings."""
    sentences: list[str]
    page: Path
    table: Path


def compare(
    trials: Trials,
    seeds: int,
    console: Console,
    methods: Sequence[str] = (),
    relevant: float = RELEVANT,
) -> Comparison:
    """Train or find every network with every seed, each with the weightings that `methods` names
    beside its own, and say who rises and who pays; a gain of less than `relevant` per cent is not
    marked. Of several trials each network has the one that `selection` takes."""
    lineups = {
        words: line_up(weightings.multiply(configs, methods)) for words, configs in trials.items()
    }
    lineup = next(iter(lineups.values()))
    trunks = weightings.trunks(lineup)
    datasets = {name: prepare_dataset(config, console) for name, config in lineup.configs.items()}
    check_rows(datasets)
    if len(trials) > 1:
        voters(lineup.configs[lineup.first], datasets[lineup.first])
    split = measured_split(datasets[lineup.first])
    parent = _parent(lineups, datasets, lineup.seeds(seeds))
    folder = parent.folder
    with MlflowTracker(_uri(lineup), parent.id) as tracker, full_disk(folder):
        lineup, selection = select(lineups, datasets, parent.id, console)
        everyone, metrics = lineup.configs, MEASURED if trunks else METRICS
        trained = train_all(
            lineup, datasets, lineup.seeds(seeds), metrics, parent.id, split, console
        )
        predictions = trained.predictions
        seesaw = weigh_up(
            trained.samples,
            lineup.single,
            lineup.seeds(seeds),
            {task.name: task.kind for task in predictions.layout.tasks},
            _undefined(predictions),
            _positives(predictions),
            relevant,
        )
        logger.info("timing %d networks side by side", len(everyone))
        networks = {name: (everyone[name], datasets[name]) for name in everyone}
        spent = costs(networks, lineup.single, split)
        paces = {}
        for trunk, names in trunks:
            logger.info("timing training steps of %d weightings on %s", len(names), trunk)
            paces[trunk] = slower({name: networks[name] for name in names}, names[0])
        balances = weigh(trunks, seesaw, trained.samples, paces)
        pictures = _draw(seesaw, spent, folder)
        if balances:
            drawn = draw(balances)
            pictures["balance"] = run_figures.save(drawn, folder / "balance.svg")
        rates = {n: _train_rate(_uri(lineup), members) for n, members in trained.runs.items()}
        facts = _facts(lineup, datasets, trained, seesaw, spent, rates, split, selection)
        files = {kind: folder / f"compare.{kind}" for kind in ("html", "csv", "md")}
        told = sentences(seesaw, facts.notes, facts.trials)
        written = page.render(seesaw, balances, spent, facts, pictures)
        files["html"].write_text(written, encoding="utf-8")
        ids = {name: [run.id for run in members] for name, members in trained.runs.items()}
        tidy(seesaw, balances, spent, rates, ids).write_csv(files["csv"])
        text = markdown(seesaw, spent, facts.notes, told)
        files["md"].write_text(text, encoding="utf-8")
        for file in files.values():
            tracker.log_artifact(file)
        for picture in pictures.values():
            tracker.log_artifact(picture, "figures")
        _log(tracker, seesaw, spent)
    return Comparison(seesaw, balances, told, files["html"], files["csv"])


def _parent(
    lineups: dict[str, Lineup], datasets: dict[str, PreparedDataset], seeds: tuple[int, ...]
) -> FoundRun:
    """The comparison's run: the one that compared the same before, if there is one."""
    lineup = next(iter(lineups.values()))
    first = lineup.configs[lineup.first]
    parts = [
        f"{fingerprint(seeded(config, seed))} {datasets[name].fingerprint}"
        for of_trial in lineups.values()
        for name, config in of_trial.configs.items()
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
        if len(lineups) > 1:
            tracker.log_params({"trials": list(lineups)})
        earlier = find_tagged(uri, tags)
    return earlier[0]


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


def _positives(predictions: Predictions) -> dict[str, int]:
    """Rows, of each task with two classes."""
    return {
        rows.task.name: int(np.sum(rows.labels > 0))
        for rows in by_task(predictions)
        if TASKS[rows.task.kind].two_classes
    }


def _train_rate(uri: str, runs: Sequence[FoundRun]) -> float:
    """Median over seeds and reports of the rows per second that training told."""
    return median(v for run in runs for v in history(uri, run.id, "train/rows_per_second"))


def _front(seesaw: Seesaw, spent: dict[str, Cost]) -> list[str]:
    """Networks that no other beats in mean gain and operations together."""
    gains = seesaw.order.gains
    points = np.array([[gain.value, -spent[name].flops] for name, gain in gains.items()])
    return [n for n, best in zip(gains, pareto(points.reshape(-1, 2)), strict=True) if best]


def _undominated(seesaw: Seesaw) -> list[str]:
    """Networks that no other beats on all tasks together."""
    gains = [[s.gain.value for s in seesaw.judged(n).values()] for n in seesaw.networks]
    return [n for n, best in zip(seesaw.networks, pareto(np.array(gains)), strict=True) if best]


def _draw(seesaw: Seesaw, spent: dict[str, Cost], folder: Path) -> dict[str, Path]:
    """The seesaw of each network but the single-task ones, and gains against operations."""
    bars = {name: seesaw.bars(name) for name in seesaw.ranked() if name != seesaw.single}
    points = {n: (spent[n].flops, gain.value) for n, gain in seesaw.order.gains.items()}
    drawn = {
        "seesaw": run_figures.seesaw(list(seesaw.tasks), bars, seesaw.relevant),
        "front": run_figures.front(points, _front(seesaw, spent)),
    }
    return {n: run_figures.save(figure, folder / f"{n}.svg") for n, figure in drawn.items()}


def _log(tracker: MlflowTracker, seesaw: Seesaw, spent: dict[str, Cost]) -> None:
    """Gains and costs as metrics of the comparison's run, whose names may hold no `+`."""
    metrics: dict[str, float] = {}
    for network in seesaw.networks:
        named = network.replace("+", ":")
        for task, standing in seesaw.judged(network).items():
            metrics[f"gain/{named}/{task}"] = standing.gain.value
        metrics[f"flops_per_row/{named}"] = spent[network].flops
        if mean := seesaw.mean_gain(network):
            metrics[f"mean_gain_percent/{named}"] = mean.value
    tracker.log_metrics(metrics, 0)


def _facts(
    lineup: Lineup,
    datasets: dict[str, PreparedDataset],
    trained: Trained,
    seesaw: Seesaw,
    spent: dict[str, Cost],
    rates: dict[str, float],
    split: str,
    selection: Selection,
) -> page.Facts:
    """What the page tells besides gains and costs."""
    uri = _uri(lineup)
    notes = {name: annealing.note(kept) for name, kept in trained.kept.items()}
    return page.Facts(
        title=", ".join(lineup.configs),
        split=split,
        protocol=_protocol(lineup, datasets, trained.predictions, split, seesaw.seeds, selection),
        settings={
            name: "; ".join(filter(None, [_settings(config), selection.taken[name]]))
            for name, config in lineup.configs.items()
        },
        trained=rates,
        fronts=(_front(seesaw, spent), _undominated(seesaw)),
        runs={
            name: [(run.id, f"{_pages(uri)}/{run.page}") for run in members]
            for name, members in trained.runs.items()
        },
        notes={name: note for name, note in notes.items() if note is not None},
        trials=selection.sentence,
    )


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
    selection: Selection,
) -> dict[str, str]:
    """How it was done, in words."""
    first, dataset = lineup.configs[lineup.first], datasets[lineup.first]
    rows = {name: facts.rows for name, facts in dataset.manifest.splits.items()}
    trials = selection.trials
    tried = {"trials of each network": "; ".join(trials)} if len(trials) > 1 else {}
    count, _ = units(predictions.column(GROUP))
    what = "rows" if count == len(predictions) else f"groups ({first.data.group})"
    apart = {n: differences(config, first) for n, config in lineup.configs.items()}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    machine = f"{platform.machine()}, threads {torch.get_num_threads()}, {device}"
    packages = [f"{name} {version(name)}" for name in ("torch", "torchrec", "polars")]
    return {
        "data": str(first.data.events),
        "rows": ", ".join(f"{name} {count:,}" for name, count in rows.items()),
        "measured on": f"the {split} split, with the weights that training kept",
        "budget": budget(first, trials),
        **tried,
        "seeds": ", ".join(map(str, seeds)),
        "intervals": f"{LEVEL:.0%} for all gains of a table together, from {count:,} {what} and "
        f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}",
        "single-task": f"{lineup.single}: one network per task, tables included",
        "static control": f"{lineup.static}: the first network with equal static weights",
        "differ in more than the network": "; ".join(
            f"{name}: {', '.join(parts)}" for name, parts in apart.items() if parts
        )
        or "none",
        "made with": ", ".join([f"Python {platform.python_version()}", *packages, machine]),
    }


def budget(config: RunConfig, trials: Sequence[str]) -> str:
    """What networks share of `train`, in words: not the seed, nor what trials set."""
    swept = {word.partition(" ")[0] for trial in trials for word in trial.split(", ")}
    facts = flatten({"train": config.train.model_dump(mode="json", exclude={"seed"})})
    return ", ".join(
        f"{path.removeprefix('train.')} {value}"
        for path, value in facts
        if value is not None and not any(f"{path}.".startswith(f"{one}.") for one in swept)
    )
