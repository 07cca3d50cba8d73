"""What holds for every kind of task, whatever it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import TypeAdapter

from fulcrum.features.errors import DataError
from fulcrum.features.layout import Layout, TaskSpec
from fulcrum.features.raw.label import check_labels, describe, label_columns, label_names
from fulcrum.features.tasks import TASKS, Task, TaskConfig
from fulcrum.models.objectives import OBJECTIVES
from fulcrum.models.objectives.masked import masked_mean
from fulcrum.models.objectives.mixed import MixedObjective
from fulcrum.models.plain import PlainNetwork
from fulcrum.models.trunks.shared_bottom import SharedBottomConfig
from fulcrum.pipelines.quality.metrics import METRICS, measure
from fulcrum.pipelines.quality.pulls import with_pulls
from fulcrum.serving.publishing.export import export_graph
from fulcrum.serving.publishing.parity import check_parity
from fulcrum.testing.layouts import make_layout, random_arrays
from fulcrum.testing.networks import make_network
from tests.pipelines.quality.arrays import Arrays

ROOT = Path(__file__).parents[3]
SETTINGS = {"multiclass": {"classes": ["0", "1"]}}
"""What a kind cannot do without."""
KINDS = pytest.mark.parametrize("kind", TASKS)


def declared(kind: str) -> Task:
    task: Task = TypeAdapter(TaskConfig).validate_python(
        {"kind": kind, "label": "y", **SETTINGS.get(kind, {})}
    )
    return task


def learned(kind: str) -> TaskSpec:
    """With the facts of labels 0, 1, 1, 0, 1."""
    tasks, log = {"t": declared(kind)}, pl.LazyFrame({"y": [0, 1, 1, 0, 1]})
    rows = log.select(pl.col("y").alias(name) for name in label_names(tasks))
    return describe(rows.select(label_columns(tasks, rows.collect_schema())), tasks)[0]


def layout_of(kind: str) -> Layout:
    return Layout(tables=(), tasks=(learned(kind),))


def test_every_kind_has_an_objective() -> None:
    assert list(TASKS) == list(OBJECTIVES)


@KINDS
def test_config_round_trips(kind: str) -> None:
    task = declared(kind)
    assert task.kind == kind
    assert TypeAdapter(TaskConfig).validate_json(task.model_dump_json()) == task


@KINDS
def test_metrics_are_known(kind: str) -> None:
    task = TASKS[kind]
    assert {*task.compared_by, *task.weighed_by} <= set(task.metrics) <= set(METRICS)


@KINDS
def test_an_unobserved_row_has_no_gradient(kind: str) -> None:
    objective = MixedObjective([learned(kind)])
    logits = torch.randn(6, sum(objective.outputs), requires_grad=True)
    observed = torch.tensor([[1.0], [0], [1], [0], [0], [1]])
    labels = torch.tensor([[1.0], [0], [0], [0], [0], [1]])
    loss, _, _ = masked_mean(objective.losses(logits, labels), observed, torch.ones(6))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    seen = gradient.abs().sum(1) > 0
    assert seen.tolist() == observed[:, 0].bool().tolist()


@KINDS
@pytest.mark.parametrize("size", [1.0, 50.0])
def test_losses_are_finite_and_those_of_the_scores(kind: str, size: float) -> None:
    """`row_loss` of final scores is the objective's loss of the logits."""
    task = learned(kind)
    objective = MixedObjective([task]).double()
    torch.manual_seed(1)
    logits = size * torch.randn(64, sum(objective.outputs), dtype=torch.float64)
    labels = torch.randint(2, (64, 1)).double()
    losses, scores = objective.losses(logits, labels)[:, 0], objective.scores(logits)
    assert losses.isfinite().all() and scores.isfinite().all()
    if size == 1.0:
        again = TASKS[kind].row_loss(task, scores.numpy(), labels[:, 0].numpy())
        np.testing.assert_allclose(again, losses.numpy(), rtol=1e-6, atol=1e-9)


@KINDS
def test_a_planted_signal_is_learned_and_measured(kind: str) -> None:
    """Label = input; the metric that the task is judged by is one that has an interval."""
    torch.manual_seed(0)
    layout = layout_of(kind)
    objective = MixedObjective(layout.tasks)
    tower, labels = torch.nn.Linear(1, sum(objective.outputs)), torch.randint(2, (200, 1)).float()
    optimizer = torch.optim.Adam(tower.parameters(), 0.1)
    course = []
    for _ in range(100):
        loss = objective.losses(tower(labels), labels).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(loss.item())
    assert course[-1] < 0.2 * course[0]
    with torch.no_grad():
        scores = objective.scores(tower(labels)).numpy()
        losses = objective.losses(tower(labels), labels).numpy()
    zeros = np.zeros(200, np.int64)
    predictions = Arrays(
        *(layout, scores, losses, labels.numpy(), np.ones((200, 1), bool)),
        *(np.ones(200), zeros, zeros),
    )
    metrics, main = measure(predictions), TASKS[kind].compared_by[0]
    assert {f"{name}/t" for name in TASKS[kind].metrics} <= set(metrics)
    assert with_pulls(predictions)["t", main][0] == pytest.approx(metrics[f"{main}/t"])


def test_the_exported_graph_computes_the_same(tmp_path: Path) -> None:
    """Of a network with a task of each kind."""
    tasks = tuple(learned(kind).model_copy(update={"name": kind}) for kind in TASKS)
    layout = make_layout(tasks, histories=False)
    model = SharedBottomConfig(embedding_dim=4, hidden=(8,), tower=(4,))
    plain = PlainNetwork(layout, model).load(make_network(layout, model).state_dict())
    export_graph(plain, tmp_path / "model.onnx", {})
    check_parity(plain, tmp_path / "model.onnx", random_arrays(layout, 50))


def test_a_count_is_scored_by_its_rate_and_starts_at_the_mean() -> None:
    (task,) = (learned("count"),)
    objective = OBJECTIVES["count"]([task])
    assert objective.score(objective.start()[None]).item() == pytest.approx(0.6)
    logits = torch.linspace(-5, 30, 99)[:, None, None]
    scores = objective.score(logits).flatten()
    assert (scores > 0).all() and (scores.diff() > 0).all()


def test_the_loss_of_a_count_is_twice_the_likelihood_lost() -> None:
    objective, labels = OBJECTIVES["count"]([learned("count")]), torch.tensor([[0.0], [1], [7]])
    logits = torch.tensor([[[0.3]], [[-1.0]], [[2.0]]])
    best = torch.distributions.Poisson(labels.clamp(min=1e-9)).log_prob(labels)
    lost = best - torch.distributions.Poisson(logits[:, :, 0].exp()).log_prob(labels)
    torch.testing.assert_close(objective.loss(logits, labels), 2 * lost, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_a_count_is_never_negative(wrong: float) -> None:
    tasks = {"t": declared("count")}
    rows = pl.LazyFrame({label_names(tasks)[0]: [2.0, wrong]})
    with pytest.raises(DataError, match=r"tasks.t.label: .* expected a finite number, 0 or above"):
        check_labels(rows, tasks, rows.collect_schema())


def names(path: Path) -> Iterator[str]:
    """Kinds that a file compares with, maps from, or builds a task of."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        constants: list[ast.expr | None] = []
        if isinstance(node, ast.Compare):
            if not any("kind" in ast.unparse(side) for side in (node.left, *node.comparators)):
                continue
            constants = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            constants = list(node.keys)
        elif isinstance(node, ast.keyword) and node.arg == "kind":
            constants = [node.value]
        yield from (c.value for c in constants if isinstance(c, ast.Constant) and c.value in TASKS)
        if isinstance(node, ast.Name) and node.id in {task.__name__ for task in TASKS.values()}:
            yield node.id


def test_no_file_but_its_own_and_the_dictionaries_names_a_kind() -> None:
    own = {
        f"{family}/{name}.py"
        for family in ("features/tasks", "models/objectives")
        for name in ("__init__", *TASKS)
    }
    wrong = {
        where: kinds
        for room in ("features", "models", "serving", "pipelines")
        for path in sorted((ROOT / room).rglob("*.py"))
        if (where := str(path.relative_to(ROOT))) not in own and (kinds := set(names(path)))
    }
    assert wrong == {}
