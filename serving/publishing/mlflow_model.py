"""A bundle as an MLflow model: the graph with the `onnx` flavour, raw rows to scores with the
`python_function` flavour. Apart from the registry: finding a model needs none of what is imported
to write one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mlflow.onnx
import mlflow.pyfunc
import onnx
import pandas
from mlflow.entities.logged_model import LoggedModel
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType
from mlflow.utils import requirements_utils
from mlflow.utils.file_utils import get_total_file_size

from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.publishing import python_function

REQUIREMENTS = (
    *("fulcrum-recsys", "mlflow", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "pandas"),
    *("polars", "pyarrow"),
)
"""What `mlflow.pyfunc` needs to score raw rows, and `mlflow.onnx` to read the graph."""
FACTS = ("config", "state", "keys", "scores", "rows", "past")
"""What `MLmodel` repeats of `bundle.json`: types of columns, too, which the signature has not."""


def save(bundle: Bundle, folder: Path, model: LoggedModel, run_id: str) -> None:
    """Write the MLflow model: the flavour's own files, then the bundle's over them, byte for
    byte. Copied, not linked: `onnx` reads no weights beside a graph that have a second name.

    MLflow saves an empty graph, in whose place the bundle's is put: it would hold another in memory
    and on disk."""
    described = Model(
        artifact_path=model.artifact_location,
        run_id=run_id,
        model_uuid=model.model_id,
        model_id=model.model_id,
    )
    with _without_a_search_for_modules():
        mlflow.onnx.save_model(
            onnx.ModelProto(),
            str(folder),
            mlflow_model=described,
            signature=_signature(bundle),
            # As objects, whole numbers stay whole where one is missing.
            input_example=pandas.DataFrame(
                bundle.example, columns=list(bundle.state.row_columns), dtype=object
            ),
            pip_requirements=_requirements(),
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
            metadata={key: bundle.facts[key] for key in FACTS},
        )
    # In place of the same flavour for tensors.
    mlflow.pyfunc.add_to_model(
        described,
        loader_module=python_function.__name__,
        conda_env="conda.yaml",
        python_env="python_env.yaml",
        # MLflow passes on only what stands here.
        model_config={python_function.HISTORY: None} if bundle.state.past_columns else None,
    )
    shutil.copytree(bundle.folder, folder, dirs_exist_ok=True)
    described.model_size_bytes = get_total_file_size(folder)
    described.save(str(folder / MLMODEL_FILE_NAME))


@contextmanager
def _without_a_search_for_modules() -> Iterator[None]:
    """To see whether the requirements are those of this machine, MLflow reads the list of files of
    every installed package: two thirds of the time. They are, see `_requirements`."""
    modules = requirements_utils._MODULES_TO_PACKAGES
    requirements_utils._MODULES_TO_PACKAGES = {}
    try:
        yield
    finally:
        requirements_utils._MODULES_TO_PACKAGES = modules


def _signature(bundle: Bundle) -> ModelSignature:
    """Raw rows to scores. The columns have no types of MLflow's: casting to them, it would change
    values before Fulcrum sees them, as 1.7 to 1, a missing truth value to false and a missing text
    to "<NA>", and refuse a missing whole number."""
    return ModelSignature(
        Schema([ColSpec(AnyType(), name) for name in bundle.state.row_columns]),
        Schema([ColSpec(DataType.float, name) for name in bundle.state.layout.score_columns]),
    )


def _requirements() -> list[str]:
    pins = []
    for package in REQUIREMENTS:
        try:
            pins.append(f"{package}=={version(package)}")
        except PackageNotFoundError:
            continue
    return pins
