"""What this machine can do, checked by doing it, with the fix for what it cannot."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np

from fulcrum.features.errors import ResourceError

TRIPLE = {"torch": "2.13.0", "torchrec": "1.8.0", "fbgemm-gpu": "1.8.0"}
"""One unit: a newer one of them does not load with the others."""
GIB = 2**30
REINSTALL = "remove .venv and run `make setup` (it installs the pinned set for this machine)"


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""


def examine(uri: str, workspace: Path) -> Iterator[Finding]:
    """Look at everything in turn; `uri` is the MLflow store, `workspace` the folder for runs."""
    yield from _guarded("Python", _python)
    yield from _guarded("torch, torchrec, fbgemm", _triple)
    yield from _guarded("GPU", _gpu)
    yield from _guarded("bf16", _bf16)
    yield from _guarded("ONNX Runtime", _onnx_runtime)
    yield from _guarded("MLflow store", lambda: _store(uri))
    yield from _guarded("disk", lambda: _disk(workspace))
    yield from _guarded("memory", _memory)


def _guarded(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check that cannot even run is a failure, not a traceback."""
    try:
        yield from check()
    except Exception as error:
        yield Finding(name, "fail", _line(error), REINSTALL)


def _python() -> Iterator[Finding]:
    release = platform.python_version()
    good = sys.version_info >= (3, 11)
    yield Finding("Python", "ok" if good else "fail", release, "" if good else "use 3.11 or newer")


def _triple() -> Iterator[Finding]:
    """Versions first, since a wrong one says more than the import error that it causes."""
    name = "torch, torchrec, fbgemm"
    builds = [b for b in ("fbgemm-gpu", "fbgemm-gpu-cpu") if _version(b)]
    versions = {
        "torch": _version("torch"),
        "torchrec": _version("torchrec"),
        "fbgemm-gpu": _version(builds[0]) if builds else None,
    }
    wrong = [
        f"{package} {versions[package] or 'missing'}, expected {pin}"
        for package, pin in TRIPLE.items()
        if (versions[package] or "").partition("+")[0] != pin
    ]
    if len(builds) == 2:
        wrong.append("fbgemm-gpu and fbgemm-gpu-cpu are both installed and overwrite each other")
    if wrong:
        yield Finding(name, "fail", "; ".join(wrong), REINSTALL)
        return
    _look_up()
    detail = ", ".join(f"{package} {versions[package]}" for package in versions)
    yield Finding(name, "ok", f"{detail}: an embedding look-up runs")


def _look_up() -> None:
    """One pooled look-up through torchrec and fbgemm."""
    import torch
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor

    table = EmbeddingBagConfig(name="t", num_embeddings=4, embedding_dim=4, feature_names=["f"])
    ids = KeyedJaggedTensor.from_lengths_sync(["f"], torch.tensor([1, 2]), torch.tensor([2, 0]))
    pooled = EmbeddingBagCollection([table])(ids).values()
    if pooled.shape != (2, 4) or not hasattr(torch.ops.fbgemm, "jagged_to_padded_dense"):
        raise ResourceError("an embedding look-up gives a wrong shape")


def _gpu() -> Iterator[Finding]:
    import torch

    driver = _driver()
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Finding("GPU", "ok", ", ".join(names))
    elif driver:
        detail = f"{driver}, but torch {torch.__version__} cannot use it"
        yield Finding("GPU", "warn", detail, REINSTALL)
    else:
        cores, threads = os.cpu_count(), torch.get_num_threads()
        yield Finding("GPU", "ok", f"none; the CPU trains ({cores} cores, {threads} threads)")


def _bf16() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        good, where = torch.cuda.is_bf16_supported(), "the GPU"
    else:
        good, where = torch.cpu._is_avx512_bf16_supported(), "the processor"
    detail = f"{where} {'has' if good else 'has no'} bf16 instructions"
    yield Finding("bf16", "ok", f"{detail}; `precision: auto` is {'bf16' if good else 'fp32'}")


def _onnx_runtime() -> Iterator[Finding]:
    from fulcrum.serving.scoring.onnx_session import CPU, CUDA, probe

    both = all(_version(name) for name in ("onnxruntime", "onnxruntime-gpu"))
    if both:
        detail = "onnxruntime and onnxruntime-gpu are both installed and overwrite each other"
        yield Finding("ONNX Runtime", "fail", detail, REINSTALL)
        return
    works = probe(_graph(), {"x": np.ones(1, np.float32)})
    running = [name for name, runs in works.items() if runs]
    detail = (
        f"{_version('onnxruntime') or _version('onnxruntime-gpu')}: {' and '.join(running)} works"
    )
    yield Finding("ONNX Runtime", "ok" if CPU in running else "fail", detail)
    if CUDA in works and CUDA not in running:
        fix = "check driver, CUDA 13 and cuDNN 9, or install requirements/cpu.txt"
        yield Finding("ONNX Runtime", "warn", "the CUDA provider is there but does not start", fix)
    elif CUDA not in works and _driver():
        fix = "install requirements/gpu.txt to score on the GPU"
        yield Finding("ONNX Runtime", "warn", "built without CUDA, on a machine with a GPU", fix)


def _graph() -> bytes:
    """y = x + x."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "probe", [x], [y])
    opset = helper.make_opsetid("", 20)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString())


def _store(uri: str) -> Iterator[Finding]:
    from fulcrum.pipelines.tracking.mlflow import check_store
    from fulcrum.serving.publishing.store import database

    file = database(uri)
    fix = "set `tracking.uri` to a store that can be written, or start the server it names"
    if file is not None and not file.exists():
        parent = next(p for p in (*file.absolute().parents, Path("/")) if p.exists())
        if os.access(parent, os.W_OK):
            yield Finding("MLflow store", "ok", f"{uri} will be made by the first run")
        else:
            yield Finding("MLflow store", "fail", f"{uri}: {parent} cannot be written", fix)
        return
    try:
        check_store(uri)
        yield Finding("MLflow store", "ok", f"{uri} answers and can be written")
    except ResourceError as error:
        yield Finding("MLflow store", "fail", _line(error), fix)


def _disk(workspace: Path) -> Iterator[Finding]:
    place = next(p for p in (workspace.absolute(), *workspace.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free / GIB
    status: Literal["ok", "warn", "fail"] = "ok" if free > 5 else "warn" if free > 0.5 else "fail"
    fix = "" if status == "ok" else "free some space, or set `workspace` to another disk"
    yield Finding("disk", status, f"{free:.1f} GiB free at {place}", fix)
    if not os.access(place, os.W_OK):
        yield Finding("disk", "fail", f"{place} cannot be written", "set `workspace` elsewhere")


def _memory() -> Iterator[Finding]:
    import psutil

    free, total = (getattr(psutil.virtual_memory(), n) / GIB for n in ("available", "total"))
    status: Literal["ok", "warn"] = "ok" if free > 2 else "warn"
    fix = "" if status == "ok" else "close other programs, or lower `train.batch_size`"
    yield Finding("memory", status, f"{free:.1f} of {total:.1f} GiB free", fix)


def _driver() -> str:
    """What `nvidia-smi` answers; empty without a driver."""
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        process = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ", ".join(process.stdout.split("\n")).strip(", ")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
