"""Who takes part in a comparison, and whether it is a fair one.

The single-task networks are the first `single_task` config given, else made from the first network:
its settings, every task as deep and wide as in it, equal static weights. The static control is the
first network with equal static weights, unless a config given is that already. The first network
is the first config that is not `single_task`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from fulcrum.features.errors import ConfigError
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.models.regularisers import NoRegulariserConfig
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.models.weightings.equal import EqualConfig
from fulcrum.models.weightings.static import StaticConfig
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.runs.register import measured_split
from fulcrum.pipelines.runs.run import PLAIN, single_task
from fulcrum.pipelines.tracking.mlflow import flatten

ROW = ("row.", "label.", "observed.")
"""Prepared columns that make up a measured row: keys, weight, group, session, and the labels."""


@dataclass(frozen=True)
class Lineup:
    """The networks to compare, by the part of their name that tells them apart."""

    configs: dict[str, RunConfig]
    first: str
    """The first network given that is not single-task."""
    single: str
    """The single-task networks."""
    static: str
    """The first network with equal static weights."""

    def seeds(self, count: int) -> tuple[int, ...]:
        """The first config's and those that follow it."""
        seed = next(iter(self.configs.values())).train.seed
        return tuple(range(seed, seed + count))


def line_up(configs: Sequence[RunConfig]) -> Lineup:
    """Add the controls that are missing.

    Raises ConfigError when two configs have one name, none shares anything between tasks, or they
    differ in tasks, training budget or tracking store.
    """
    names = [config.name for config in configs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"name: several configs are named {', '.join(twice)}; rename them")
    several = [config for config in configs if not _is_single(config)]
    if not several:
        raise ConfigError(
            "there is nothing to compare with single-task networks; "
            "add a config whose `model.architecture` is another one"
        )
    for config in configs[1:]:
        _check_budget(configs[0], config)
    first = several[0]
    single = next(filter(_is_single, configs), _derived(first, "single-task"))
    static = next(
        (c for c in several if (c.model, c.tasks) == (first.model, first.tasks) and is_equal(c)),
        equal_weights(first),
    )
    everyone = {config.name: config for config in (*configs, single, static)}
    short = dict(zip(everyone, _short(list(everyone)), strict=True))
    return Lineup(
        {short[name]: config for name, config in everyone.items()},
        *(short[config.name] for config in (first, single, static)),
    )


def check_rows(datasets: Mapping[str, PreparedDataset]) -> None:
    """Raises ConfigError, with the config's name, unless all are measured on the same rows with the
    same labels, and learn from equally many."""
    (first, reference), *others = datasets.items()
    split = measured_split(reference)
    rows = _rows(reference, split)
    for name, dataset in others:
        for part in reference.manifest.splits:
            ours, theirs = dataset.rows(part), reference.rows(part)
            if ours != theirs:
                raise ConfigError(
                    f"{name} has {ours:,} rows in its {part} split, {first} has {theirs:,}; give "
                    "both the same `data`"
                )
        candidate = _rows(dataset, split)
        named = sorted({*rows.columns, *candidate.columns})
        wrong = [
            c
            for c in named
            if c not in candidate or c not in rows or not candidate[c].equals(rows[c])
        ]
        if wrong:
            raise ConfigError(
                f"the {split} rows of {name} are not those of {first}: `{'`, `'.join(wrong)}` "
                "differ; give both the same `data` and `tasks`"
            )


def differences(ours: RunConfig, first: RunConfig) -> list[str]:
    """Parts of `data`, `features` and `tasks` in which a config is not the first one."""
    parts = {"data", "features", "tasks"}
    a, b = (dict(flatten(c.model_dump(mode="json", include=parts))) for c in (ours, first))
    return list(dict.fromkeys(".".join(path.split(".")[:2]) for path in _unequal(a, b)))


def equal_weights(config: RunConfig) -> RunConfig:
    """The config itself where its static weights are equal, else one that it makes."""
    return config if is_equal(config) else _derived(config, "equal-weights")


def _derived(first: RunConfig, what: str) -> RunConfig:
    """A control: the first network's config with equal static weights."""
    model = single_task(first.model) if what == "single-task" else first.model
    changes = {"name": f"{first.name}-{what}", "model": model, **PLAIN}
    return first.model_copy(update=changes)


def _is_single(config: RunConfig) -> bool:
    return isinstance(config.model, SingleTaskConfig)


def is_equal(config: RunConfig) -> bool:
    """Whether all tasks have one fixed weight, and no regulariser stands beside it."""
    weighting = config.weighting
    if config.regulariser != NoRegulariserConfig():
        return False
    if isinstance(weighting, StaticConfig):
        return len({weighting.weights.get(task, 1.0) for task in config.tasks}) == 1
    return isinstance(weighting, EqualConfig)


def _check_budget(first: RunConfig, other: RunConfig) -> None:
    if {n: t.kind for n, t in first.tasks.items()} != {n: t.kind for n, t in other.tasks.items()}:
        raise ConfigError(
            f"tasks: {other.name} predicts {', '.join(other.tasks)} and {first.name} "
            f"{', '.join(first.tasks)}; give both the same tasks of the same kinds"
        )
    a, b = (dict(_budget(config)) for config in (first, other))
    wrong = [
        f"{path} is {a.get(path)} in {first.name}, {b.get(path)} in {other.name}"
        for path in _unequal(a, b)
    ]
    if wrong:
        path = _unequal(a, b)[0]
        raise ConfigError(
            f"{'; '.join(wrong)}: networks are compared under one budget; give both the same "
            f"value, for example with `--set {path}={a.get(path)}`"
        )


def _budget(config: RunConfig) -> Iterator[tuple[str, object]]:
    """What must be equal: all of `train` but the seed, and where runs are kept."""
    train = config.train.model_dump(mode="json", exclude={"seed"})
    return flatten({"train": train, "tracking": {"uri": config.tracking.uri}})


def _unequal(a: Mapping[str, object], b: Mapping[str, object]) -> list[str]:
    return [path for path in dict.fromkeys([*a, *b]) if a.get(path) != b.get(path)]


def _short(names: Sequence[str]) -> list[str]:
    """Names without the words that all of them begin with."""
    words = [name.split("-") for name in names]
    common = 0
    while all(len(w) > common + 1 for w in words) and len({w[common] for w in words}) == 1:
        common += 1
    return ["-".join(w[common:]) for w in words]


def _rows(dataset: PreparedDataset, split: str) -> pl.DataFrame:
    columns = [pl.col(f"^{start.replace('.', '[.]')}.*$") for start in ROW]
    frame = pl.scan_parquet(dataset.shards(split), glob=False).select(columns).collect()
    return frame.select(sorted(frame.columns))
