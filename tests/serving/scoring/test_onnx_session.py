"""Graph sessions: fixed batches, ids that cannot leave their table, honest devices."""

import copy

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
import torch
from onnx import parser

from fulcrum.features.errors import ModelError, ResourceError
from fulcrum.features.layout import UNKNOWN, DenseInput, IdInput
from fulcrum.features.reading.arrays import to_arrays
from fulcrum.features.transform.transform import transform
from fulcrum.models.plain import PlainNetwork
from fulcrum.models.trunks import TRUNKS
from fulcrum.serving.publishing.export import export_graph
from fulcrum.serving.publishing.parity import check_parity
from fulcrum.serving.scoring.onnx_session import Session, _sizes, probe
from fulcrum.testing.layouts import make_layout, random_arrays
from fulcrum.testing.specs import learn
from tests.serving.conftest import MODEL, random_weights

LAYOUT = make_layout()
ROWS = 100
SMALL = TRUNKS["mmoe"](experts=2, expert=(8,), tower=(4,), embedding_dim=4)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    network = PlainNetwork(LAYOUT, SMALL).load(random_weights(LAYOUT, SMALL))
    export_graph(network, path, {"state": "abc", "tasks": '["click"]'})
    return network, path


def test_inputs_of_different_lengths_are_refused(graph):
    network, _ = graph
    first, *others = (torch.from_numpy(a) for a in random_arrays(LAYOUT, 3).values())
    with pytest.raises(ValueError, match="different lengths"):
        network(first[:2], *others)


def test_shapes_in_the_graph_are_of_one_length(graph):
    """Sums of the lengths of all inputs would be added up for every batch."""
    nodes = onnx.load(graph[1]).graph.node
    shapes = {name for node in nodes if node.op_type == "Shape" for name in node.output}
    lengths = {name for node in nodes if shapes & {*node.input} for name in node.output}
    assert lengths
    assert not [node for node in nodes if node.op_type == "Add" and lengths & {*node.input}]


def worst(a, b):
    return max(float(np.abs(a[name] - b[name]).max()) for name in LAYOUT.score_columns)


@pytest.mark.slow
def test_tables_of_half_the_size_score_nearly_the_same(graph, tmp_path):
    """The graph agrees with torch of the same rounded tables to 1e-5, as it does without."""
    network, arrays = PlainNetwork(LAYOUT, SMALL), random_arrays(LAYOUT, 600)
    network.load(random_weights(LAYOUT, SMALL), torch.float16)
    export_graph(network, tmp_path / "model.onnx", {})
    assert max(check_parity(network, tmp_path / "model.onnx", arrays).values()) < 1e-5
    [tables] = [
        tensor
        for tensor in onnx.load(str(tmp_path / "model.onnx")).graph.initializer
        if tensor.name == "/tables.weight"
    ]
    assert len(tables.raw_data) == 2 * network.tables.weight.numel()
    whole, half = (
        Session(p, LAYOUT, "cpu").run(arrays) for p in (graph[1], tmp_path / "model.onnx")
    )
    assert 1e-6 < worst(whole, half) < 0.01


def test_the_graph_says_what_it_is(graph):
    session = Session(graph[1], LAYOUT, "cpu", 8)
    assert session.facts == {"state": "abc", "tasks": '["click"]'}
    assert session.device == "cpu"
    inputs = onnx.load(str(graph[1])).graph.input
    assert [i.name for i in inputs] == [source.name for source in LAYOUT.inputs]
    assert {i.type.tensor_type.shape.dim[0].dim_param for i in inputs} == {"batch"}


def test_the_graph_carries_no_trace_of_the_machine(graph):
    model = onnx.load(str(graph[1]))
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert b".py" not in model.SerializeToString()


@pytest.mark.parametrize("task", ["click", "view", "sigmoid"])
def test_features_and_tasks_may_be_called_like_operators(tmp_path, task):
    log = pl.DataFrame({"x": range(20), "click": [0, 1] * 10})
    numbers = ("cat", "add", "mul", "linear", "clamp", "stack", "matmul", "unsqueeze", "val_0")
    features = {name: {"kind": "numeric", "column": "x"} for name in numbers}
    features["embedding"] = {"kind": "categorical", "column": "x"}
    tasks = {task: {"kind": "binary", "label": "click"}}
    state = learn(log, features, tasks=tasks, data={"outcomes": ["click"]})
    network = PlainNetwork(state.layout, MODEL).load(random_weights(state.layout, MODEL))
    export_graph(network, tmp_path / "model.onnx", {})
    rows = transform(log, state)
    check_parity(network, tmp_path / "model.onnx", to_arrays(rows, state.layout))


def test_scores_do_not_depend_on_the_batch_size(graph):
    arrays = random_arrays(LAYOUT, ROWS)
    whole = Session(graph[1], LAYOUT, "cpu", ROWS).run(arrays)
    assert {name: len(values) for name, values in whole.items()} == dict.fromkeys(
        LAYOUT.score_columns, ROWS
    )
    for size in (1, 7, ROWS - 1, ROWS + 1, 4096):
        session = Session(graph[1], LAYOUT, "cpu", size)
        session.warm_up()
        assert worst(session.run(arrays), whole) < 1e-5
    backwards = {name: array[::-1] for name, array in arrays.items()}
    turned = Session(graph[1], LAYOUT, "cpu", 7).run(backwards)
    assert worst({name: values[::-1] for name, values in turned.items()}, whole) < 1e-5


def test_a_cpu_runs_batches_that_stay_in_its_caches_unless_told_otherwise(graph):
    assert Session(graph[1], LAYOUT, "cpu").batch_size == 512
    assert Session(graph[1], LAYOUT, "cpu", 4096).batch_size == 4096


@pytest.mark.parametrize("largest", [1, 2, 3, 7, 64, 1000, 1024, 4096])
def test_at_most_a_quarter_of_a_call_is_padding(largest):
    sizes = _sizes(largest)
    assert sizes[-1] == largest
    for rows in range(1, largest + 1):
        assert min(size for size in sizes if size >= rows) <= rows * 5 / 4


def test_a_session_gives_every_number_of_rows_the_scores_of_its_own_rows(graph):
    session, arrays = Session(graph[1], LAYOUT, "cpu", 64), random_arrays(LAYOUT, ROWS)
    whole = session.run(arrays)
    for rows in (1, 5, 64, 17, 2, 65, 1):
        few = session.run({name: array[:rows] for name, array in arrays.items()})
        assert worst(few, {name: scores[:rows] for name, scores in whole.items()}) < 1e-5


def test_no_rows_give_no_scores(graph):
    scores = Session(graph[1], LAYOUT, "cpu", 8).run(
        random_arrays(LAYOUT, 1)
        | {name: array[:0] for name, array in random_arrays(LAYOUT, 1).items()}
    )
    assert {len(values) for values in scores.values()} == {0}


def test_ids_outside_their_table_score_as_unknown(graph):
    session = Session(graph[1], LAYOUT, "cpu", 16)
    arrays = random_arrays(LAYOUT, ROWS)
    rows = {table.name: table.rows for table in LAYOUT.tables}
    for source in LAYOUT.inputs:
        if isinstance(source, DenseInput):
            continue
        below = -1 if isinstance(source, IdInput) else -2
        for wrong in (below, -(2**40), rows[source.table], 2**40):
            broken, known = arrays[source.name].copy(), arrays[source.name].copy()
            place = 3 if broken.ndim == 1 else (3, 0)
            broken[place], known[place] = wrong, UNKNOWN
            found = session.run(arrays | {source.name: broken})
            assert worst(found, session.run(arrays | {source.name: known})) == 0


def test_parity_is_measured_and_within_tolerance(graph):
    found = check_parity(*graph, random_arrays(LAYOUT, 600))
    assert found.keys() == set(LAYOUT.score_columns)
    assert max(found.values()) < 1e-5


@pytest.mark.parametrize("change", [0.1, float("nan")])
def test_other_weights_fail_the_parity_check(graph, change):
    network = copy.deepcopy(graph[0])
    with torch.no_grad():
        network.tables.weight += change
    with pytest.raises(ModelError, match=r"differs from torch beyond 1e-05: .*click by"):
        check_parity(network, graph[1], random_arrays(LAYOUT, 10))


@pytest.mark.slow
def test_large_tables_go_beside_the_graph(graph, tmp_path, monkeypatch):
    monkeypatch.setattr("fulcrum.serving.publishing.export.EXTERNAL_BYTES", 100)
    export_graph(graph[0], tmp_path / "model.onnx", {})
    assert (tmp_path / "model.onnx.data").stat().st_size > (
        tmp_path / "model.onnx"
    ).stat().st_size / 9
    arrays = random_arrays(LAYOUT, 9)
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in list(tmp_path.glob("model.onnx*")):
        file.rename(moved / file.name)
    assert (
        worst(
            Session(moved / "model.onnx", LAYOUT, "cpu", 9).run(arrays),
            Session(graph[1], LAYOUT, "cpu", 9).run(arrays),
        )
        == 0
    )


def test_another_layout_or_a_broken_graph_is_refused(graph, tmp_path):
    with pytest.raises(ModelError, match="inputs are not those"):
        Session(graph[1], make_layout(histories=False), "cpu", 8)
    broken = tmp_path / "model.onnx"
    broken.write_bytes(graph[1].read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"model.onnx: ONNX Runtime cannot read the graph"):
        Session(broken, LAYOUT, "cpu", 8)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has CUDA"
)
def test_cuda_without_cuda_stops(graph):
    with pytest.raises(ResourceError, match="cannot use CUDA on this machine"):
        Session(graph[1], LAYOUT, "cuda", 8)
    assert Session(graph[1], LAYOUT, "auto", 8).device == "cpu"


def test_a_probe_tells_what_really_works():
    graph = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (float[2] x) => (float[2] y) { y = Add(x, x) }'
    ).SerializeToString()
    works = probe(graph, {"x": np.ones(2, np.float32)})
    assert works["CPUExecutionProvider"]
    assert works.keys() <= set(onnxruntime.get_available_providers())
    assert not any(probe(graph, {"z": np.ones(2, np.float32)}).values())
    assert not any(probe(b"no graph", {}).values())


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(graph):
    session = Session(graph[1], LAYOUT, "cuda", 64)
    assert session.device == "cuda"
    session.warm_up()
    arrays = random_arrays(LAYOUT, 200)
    assert worst(session.run(arrays), Session(graph[1], LAYOUT, "cpu", 64).run(arrays)) < 1e-4
