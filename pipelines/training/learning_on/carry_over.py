"""What a new run takes of an earlier model's weights: all that fits, and a list of what does not.

Dense weights are taken by name where shapes agree, rows of tables by what they stand for
(`features.transform.same_rows`), and everything else stays as it was initialised. Inputs and tasks
have places in dense weights and not names: where the inputs of a network are no longer the same in
the same order, what is laid out by them is left, and so for its tasks. Moments of optimizers are
none of a model's weights, nor is what a weighting or a regulariser has learned.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor, nn
from torch.distributed._shard.sharded_tensor import ShardedTensor

from fulcrum.features.errors import ConfigError
from fulcrum.features.layout import DenseInput, IdInput, Layout
from fulcrum.features.transform.same_rows import COMMON, SameRows, same_rows
from fulcrum.features.transform.state import FeatureState
from fulcrum.models.embedding.vectors import table_name
from fulcrum.models.predictor import Predictor
from fulcrum.models.trunks import TrunkConfig
from fulcrum.pipelines.training.checkpoint import Weights, load_weights
from fulcrum.pipelines.training.learning_on.earlier_model import EarlierModel

DENSE, TABLES = "objective.predictor.", "tables."
"""What names of weights begin with; no others are part of a served model."""
OF_TASKS = f"{DENSE}tasks."
"""Those of what tasks tell each other, and of statistics of their labels."""

NOBODY = "\0"
"""A name that no input and no task has."""


@dataclass
class Plan:
    """What is taken and what is not, before anything is."""

    dense: list[str] = field(default_factory=list)
    """Names of weights that are taken as they are."""
    tables: dict[str, tuple[str, SameRows]] = field(default_factory=dict)
    """By name of a table's weights, the name of the earlier ones, and which rows are taken."""
    lines: list[str] = field(default_factory=list)
    """Both in words."""

    @property
    def empty(self) -> bool:
        """Whether nothing that was learned is taken: neither dense weights nor rows of values."""
        return not self.dense and not any(rows.values for _, rows in self.tables.values())


def carry_over(
    model: nn.Module, trunk: TrunkConfig, state: FeatureState, earlier: EarlierModel
) -> list[str]:
    """Take over what fits, in place; gives what was taken and what was not, a line each.

    Every process calls it and reads one table of the earlier model at a time, whole, for those of
    its rows and columns that lie there. Raises ConfigError when nothing fits or the checkpoint is
    not that of the model, and StateError when it is damaged.
    """
    weights, own = load_weights(earlier.checkpoint), model.state_dict()
    plan = Plan()
    _compare(plan, earlier.state.layout, state.layout)
    _plan_tables(plan, own, trunk, state, weights, earlier)
    _plan_dense(plan, own, trunk, state.layout, weights, earlier.state.layout)
    if plan.empty:
        lines = "\n  ".join(plan.lines)
        raise ConfigError(f"train.from: nothing of {earlier.uri} fits this run:\n  {lines}")
    with torch.no_grad():
        for name in plan.dense:
            own[name].copy_(weights[name])
        for name, (key, rows) in plan.tables.items():
            _fill(own[name], weights[key], rows)
    return plan.lines


def _compare(plan: Plan, old: Layout, new: Layout) -> None:
    """Say which inputs and tasks came and went."""
    for what, before, now in (
        ("input", [i.name for i in old.inputs], [i.name for i in new.inputs]),
        ("task", [t.name for t in old.tasks], [t.name for t in new.tasks]),
    ):
        plan.lines += [f"{what} {name}: new" for name in now if name not in before]
        plan.lines += [f"{what} {name}: no longer there" for name in before if name not in now]


def _plan_tables(
    plan: Plan,
    own: Mapping[str, Tensor],
    trunk: TrunkConfig,
    state: FeatureState,
    weights: Weights,
    earlier: EarlierModel,
) -> None:
    names, keys = _by_table(own), _by_table(weights)
    rows = {table.name: table.rows for table in earlier.state.layout.tables}
    copies = trunk.copies(len(state.layout.tasks))
    for copy, spec in product(range(copies), state.layout.tables):
        table = table_name(spec.name, copy, copies)
        key, name = keys.pop(table, None), names[table]
        if key is None or spec.name not in rows:
            plan.lines.append(f"table {table}: not taken, the model has none of that name")
            continue
        (count, old_width), width = weights.shape(key), trunk.embedding_dim
        if count != rows[spec.name]:
            raise ConfigError(
                f"train.from: {earlier.checkpoint} is not the checkpoint of {earlier.uri}: its "
                f"table {table} has {count} rows, expected {rows[spec.name]}"
            )
        if old_width != width:
            plan.lines.append(f"table {table}: not taken, it is {width} wide, was {old_width}")
            continue
        same = same_rows(earlier.state, state, spec.name)
        plan.tables[name] = key, same
        known = spec.rows - len(COMMON)
        plan.lines.append(f"table {table}: {same.values:,} of {known:,} values keep their row")
    plan.lines += [f"table {table} of the model: left behind" for table in keys]


def _plan_dense(
    plan: Plan,
    own: Mapping[str, Tensor],
    trunk: TrunkConfig,
    layout: Layout,
    weights: Weights,
    old: Layout,
) -> None:
    theirs = {name for name in weights if name.startswith(DENSE)}
    moved: dict[str, str] = {}
    other = _other_inputs(old, layout, trunk)
    if other != layout:
        moved |= dict.fromkeys(_changed(layout, other, trunk), "inputs")
    if _tasks(old) != _tasks(layout):
        of_tasks = [name for name in own if name.startswith(OF_TASKS)]
        by_task = _changed(layout, _more_tasks(layout), trunk)
        moved |= dict.fromkeys([*by_task, *of_tasks], "tasks")
    mine = [name for name in own if name.startswith(DENSE)]
    left = []
    for name in mine:
        short, shape = name.removeprefix(DENSE), tuple(own[name].shape)
        if name not in theirs:
            left.append(f"weight {short}: not taken, the model has none of that name")
        elif shape != (was := tuple(weights.shape(name))):
            left.append(f"weight {short}: not taken, its shape is {shape}, was {was}")
        elif name in moved:
            left.append(f"weight {short}: not taken, it is laid out by {moved[name]}")
        else:
            plan.dense.append(name)
    plan.lines.append(f"{len(plan.dense)} of {len(mine)} dense weights taken")
    plan.lines += left
    behind = sorted(theirs - set(mine))
    plan.lines += [f"weight {n.removeprefix(DENSE)} of the model: left behind" for n in behind]


def _by_table(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of the weights of tables, by table. A table has its name whether a history reads it,
    too, or not, and lies in another collection then."""
    return {name.split(".")[-2]: name for name in weights if name.startswith(TABLES)}


def _fields(layout: Layout) -> list[tuple[str, ...]]:
    """Inputs that come from tables, in the order in which the network has them."""
    return [tuple(source.name for source in part) for part in (layout.pooled, layout.unpooled)]


def _tasks(layout: Layout) -> list[tuple[object, ...]]:
    return [(task.name, task.kind, task.given, task.classes) for task in layout.tasks]


def _changed(one: Layout, other: Layout, trunk: TrunkConfig) -> list[str]:
    """Names of dense weights whose shapes differ between networks for two layouts."""
    shapes = []
    for layout in (one, other):
        with torch.random.fork_rng(devices=[]):
            weights = Predictor(layout, trunk).state_dict()
        shapes.append({f"{DENSE}{name}": weight.shape for name, weight in weights.items()})
    return [name for name, shape in shapes[0].items() if shapes[1].get(name) != shape]


def _other_inputs(old: Layout, layout: Layout, trunk: TrunkConfig) -> Layout:
    """The layout with another number of those inputs that are not the `old` ones in their order:
    what they lay out gets another shape."""
    ids, dense, sequences = layout.ids, layout.dense, layout.sequences
    if _fields(old) != _fields(layout):
        ids = (*ids, IdInput(name=NOBODY, table=NOBODY))
    if [number.name for number in old.dense] != [number.name for number in dense]:
        # Numbers make fields of the width of tables; the number of fields is to stay.
        more = len(dense) % trunk.embedding_dim
        dense = (*dense, DenseInput(name=NOBODY)) if more else dense[:-1]
    if [event.name for event in old.sequences] != [event.name for event in sequences]:
        first = {event.history: event for event in reversed(sequences)}
        names = {history: {"name": f"{history}{NOBODY}"} for history in first}
        sequences = (*sequences, *(e.model_copy(update=names[h]) for h, e in first.items()))
    return layout.model_copy(update={"ids": ids, "dense": dense, "sequences": sequences})


def _more_tasks(layout: Layout) -> Layout:
    more = layout.tasks[0].model_copy(update={"name": NOBODY, "given": None})
    return layout.model_copy(update={"tasks": (*layout.tasks, more)})


def _fill(weight: Tensor, old: Tensor, rows: SameRows) -> None:
    """Those of the rows that lie in this process."""
    for piece, row, column in _pieces(weight):
        here = (rows.new >= row) & (rows.new < row + piece.shape[0])
        values = old[torch.from_numpy(rows.old[here]), column : column + piece.shape[1]]
        piece[torch.from_numpy(rows.new[here] - row).to(piece.device)] = values.to(piece)


def _pieces(weight: Tensor) -> Iterator[tuple[Tensor, int, int]]:
    """What of a table lies in this process, with the first row and column of each piece."""
    if not isinstance(weight, ShardedTensor):
        yield weight, 0, 0
        return
    for shard in weight.local_shards():
        row, column = shard.metadata.shard_offsets
        yield shard.tensor, row, column
