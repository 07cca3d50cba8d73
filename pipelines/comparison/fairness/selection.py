"""Which trial of each network is measured: the one that is best on the validation split.

Trials are trained with the first seed; the one that is taken is then trained with the others. The
test split is looked at with what was taken and with nothing else. How good a trial is, with m its
metric of a task on the validation split, larger being better, and m_1 that of the first trial:

    mean over tasks of 100 m / |m_1|

Tasks count as in the mean gain (`order`): those with `FEW` positive rows or more, a regression by
its mean absolute error.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console

from fulcrum.features.errors import ConfigError, TrainError, listed
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.comparison.contenders import Lineup
from fulcrum.pipelines.comparison.order import FEW, ROBUST
from fulcrum.pipelines.comparison.runs import finished, seeded
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.quality.metrics import HIGHER_IS_BETTER, Metrics
from fulcrum.pipelines.quality.pulls import METRICS
from fulcrum.pipelines.training.trainer import read_result

logger = logging.getLogger(__name__)

UNTUNED = (
    "Every network has one setting, that of its config, and none was tuned: what suits one may not "
    "suit another (`--sweep`)."
)


@dataclass(frozen=True)
class Selection:
    """What was taken of so many trials."""

    trials: tuple[str, ...]
    """In words."""
    taken: dict[str, str]
    """By network."""
    voters: dict[str, str]
    """Tasks that had a say, by the metric that counted."""
    silent: tuple[str, ...]
    """Tasks with too few positive rows to have one."""
    rows: int
    """Of the validation split."""

    @property
    def sentence(self) -> str:
        """How fair the comparison is, in words."""
        if len(self.trials) == 1:
            return UNTUNED
        few = f"; {listed(self.silent)}, with fewer than {FEW} positive rows there, had no say"
        return (
            f"Every network had the same {len(self.trials)} trials, and the one that was best by "
            f"{listed(list(self.voters))} on the {self.rows:,} rows of the validation split was "
            f"measured{few if self.silent else ''}."
        )


def voters(config: RunConfig, dataset: PreparedDataset) -> dict[str, str]:
    """Tasks that can tell one trial from another, by metric. Raises ConfigError where no task
    can."""
    facts = dataset.manifest.splits.get("valid")
    if facts is None or not facts.rows:
        raise ConfigError(
            "--sweep: there is no validation split to choose by; keep some rows for it by "
            "`data.split`"
        )
    chosen = {
        task: ROBUST.get(METRICS[settings.kind][0], METRICS[settings.kind][0])
        for task, settings in config.tasks.items()
        if min(facts.observed[task], facts.positives.get(task, FEW)) >= FEW
    }
    if not chosen:
        raise ConfigError(
            f"--sweep: no task has {FEW} positive rows or more among the {facts.rows:,} of the "
            "validation split, and fewer choose by chance; keep more rows for it by `data.split`"
        )
    return chosen


def select(
    lineups: Mapping[str, Lineup],
    datasets: Mapping[str, PreparedDataset],
    parent: str,
    console: Console,
) -> tuple[Lineup, Selection]:
    """Train or find every trial of every network, and the networks as they are measured; `lineups`
    by the trial's settings in words. One trial is taken as it is."""
    trials = tuple(lineups)
    first = lineups[trials[0]]
    if len(trials) == 1:
        return first, Selection(trials, dict.fromkeys(first.configs, trials[0]), {}, (), 0)
    config, dataset = first.configs[first.first], datasets[first.first]
    chosen = voters(config, dataset)
    [seed] = first.seeds(1)
    taken: dict[str, str] = {}
    for name in first.configs:
        found = {}
        for number, words in enumerate(trials, 1):
            trial = seeded(lineups[words].configs[name], seed)
            try:
                run, how = finished(trial, datasets[name], parent, console)
            except TrainError as error:
                raise TrainError(f"--sweep: {name} with {words}: {error}") from error
            found[words] = read_result(run.folder / "checkpoints").metrics
            logger.info("trial %d of %d of %s: %s, %s", number, len(trials), name, words, how)
        taken[name] = best(found, [f"{metric}/{task}" for task, metric in chosen.items()])
        logger.info("%s: %s is best on the validation split", name, taken[name])
    measured = replace(first, configs={n: lineups[taken[n]].configs[n] for n in first.configs})
    silent = tuple(task for task in config.tasks if task not in chosen)
    return measured, Selection(trials, taken, chosen, silent, dataset.rows("valid"))


def best(trials: Mapping[str, Metrics], keys: Sequence[str]) -> str:
    """Name of the best trial by the metrics named, the first of equal ones; a metric that a trial
    lacks, or that is 0 in the first one, does not count."""
    names = list(trials)
    table = np.array([[trials[name].get(key) for key in keys] for name in names], float)
    signs = [1 if key.partition("/")[0] in HIGHER_IS_BETTER else -1 for key in keys]
    counts = np.isfinite(table).all(0) & (table[0] != 0)
    shares = (table * signs)[:, counts] / abs(table[0, counts])
    return names[int(np.argmax(shares.sum(1)))]
