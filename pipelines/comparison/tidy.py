"""A comparison as one tidy table, for whoever goes on from its numbers."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from fulcrum.pipelines.comparison.balance import Balance
from fulcrum.pipelines.comparison.cost import Cost
from fulcrum.pipelines.comparison.gains import Gain
from fulcrum.pipelines.comparison.seesaw import Seesaw

MARKS = {1: "rises", -1: "falls", 0: None}


def tidy(
    seesaw: Seesaw,
    balances: Sequence[Balance],
    spent: Mapping[str, Cost],
    trained: Mapping[str, float],
    runs: Mapping[str, Sequence[str]],
) -> pl.DataFrame:
    """Tidy: a line for each network, seed, task and metric, then the mean over seeds, with its
    interval and mark; then a line for each network's mean gain in per cent, for the ends of its
    rank and for each cost. Where weightings are compared, then the same lines against the
    control of each trunk, and the time of a step over the control's. `over` names the network
    that `single_task` and the gain refer to; `runs` are the ids of each network's, one a seed."""
    rows = [*_lines(seesaw, seesaw.networks, runs), *_places(seesaw, seesaw.networks)]
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
        rows += _places(trials.seesaw, trials.others)
        for network in trials.others:
            pace = trials.slower[network]
            rows.append(_fact(network, "time of a training step over static", pace, trials.control))
    words = dict.fromkeys(("network", "seed", "task", "metric"), pl.String)
    numbers = dict.fromkeys(("value", "single_task", "gain", "low", "high"), pl.Float64)
    schema = {**words, **numbers, "mark": pl.String, "run": pl.String, "over": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _lines(
    seesaw: Seesaw, networks: Sequence[str], runs: Mapping[str, Sequence[str]]
) -> list[tuple[object, ...]]:
    """A line for each network, task, metric and seed, and the mean over seeds."""
    rows: list[tuple[object, ...]] = []
    for network in networks:
        for (task, metric), s in seesaw.standings[network].items():
            single = float(np.mean(s.single))
            of_seeds = zip(seesaw.seeds, s.values, s.single, s.gains, runs[network], strict=True)
            for seed, value, other, change, run in of_seeds:
                named = (network, str(seed), task, metric, value, other)
                rows.append((*named, *_gain(Gain(change, None, None)), run, seesaw.single))
            named = (network, "mean", task, metric, s.mean, single)
            rows.append((*named, *_gain(s.gain), None, seesaw.single))
    return rows


def _places(seesaw: Seesaw, networks: Sequence[str]) -> list[tuple[object, ...]]:
    """The mean gain of each network over tasks, and the ends of its rank."""
    rows: list[tuple[object, ...]] = []
    for network in networks:
        if gain := seesaw.mean_gain(network):
            named = (network, "mean", None, "mean gain, %", None, None)
            rows.append((*named, *_gain(gain), None, seesaw.single))
        ends = seesaw.order.ranks[network]
        for what, place in zip(("first rank", "last rank"), ends, strict=True):
            rows.append(_fact(network, what, place, seesaw.single))
    return rows


def _gain(gain: Gain) -> tuple[float | str | None, ...]:
    return gain.value, gain.low, gain.high, MARKS[gain.mark]


def _fact(network: str, what: str, value: float | None, over: str | None) -> tuple[object, ...]:
    """A line that is of no task."""
    number = None if value is None else float(value)
    return (network, None, None, what, number, *[None] * 6, over)
