"""What can be wrong between the parts of a run, each part being right by itself."""

from collections.abc import Iterator

from fulcrum.features.errors import nearest
from fulcrum.features.kinds.categorical import CategoricalConfig
from fulcrum.features.spec import FeatureSpec, Problem
from fulcrum.features.spec import problems as feature_problems
from fulcrum.models.chains import ESMMConfig
from fulcrum.models.weightings import Declared
from fulcrum.pipelines.config.run import RunConfig

COLUMNS = 4
"""FBGEMM's vectors have a multiple of so many, and so have pieces of tables."""
BESIDE = ("single-task", "constant")
"""What stands beside a run in its results, by name."""


def spec(config: RunConfig) -> FeatureSpec:
    """The part of a run that says what a prepared row is."""
    return FeatureSpec(data=config.data, features=config.features, tasks=config.tasks)


def problems(config: RunConfig) -> list[Problem]:
    """Everything that is wrong without looking at data."""
    return [
        *feature_problems(spec(config)),
        *_name(config),
        *_model(config),
        *_chain(config),
        *_weighting(config),
        *_experiment_design(config),
        *_tables(config),
        *_pretrain(config),
        *_from(config),
        *_segments(config),
        *_early_stopping(config),
    ]


def metric_names(config: RunConfig) -> list[str]:
    """Every metric that the run's tasks have: `auc/click`, and `auc` for the mean over tasks."""
    names = [f"loss/{task}" for task in config.tasks]
    for task, settings in config.tasks.items():
        names += [f"{metric}/{task}" for metric in settings.metrics]
    return [*dict.fromkeys(name.partition("/")[0] for name in names), *names]


def table_names(config: RunConfig) -> list[str]:
    """Of the embedding tables: that of the first feature whose values one holds."""
    encoders = {name: feature.encoder(name) for name, feature in config.features.items()}
    tables = (encoder.table(name) for name, encoder in encoders.items())
    return list(dict.fromkeys(table for table in tables if table is not None))


def _name(config: RunConfig) -> Iterator[Problem]:
    if config.name in BESIDE:
        message = (
            f"a run is measured beside one that is called `{config.name}`; choose another name"
        )
        yield Problem(("name",), message)


def _model(config: RunConfig) -> Iterator[Problem]:
    for path, message in config.model.problems(config.features, config.tasks):
        yield Problem(("model", *path), message)


def _chain(config: RunConfig) -> Iterator[Problem]:
    parents = any(task.parent for task in config.tasks.values())
    if config.model.chain != ESMMConfig() and not parents:
        message = "there is no chain: no task is `given` another one; say so in `tasks`"
        yield Problem(("model", "chain"), message)


def _weighting(config: RunConfig) -> Iterator[Problem]:
    setting = Declared(
        {name: task.kind for name, task in config.tasks.items()},
        chained=[name for name, task in config.tasks.items() if task.parent],
        sessions=config.data.session is not None,
        valid="valid" in config.data.split.names,
    )
    for path, message in config.weighting.problems(setting):
        yield Problem(("weighting", *path), message)


def _experiment_design(config: RunConfig) -> Iterator[Problem]:
    if config.experiment_design is not None:
        for path, message in config.experiment_design.problems(spec(config)):
            yield Problem(("experiment_design", *path), message)


def _tables(config: RunConfig) -> Iterator[Problem]:
    known, width = table_names(config), config.model.embedding_dim
    for name, table in config.train.tables.items():
        if table.sharding == "column_wise" and (width % COLUMNS or width < 2 * COLUMNS):
            message = (
                f"`column_wise` deals pieces of a multiple of {COLUMNS} columns, and "
                f"`model.embedding_dim` is {width}; expected a multiple of {COLUMNS}, at least "
                f"{2 * COLUMNS}"
            )
            yield Problem(("train", "tables", name, "sharding"), message)
        if name not in known:
            hint = (
                nearest(name, known) or f"; expected some of {', '.join(sorted(known)) or 'none'}"
            )
            yield Problem(("train", "tables", name), f"no feature has a table `{name}`{hint}")


def _pretrain(config: RunConfig) -> Iterator[Problem]:
    first = config.train.pretrain
    for place, task in enumerate(first.tasks if first else ()):
        if task not in config.tasks:
            message = f"there is no task `{task}`{nearest(task, config.tasks)}"
            yield Problem(("train", "pretrain", "tasks", place), message)


def _from(config: RunConfig) -> Iterator[Problem]:
    """A folder is refused: an exported model may come from anybody, a checkpoint beside it may
    not."""
    uri = config.train.from_
    if uri is not None and not uri.startswith(("models:/", "runs:/")):
        message = (
            f"is {uri!r}; expected models:/<name>@<alias>, models:/<name>/<version> or "
            "runs:/<run>/<model>"
        )
        yield Problem(("train", "from"), message)


def _segments(config: RunConfig) -> Iterator[Problem]:
    calibration = config.train.calibration
    known = [n for n, feature in config.features.items() if isinstance(feature, CategoricalConfig)]
    for place, name in enumerate(calibration.segments if calibration else ()):
        if name not in known:
            hint = nearest(name, known) or f"; expected some of {', '.join(known) or 'none'}"
            message = f"there is no categorical feature `{name}`{hint}"
            yield Problem(("train", "calibration", "segments", place), message)


def _early_stopping(config: RunConfig) -> Iterator[Problem]:
    stopping = config.train.early_stopping
    names = metric_names(config)
    if stopping is not None and stopping.metric not in names:
        hint = nearest(stopping.metric, names) or f"; the metrics are {', '.join(names)}"
        message = f"is {stopping.metric!r}, which the tasks do not have{hint}"
        yield Problem(("train", "early_stopping", "metric"), message)
