"""What a task gains by a group of features, by a training without it.

A permutation says what a network makes of a group; a training says what is lost without it, when
the others may tell the same. The network without it is an ordinary run below the one that it is
compared with; a finished one is taken as it is and a stopped one goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from fulcrum.features.errors import ConfigError, nearest
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.comparison.contenders import check_rows
from fulcrum.pipelines.comparison.runs import finished
from fulcrum.pipelines.config.rules import problems, table_names
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.importance.groups import feature_groups
from fulcrum.pipelines.quality.differences import Difference, better
from fulcrum.pipelines.quality.pulls import JUDGED, with_pulls
from fulcrum.pipelines.runs.kept_config import kept_config
from fulcrum.pipelines.runs.prepare import prepare_dataset
from fulcrum.pipelines.tracking.mlflow import FoundRun
from fulcrum.pipelines.training.predict import evaluate
from fulcrum.pipelines.training.trainer import read_result


@dataclass(frozen=True)
class Trial:
    """A run beside one without some features, on the same rows."""

    features: tuple[str, ...]
    """Those that were left out."""
    split: str
    metrics: dict[str, str]
    """By task: the one that it is judged by."""
    values: dict[str, tuple[float, float]]
    """By task: with the features, and without."""
    gains: dict[str, Difference]
    """By task: above 0 the features help."""


def leave_out(run: FoundRun, names: Sequence[str], split: str, uri: str, console: Console) -> Trial:
    """Train without the groups of the named features, or find that training, and compare.

    Raises ConfigError for a name that no feature has, and where what is left is no config, as when
    a history reads what was left out.
    """
    kept = kept_config(run)
    config = kept.model_copy(update={"tracking": kept.tracking.model_copy(update={"uri": uri})})
    dataset = prepare_dataset(config, console)
    features = _of_groups(names, dataset)
    without = _without(config, features)
    rest = prepare_dataset(without, console)
    check_rows({config.name: dataset, without.name: rest})
    trained, _ = finished(without, rest, run.id, console)
    ours, theirs = (
        with_pulls(
            evaluate(c, data, read_result(r.folder / "checkpoints").checkpoint, split), JUDGED
        )
        for c, data, r in ((config, dataset, run), (without, rest, trained))
    )
    return Trial(
        features,
        split,
        dict(list(ours)),
        {key[0]: (float(ours[key][0]), float(theirs[key][0])) for key in ours},
        {key[0]: Difference.of(better(ours[key], theirs[key], key[1])) for key in ours},
    )


def _of_groups(names: Sequence[str], dataset: PreparedDataset) -> tuple[str, ...]:
    """All features of the groups that the named ones are in."""
    group_of = {
        name: group.split(", ")
        for group in feature_groups(dataset.state)
        for name in group.split(", ")
    }
    for name in names:
        if name not in group_of:
            raise ConfigError(f"there is no feature `{name}`{nearest(name, group_of)}")
    return tuple(dict.fromkeys(f for name in names for f in group_of[name]))


def _without(config: RunConfig, features: Sequence[str]) -> RunConfig:
    rest = {name: f for name, f in config.features.items() if name not in features}
    name = f"{config.name}-without-{'-'.join(features)}"
    without = config.model_copy(update={"name": name, "features": rest})
    listed = ", ".join(features)
    if not rest:
        raise ConfigError(f"without {listed} there is no feature left")
    there = table_names(without)
    tables = {name: table for name, table in config.train.tables.items() if name in there}
    without = without.model_copy(
        update={"train": config.train.model_copy(update={"tables": tables})}
    )
    if wrong := problems(without):
        raise ConfigError(
            f"without {listed}: {'; '.join(map(str, wrong))}. Leave out what needs it, too: "
            f"`--leave-out {','.join(features)},...`"
        )
    return without
