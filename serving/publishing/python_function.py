"""A registered model as MLflow's `python_function`: a pandas frame of raw rows to scores.

MLflow imports the module by its name, which the `MLmodel` of each registered model holds: here it
stays. https://mlflow.org/docs/latest/api_reference/python_api/mlflow.pyfunc.html
"""

import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas
import polars as pl
import pyarrow as pa
from mlflow.exceptions import MlflowException

from fulcrum.features.cause import first_line
from fulcrum.features.errors import DataError, FulcrumError, ModelError
from fulcrum.features.transform.past import Gathered
from fulcrum.features.transform.state import FeatureState
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.scoring.history import History
from fulcrum.serving.scoring.onnx_session import Device
from fulcrum.serving.scoring.scorer import Scorer

HISTORY = "history"
"""In the model's configuration: files of past events, as for `fulcrum score --history`."""
_UNREADABLE = (
    *(pa.ArrowException, pl.exceptions.PolarsError),
    *(TypeError, ValueError, OverflowError),
)
"""Of values that make no column; whole numbers beyond 64 bits are an OverflowError."""


class PythonFunction:
    """A bundle, and the past that its features look back on. Safe to call from several threads."""

    def __init__(self, bundle: Bundle, history: Any = None, device: Device = "auto") -> None:
        """The past is read once. Raises ModelError when the model needs one that is not given,
        DataError when its files cannot be read or lack a column, and what `Scorer` does."""
        self._scorer = Scorer(bundle, device)
        self._past: Gathered | None = None
        if bundle.state.past_columns:
            with ExitStack() as stack:
                past = History(_files(history, bundle.state), bundle.state)
                self._past = stack.enter_context(past.gathered())
                weakref.finalize(self, stack.pop_all().close)

    def predict(self, model_input: pandas.DataFrame) -> pandas.DataFrame:
        """One float32 column per score, in the order and with the index of the rows, whose columns
        are those of the signature. Raises MlflowException, which `mlflow models serve` answers with
        400, when they do not hold what training saw."""
        try:
            scores = self._scorer.predict(_rows(model_input, self._scorer.state), self._past)
        except FulcrumError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return scores.to_pandas().set_axis(model_input.index)


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> PythonFunction:
    """What MLflow calls, with the model's folder."""
    return PythonFunction(Bundle.load(Path(path)), (model_config or {}).get(HISTORY))


def _files(history: Any, state: FeatureState) -> str | list[str]:
    match history:
        case str() if history:
            return history
        case [*paths] if paths and all(isinstance(path, str) and path for path in paths):
            return paths
    given = "" if history is None else f", not {history!r:.80}"
    raise ModelError(
        "the model looks back on past events: load it with model_config={'history': PATHS}, or set "
        """MLFLOW_PYFUNC_INFERENCE_CONFIG='{"history": "PATHS"}' for `mlflow models serve` and """
        f"Spark; PATHS are files, a folder or a glob{given}, with the columns "
        + ", ".join(f"`{name}`" for name in state.past_columns)
    )


def _rows(frame: pandas.DataFrame, state: FeatureState) -> pl.DataFrame:
    """The columns that a row to be scored carries, NaN as null. Raises DataError for one that has
    values of several types, or of one that no file has."""
    columns = {}
    for name in frame.columns.intersection(list(state.row_columns)):
        try:
            columns[name] = pl.from_arrow(pa.Array.from_pandas(frame[name]))
        except _UNREADABLE as error:
            raise DataError(f"the rows: column `{name}`: {first_line(error)}") from error
    return pl.DataFrame(columns)
