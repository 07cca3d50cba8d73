"""Proof that the exported graph computes what torch computes."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from fulcrum.features.errors import ModelError
from fulcrum.features.layout import NULL, PADDING, UNKNOWN, DenseInput, IdInput, Layout
from fulcrum.models.plain import PlainNetwork
from fulcrum.serving.scoring.onnx_session import Session

TOLERANCE = 1e-5
ROWS_PER_CALL = 512

Arrays = Mapping[str, np.ndarray]


def check_parity(network: PlainNetwork, graph: Path, held_out: Arrays) -> dict[str, float]:
    """Largest difference between torch and ONNX Runtime by score column.

    Compared are the held-out rows, and a few of them alone (batch of 1), with every id unknown,
    with every id null, and with every list empty. Probabilities are compared absolutely, the
    values of a regression relative to their own size where it is above 1: |a - b| / max(1, |a|).
    Raises ModelError when a difference exceeds 1e-5 or a score is not a finite number.
    """
    layout = network.layout
    worst = dict.fromkeys(layout.score_columns, 0.0)
    cases = list(_cases(layout, held_out))
    pairs = (pair for size in (1, ROWS_PER_CALL) for pair in _scored(network, graph, size, cases))
    for reference, scores_onnx in pairs:
        for name in layout.score_columns:
            scale = np.maximum(1.0, np.abs(reference[name]))
            difference = np.abs(reference[name] - scores_onnx[name]) / scale
            # A NaN on either side must not pass as "not larger".
            largest = float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0))
            worst[name] = max(worst[name], largest)
    if wrong := {name: value for name, value in worst.items() if not value <= TOLERANCE}:
        listed = ", ".join(f"{name} by {value:.1e}" for name, value in wrong.items())
        raise ModelError(
            f"the exported graph differs from torch beyond {TOLERANCE:g}: {listed}; "
            "the model is not written"
        )
    return worst


def _scored(
    network: PlainNetwork, graph: Path, size: int, cases: list[tuple[int, Arrays]]
) -> Iterator[tuple[Arrays, Arrays]]:
    """Scores of torch and of ONNX Runtime for the cases of a batch size. A session has the tables
    once more, so one is there at a time."""
    session = Session(graph, network.layout, "cpu", size)
    for wanted, arrays in cases:
        if wanted == size:
            yield _torch_scores(network, arrays), session.run(arrays)


def _cases(layout: Layout, rows: Arrays) -> Iterator[tuple[int, Arrays]]:
    yield ROWS_PER_CALL, rows
    few = {name: array[:4] for name, array in rows.items()}
    lists = {s.name for s in layout.inputs if not isinstance(s, DenseInput | IdInput)}
    ids = {s.name for s in layout.inputs if not isinstance(s, DenseInput)}
    for arrays in (
        few,
        few | {name: np.full_like(few[name], UNKNOWN) for name in ids},
        few | {name: np.full_like(few[name], NULL) for name in ids},
        few | {name: np.full_like(few[name], PADDING) for name in lists},
    ):
        yield 1, arrays
        yield ROWS_PER_CALL, arrays


def _torch_scores(network: PlainNetwork, arrays: Arrays) -> dict[str, np.ndarray]:
    layout = network.layout
    owned = [np.require(arrays[source.name], requirements=["C", "W"]) for source in layout.inputs]
    inputs = [torch.from_numpy(array) for array in owned]
    with torch.inference_mode():
        parts = [
            network(*chunk) for chunk in zip(*(x.split(ROWS_PER_CALL) for x in inputs), strict=True)
        ]
    columns = zip(*parts, strict=True)
    return {
        name: torch.cat(column).numpy()
        for name, column in zip(layout.score_columns, columns, strict=True)
    }
