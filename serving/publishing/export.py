"""From trained weights to a bundle whose graph was checked against torch."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnx_ir
import polars as pl
import torch
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants
from torch import Tensor
from torch.export import Dim

from fulcrum.features.errors import ModelError
from fulcrum.features.layout import DenseInput, IdInput, Input, Layout
from fulcrum.features.reading.arrays import to_arrays
from fulcrum.features.transform.state import FeatureState
from fulcrum.models.calibrations import Calibration
from fulcrum.models.plain import PlainNetwork
from fulcrum.models.trunks import TrunkConfig
from fulcrum.serving.bundle.bundle import Bundle, write_bundle
from fulcrum.serving.publishing.parity import check_parity

EXTERNAL_BYTES = 64 << 20
"""From this size on, weights go to `model.onnx.data`: they are written and read as they lie in
memory, where protobuf makes copies of them, and a protobuf file ends at 2 GiB."""
EXAMPLE_ROWS = 2
"""Rows of the example batch; with one row the exporter would fix the batch size at 1."""


def export(
    folder: Path,
    *,
    state: FeatureState,
    model: TrunkConfig,
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    config_fingerprint: str,
    held_out: pl.DataFrame,
    example: pl.DataFrame,
    plugins: Sequence[str] = (),
    tables: torch.dtype = torch.float32,
    calibrations: Mapping[str, Calibration] | None = None,
    check: Callable[[Path], None] = lambda graph: None,
) -> Bundle:
    """Export, check parity, and write the bundle under a temporary name, then rename.

    `weights` are those of `Network.state_dict()`, unsharded; `config` the resolved run as plain
    JSON values; `held_out` prepared rows (one column per layout input); `example` a few raw rows;
    `plugins` the distributions that brought parts of the run; `tables` the type that tables are
    rounded to, in torch as in the graph; `calibrations` are those of the tasks, which become part
    of the graph, None where nothing was calibrated; `check` raises for a graph that may not be
    written.
    Raises ModelError when ONNX Runtime and torch differ by more than 1e-5.
    """
    layout = state.layout
    network = PlainNetwork(layout, model).load(weights, tables)
    if calibrations is not None:
        network.predictor.tasks.calibrate(calibrations)
    calibration = {
        task: fitted.model_dump(mode="json") for task, fitted in (calibrations or {}).items()
    }
    facts = {
        "config": config_fingerprint,
        "state": state.fingerprint,
        "tasks": json.dumps([task.name for task in layout.tasks]),
    }

    def write_graph(path: Path) -> Mapping[str, Any]:
        export_graph(network, path, facts)
        parity = check_parity(network, path, to_arrays(held_out, layout))
        check(path)
        return {"parity": parity, "calibration": calibration}

    return write_bundle(
        folder,
        state=state,
        config=config,
        config_fingerprint=config_fingerprint,
        example=example,
        write_graph=write_graph,
        plugins=plugins,
    )


def export_graph(network: PlainNetwork, path: Path, facts: Mapping[str, str]) -> None:
    """Write the network as ONNX: one input per layout input, one output `[batch]` per score column,
    `facts` as metadata. Raises ModelError when the exporter fixed the batch size."""
    layout = network.layout
    batch = Dim("batch")
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            network,
            tuple(_example(source) for source in layout.inputs),
            input_names=[source.name for source in layout.inputs],
            output_names=list(layout.score_columns),
            dynamic_shapes={"inputs": tuple({0: batch} for _ in layout.inputs)},
            verbose=False,
            optimize=False,
        )
    assert program is not None
    _tidy(program.model)
    program.model.metadata_props.update(facts)
    for node in program.model.graph:
        # The exporter notes the source lines that made each node, with this machine's paths.
        node.metadata_props.clear()
        node.doc_string = None
        # The exporter calls values `cat` or `view`, as a feature or task may be called.
        for value in node.outputs:
            if not value.is_graph_output():
                value.name = f"/{value.name}"
    for value in list(program.model.graph.initializers.values()):
        value.name = f"/{value.name}"
    size = sum(w.numel() * w.element_size() for w in network.state_dict().values())
    program.save(str(path), external_data=size > EXTERNAL_BYTES)
    _check_symbolic(path, layout)


def _tidy(model: onnx_ir.Model) -> None:
    """Fold what is constant and leave out what is there twice.

    Fusing nodes is left to ONNX Runtime, which does it for its processor anyway: as the exporter
    does it, it takes a third of the exporter's time.
    """
    fold_constants(model)
    for tidy in (
        passes.RemoveUnusedNodesPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        tidy(model)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says about packages it misses and names it merges."""
    exporter = logging.getLogger("torch.onnx._internal.exporter")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


def _example(source: Input) -> Tensor:
    if isinstance(source, DenseInput):
        return torch.zeros(EXAMPLE_ROWS)
    if isinstance(source, IdInput):
        return torch.zeros(EXAMPLE_ROWS, dtype=torch.int64)
    return torch.zeros(EXAMPLE_ROWS, source.max_length, dtype=torch.int64)


def _check_symbolic(path: Path, layout: Layout) -> None:
    graph = onnx.load(str(path), load_external_data=False).graph
    names = [value.name for value in graph.input]
    if names != [source.name for source in layout.inputs]:
        raise ModelError(f"the exported graph has inputs {names}, not those of the layout")
    for value in (*graph.input, *graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if not first.dim_param:
            raise ModelError(
                f"the exported graph fixes the batch size of {value.name!r} at {first.dim_value}"
            )
