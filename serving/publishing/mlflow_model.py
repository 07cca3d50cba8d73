"""A bundle as an MLflow model with the `onnx` flavour. Apart from the registry: finding a model
needs none of what is imported to write one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mlflow.onnx
import numpy as np
import onnx
from mlflow.entities.logged_model import LoggedModel
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import Schema, TensorSpec
from mlflow.utils import requirements_utils
from mlflow.utils.file_utils import get_total_file_size

from fulcrum.features.layout import DenseInput, IdInput, Input
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.scoring.scorer import example_arrays

REQUIREMENTS = ("numpy", "onnx", "onnxruntime", "onnxruntime-gpu")
"""What `mlflow.pyfunc` needs to run the graph on tensors."""


def save(bundle: Bundle, folder: Path, model: LoggedModel, run_id: str) -> None:
    """Write the MLflow model: the flavour's own files, then the bundle's, byte for byte, linked
    where the file system can: nobody writes into either again.

    MLflow saves an empty graph, in whose place the bundle's is put: it would hold another in memory
    and on disk."""
    layout = bundle.state.layout
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
            signature=ModelSignature(
                Schema([_tensor(source) for source in layout.inputs]),
                Schema([TensorSpec(np.dtype("float32"), (-1,), n) for n in layout.score_columns]),
            ),
            input_example=example_arrays(bundle),
            pip_requirements=_requirements(),
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
            metadata={key: bundle.facts[key] for key in ("config", "state", "keys", "scores")},
        )
    shutil.copytree(bundle.folder, folder, dirs_exist_ok=True, copy_function=_link)
    described.model_size_bytes = get_total_file_size(folder)
    described.save(str(folder / MLMODEL_FILE_NAME))


def _link(source: str, target: str) -> None:
    """Another name of the file; a copy on another file system, and on one without links."""
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


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


def _tensor(source: Input) -> TensorSpec:
    if isinstance(source, DenseInput):
        return TensorSpec(np.dtype("float32"), (-1,), source.name)
    shape = (-1,) if isinstance(source, IdInput) else (-1, source.max_length)
    return TensorSpec(np.dtype("int64"), shape, source.name)


def _requirements() -> list[str]:
    pins = []
    for package in REQUIREMENTS:
        try:
            pins.append(f"{package}=={version(package)}")
        except PackageNotFoundError:
            continue
    return pins
