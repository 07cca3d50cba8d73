"""Data, features and tasks together, and everything about them that can be wrong without data."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fulcrum.features.config import Config
from fulcrum.features.declared.data import DataConfig
from fulcrum.features.errors import ConfigError, nearest
from fulcrum.features.kinds import FeatureConfig
from fulcrum.features.kinds.base import FeatureKind, Read
from fulcrum.features.kinds.recall import RecallKind
from fulcrum.features.tasks import TaskConfig
from fulcrum.features.values import sql

RESERVED = ("label", "observed", "row", "past", "missing")
"""First words of the columns that Fulcrum adds beside the features' own."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_LACKS = "a row to be scored lacks"

Path = tuple[str | int, ...]


class Problem(NamedTuple):
    """One thing to put right: its place in the YAML, and what is wrong there."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path))}: {self.message}"


class Clock(NamedTuple):
    """From when an event counts for what reads its late outcomes."""

    outcomes: tuple[str, ...]
    """All of them must be known."""
    settled: bool = False
    """Whether a yes waits for the time at which a no would be known."""


class FeatureSpec(Config):
    """The part of a run that says what a prepared row is."""

    data: DataConfig
    features: Mapping[str, FeatureConfig]
    tasks: Mapping[str, TaskConfig]

    @property
    def looking_back(self) -> dict[str, RecallKind]:
        """The features that read past events."""
        return {name: f for name, f in self.features.items() if isinstance(f, RecallKind)}

    @property
    def encoders(self) -> dict[str, FeatureKind]:
        """By feature, what makes inputs of its value."""
        return {name: f.encoder(name) for name, f in self.features.items()}

    @property
    def clocks(self) -> dict[str, Clock]:
        """By feature that reads late outcomes of past events, from when one counts for it."""
        clocks = {}
        for name, feature in self.looking_back.items():
            past = [read for read in feature.reads(name, self.features) if read.past]
            if outcomes := late(past, self.data):
                known = [self.data.late[outcome] for outcome in outcomes]
                early = any(one.known_at and one.known_after for one in known)
                clocks[name] = Clock(outcomes, feature.compares and early)
        return clocks

    @property
    def unripe(self) -> dict[str, tuple[str, ...]]:
        """By task whose label is made of late outcomes, or observed by them, which."""
        reads = {
            name: [
                Read((), text, is_sql=True) for text in (task.label, task.when) if text is not None
            ]
            for name, task in self.tasks.items()
        }
        return {
            name: outcomes for name, label in reads.items() if (outcomes := late(label, self.data))
        }

    def check(self) -> None:
        """Raises ConfigError with every problem at once."""
        faults = problems(self)
        if faults:
            raise ConfigError("\n".join(map(str, faults)))


def problems(spec: FeatureSpec) -> list[Problem]:
    """Everything that is wrong between data, features and tasks; no data are read."""
    syntax_errors = {path: message for path, text in expressions(spec) for message in _parse(text)}
    faults = [Problem(path, message) for path, message in syntax_errors.items()]
    for rule in (_names, _features, _pivot, _outcomes, _time, _chains, _derivations):
        faults += [problem for problem in rule(spec) if problem.path not in syntax_errors]
    return list(dict.fromkeys(faults))


def places(spec: FeatureSpec) -> Iterator[tuple[Path, str]]:
    """Every place that reads a column or an expression, with its name as `raw.lineage` has it;
    derived columns first."""
    data = spec.data
    for name in data.derive:
        yield ("data", "derive", name), name
    for field, text in (("where", data.where), ("weight", data.weight)):
        if text is not None:
            yield ("data", field), sql.value(text)
    if data.time is not None:
        yield ("data", "time", "column"), data.time.column
    if data.pivot is not None:
        yield from ((("data", "pivot", *path), column) for path, column in data.pivot.places())
    if data.group is not None:
        yield ("data", "group"), data.group
    if data.session is not None:
        yield ("data", "session", "key"), data.session.key
    if data.arms is not None:
        yield ("data", "arms", "column"), data.arms.column
        yield ("data", "arms", "unit"), data.arms.unit
    for name, outcome in data.late.items():
        if outcome.known_at is not None:
            yield ("data", "outcomes", name, "known_at"), outcome.known_at
    yield from ((("data", "keys", place), key) for place, key in enumerate(data.keys))
    yield from ((("data", "split"), column) for column in data.split.reads)
    for name in spec.features:
        yield from ((("features", name, *r.at), r.column) for r in _reads(spec, name))
    for name, task in spec.tasks.items():
        yield ("tasks", name, "label"), sql.value(task.label)
        if task.when is not None:
            yield ("tasks", name, "when"), sql.value(task.when)


def of_labels(spec: FeatureSpec) -> dict[str, str]:
    """Columns that labels are made of, with a task of each, but for what is known before: the time
    of the event, and what the config says."""
    data = spec.data
    time = [] if data.time is None else [data.time.column]
    known = _behind(time, data) | {*data.known_before, *data.derive}
    tasks: dict[str, str] = {}
    for task, config in spec.tasks.items():
        for column in _behind(mentions(config.label), data) - known:
            tasks.setdefault(column, task)
    return tasks


def late(reads: Iterable[Read], data: DataConfig) -> tuple[str, ...]:
    """Outcomes that are known later than their event, and are behind some reads, or whose times
    are."""
    names = [n for read in reads for n in (mentions(read.text) if read.is_sql else (read.text,))]
    behind = _behind(names, data)
    return tuple(name for name, one in data.late.items() if {name, one.known_at} & behind)


def _behind(names: Iterable[str], data: DataConfig) -> set[str]:
    """Names, and what they are derived from."""
    behind = set(names)
    for derived, text in reversed(data.derive.items()):
        if derived in behind:
            behind.update(mentions(text))
    return behind


def made_of(columns: Iterable[str], data: DataConfig) -> dict[str, str]:
    """Columns, and derived ones made of them, with the column behind each."""
    behind = {name: name for name in columns}
    for name, text in data.derive.items():
        for source in mentions(text):
            if source in behind:
                behind.setdefault(name, behind[source])
    return behind


def expressions(spec: FeatureSpec) -> Iterator[tuple[Path, str]]:
    """Every SQL expression, with its place."""
    data = spec.data
    yield from ((("data", "derive", name), text) for name, text in data.derive.items())
    for field, text in (("where", data.where), ("weight", data.weight)):
        if text is not None:
            yield ("data", field), text
    for name in spec.features:
        for read in _reads(spec, name):
            if read.is_sql:
                yield ("features", name, *read.at), read.text
    for name, task in spec.tasks.items():
        yield ("tasks", name, "label"), task.label
        if task.when is not None:
            yield ("tasks", name, "when"), task.when


def _parse(text: str) -> Iterator[str]:
    try:
        sql.check(text)
    except ConfigError as error:
        yield str(error)


def _reads(spec: FeatureSpec, name: str) -> Sequence[Read]:
    return spec.features[name].reads(name, spec.features)


def mentions(text: str) -> tuple[str, ...]:
    """Columns that an expression reads; none for what is no expression."""
    try:
        return sql.mentions(text)
    except ConfigError:
        return ()


def _names(spec: FeatureSpec) -> Iterator[Problem]:
    """Names become columns, files and ONNX inputs."""
    groups = (("features",), spec.features), (("tasks",), spec.tasks)
    for path, names in (*groups, (("data", "tables"), spec.data.tables)):
        for name in names:
            if not _NAME.fullmatch(name):
                yield Problem((*path, name), "expected letters, digits and `_`, no digit first")
            elif name in RESERVED:
                yield Problem((*path, name), f"`{name}` is reserved; choose another name")
    for name in spec.data.derive:
        if name.startswith(("=", *(f"{word}." for word in RESERVED))):
            yield Problem(("data", "derive", name), "the name is reserved; choose another one")
    for name in spec.tasks:
        if name in spec.features:
            message = f"a feature is called `{name}`, too, and a graph names both; rename the task"
            yield Problem(("tasks", name), message)
    scores = set(spec.tasks)
    for place, key in enumerate(spec.data.keys):
        if key in scores:
            message = f"a task is called `{key}`, too, and scores carry both; rename the task"
            yield Problem(("data", "keys", place), message)
        if key in spec.data.derive:
            message = f"`{key}` is derived; expected a column of the events, which scores can carry"
            yield Problem(("data", "keys", place), message)
        if key in spec.data.keys[:place]:
            yield Problem(("data", "keys", place), f"`{key}` is named twice")


def _features(spec: FeatureSpec) -> Iterator[Problem]:
    for name, feature in spec.features.items():
        for path, message in feature.problems(name, spec.features):
            yield Problem(("features", name, *path), message)


def _pivot(spec: FeatureSpec) -> Iterator[Problem]:
    """It comes before all else, so it reads the log's own columns."""
    data = spec.data
    if data.pivot is None:
        return
    time = None if data.time is None else data.time.column
    for path, message in data.pivot.problems(time):
        yield Problem(("data", "pivot", *path), message)
    own = [(("data", "pivot", *path), column) for path, column in data.pivot.places()]
    for path, column in [*own, (("data", "time", "column"), time)]:
        if column in data.derive:
            message = (
                f"`{column}` is derived; expected a column of the log, which `data.pivot` reads"
            )
            yield Problem(path, message)
    for name in data.pivot.behaviours:
        path = "data", "pivot", "behaviours", name
        if not _NAME.fullmatch(name) or name in RESERVED:
            yield Problem(
                path, "expected letters, digits and `_`, no digit first, no reserved name"
            )
        elif name in data.outcomes:
            yield Problem(
                ("data", "outcomes"), f"`{name}` is one by `data.pivot`; take it out here"
            )


def _outcomes(spec: FeatureSpec) -> Iterator[Problem]:
    """Nothing that a row to be scored carries may be known only after the event."""
    times = [outcome.known_at for outcome in spec.data.late.values() if outcome.known_at]
    outcomes, tasks = (*spec.data.outcomes, *spec.data.late, *times), of_labels(spec)
    behind = made_of((*outcomes, *tasks), spec.data)

    def refuse(path: Path, name: str) -> Iterator[Problem]:
        column = behind.get(name)
        if column is None:
            return
        through = "" if column == name else f" through `{name}`"
        if column in outcomes:
            yield Problem(path, f"reads the outcome `{column}`{through}, which {_LACKS}")
        else:
            message = (
                f"reads `{column}`{through}, of which the label of `{tasks[column]}` is made and "
                f"which {_LACKS}; if it is known before the event, say so: "
                f"`data.known_before: [{column}]`"
            )
            yield Problem(path, message)

    for place, name in enumerate(spec.data.known_before):
        if name in outcomes:
            message = f"`{name}` is in `data.outcomes`, too; take it out of one of them"
            yield Problem(("data", "known_before", place), message)
        if name in spec.data.derive:
            message = f"`{name}` is derived; expected the columns that it is made of"
            yield Problem(("data", "known_before", place), message)
    for name in spec.features:
        for read in _reads(spec, name):
            sources = mentions(read.text) if read.is_sql else (read.text,)
            for source in sources if read.row else ():
                yield from refuse(("features", name, *read.at), source)
    if spec.data.time is not None:
        yield from refuse(("data", "time", "column"), spec.data.time.column)
    if spec.data.session is not None:
        yield from refuse(("data", "session", "key"), spec.data.session.key)
    for place, key in enumerate(spec.data.keys):
        yield from refuse(("data", "keys", place), key)
    for name, table in spec.data.tables.items():
        yield from refuse(("data", "tables", name, "key"), table.key)


def _time(spec: FeatureSpec) -> Iterator[Problem]:
    if spec.data.time is not None:
        return
    for name in spec.looking_back:
        yield Problem(("features", name), "looks at past events and so needs `data.time`")
    if spec.data.pivot is not None:
        message = "a behaviour belongs to the impression before it and so needs `data.time`"
        yield Problem(("data", "pivot"), message)
    elif spec.data.late:
        message = "an outcome is known some time after its event and so needs `data.time`"
        yield Problem(("data", "outcomes"), message)
    if spec.data.session is not None:
        yield Problem(("data", "session"), "a session ends with a pause and so needs `data.time`")
    if spec.data.split.kind == "time":
        yield Problem(
            ("data", "split"),
            "a split by time needs `data.time`; without it, use `kind: hash`, `order`, `column` or "
            "`files`",
        )


def _chains(spec: FeatureSpec) -> Iterator[Problem]:
    parents = {n: t.parent for n, t in spec.tasks.items() if t.parent}
    binary = [name for name, task in spec.tasks.items() if task.two_classes]
    for name, parent in parents.items():
        path = ("tasks", name, "given")
        if parent not in binary:
            hint = nearest(parent, (b for b in binary if b != name))
            yield Problem(path, f"expected a binary task, got `{parent}`{hint}")
            continue
        chain = [name]
        while chain[-1] in parents and parents[chain[-1]] not in chain:
            chain.append(parents[chain[-1]])
        if parents.get(chain[-1]) == name:
            yield Problem(path, f"goes round in a circle: {' -> '.join([*chain, name])}")


def _derivations(spec: FeatureSpec) -> Iterator[Problem]:
    """A derived column may use those before it."""
    names = tuple(spec.data.derive)
    for place, (name, text) in enumerate(spec.data.derive.items()):
        for source in mentions(text):
            if source in names[place:]:
                what = "itself" if source == name else f"`{source}`, which comes later"
                yield Problem(("data", "derive", name), f"reads {what}")
