"""ONNX Runtime. No other file imports it."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort

from fulcrum.features.cause import cause
from fulcrum.features.errors import ModelError, ResourceError
from fulcrum.features.layout import PADDING, UNKNOWN, DenseInput, IdInput, Input, Layout

Device = Literal["auto", "cpu", "cuda"]

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"

BATCH_SIZES = {"cpu": 512, "cuda": 4096}
"""Rows per call where nobody says. What the widest layers make of so many stays in a CPU's caches:
timed from 64 to 4096 rows, 512 and 1024 were the fastest, and a request fits into one call."""

logger = logging.getLogger(__name__)


class Session:
    """A graph on a device, fed with batches of a few fixed sizes through buffers made once.

    Fixed sizes keep the memory arena of a GPU from growing with each new shape; a batch that is
    smaller than the largest is padded to the next size and its padding cut off again. Calls from
    several threads take turns.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        device: Device = "auto",
        batch_size: int | None = None,
        threads: int = 2,
    ) -> None:
        """Raises ResourceError when CUDA was asked for and does not work, ModelError when the graph
        cannot be read or has other inputs than the layout."""
        self.layout = layout
        self._session = _open(path, device, threads)
        inputs = [(source.name, source.shape[1:]) for source in self._session.get_inputs()]
        if inputs != [(source.name, _shape(source)) for source in layout.inputs]:
            raise ModelError(f"{path}: the graph's inputs are not those of its feature state")
        if [score.name for score in self._session.get_outputs()] != list(layout.score_columns):
            raise ModelError(f"{path}: the graph's scores are not those of its feature state")
        self.device = "cuda" if self._session.get_providers()[0] == CUDA else "cpu"
        self.batch_size = batch_size or BATCH_SIZES[self.device]
        """Rows per call, at most."""
        self.facts = _facts(self._session, path)
        self._rows = {table.name: table.rows for table in layout.tables}
        self._lock = threading.Lock()
        try:
            self._host = {source.name: self._empty(source) for source in layout.inputs}
            self._batches = {size: self._bind(size) for size in _sizes(self.batch_size)}
        except MemoryError as error:
            raise ResourceError(f"no memory for batches of {self.batch_size} rows") from error

    def _bind(self, size: int) -> "Batch":
        inputs = {
            name: ort.OrtValue.ortvalue_from_numpy(array[:size], self.device)
            for name, array in self._host.items()
        }
        outputs = {
            name: ort.OrtValue.ortvalue_from_shape_and_type([size], np.float32, self.device)
            for name in self.layout.score_columns
        }
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        return Batch(inputs, outputs, binding)

    def _empty(self, source: Input) -> np.ndarray:
        if isinstance(source, DenseInput):
            return np.zeros(self.batch_size, np.float32)
        fill = 0 if isinstance(source, IdInput) else PADDING
        return np.full((self.batch_size, *_shape(source)), fill, np.int64)

    def warm_up(self) -> None:
        """Run a batch of each size, so that the first real one finds everything allocated."""
        with self._lock:
            for batch in reversed(self._batches.values()):
                self._session.run_with_iobinding(batch.binding)

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Scores `(rows,)` float32 by score column, from one array per layout input."""
        rows = len(next(iter(arrays.values())))
        scores = {name: np.empty(rows, np.float32) for name in self.layout.score_columns}
        for start in range(0, rows, self.batch_size):
            stop = min(start + self.batch_size, rows)
            size = next(size for size in self._batches if size >= stop - start)
            batch = self._batches[size]
            with self._lock:
                for source in self.layout.inputs:
                    host = self._fill(source, arrays[source.name][start:stop])
                    if self.device != "cpu":  # there the runtime reads the array itself
                        batch.inputs[source.name].update_inplace(host[:size])
                self._session.run_with_iobinding(batch.binding)
                for name, value in batch.outputs.items():
                    scores[name][start:stop] = value.numpy()[: stop - start]
        return scores

    def _fill(self, source: Input, array: np.ndarray) -> np.ndarray:
        host = self._host[source.name]
        host[: len(array)] = array if isinstance(source, DenseInput) else self._known(source, array)
        return host

    def _known(self, source: Input, ids: np.ndarray) -> np.ndarray:
        """No id may leave its table: a CPU raises, CUDA reads foreign memory, -1 the last row."""
        assert not isinstance(source, DenseInput)
        lowest = 0 if isinstance(source, IdInput) else PADDING
        outside = (ids < lowest) | (ids >= self._rows[source.table])
        return np.where(outside, UNKNOWN, ids) if outside.any() else ids


@dataclass(frozen=True)
class Batch:
    """Buffers of one size on the device, by name."""

    inputs: Mapping[str, ort.OrtValue]
    outputs: Mapping[str, ort.OrtValue]
    binding: ort.IOBinding


def _sizes(largest: int) -> list[int]:
    """Sizes of batches up to the largest, four to each doubling: at most a quarter is padding."""
    steps = (
        (4 + step << octave) // 4 for octave in range(largest.bit_length()) for step in range(4)
    )
    return sorted({*(size for size in steps if size < largest), largest})


def _shape(source: Input) -> list[int]:
    """Of one row's value."""
    return [] if isinstance(source, DenseInput | IdInput) else [source.max_length]


def _facts(session: ort.InferenceSession, path: Path) -> dict[str, str]:
    try:
        facts: dict[str, str] = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: the graph's metadata are no text: {error}") from error
    return facts


def _open(path: Path, device: Device, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # A thread that waits by spinning takes the processor from features and other requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if device != "cpu" and CUDA in ort.get_available_providers():
        # Finds the CUDA libraries that torch's wheels brought along.
        ort.preload_dlls()
        session = _session(path, options, [CUDA, CPU])
        # The runtime falls back to the CPU by itself; what it built tells the truth.
        if session.get_providers()[0] == CUDA:
            return session
        logger.warning("CUDA is there but does not start")
    if device == "cuda":
        raise ResourceError(
            "device cuda: ONNX Runtime cannot use CUDA on this machine "
            f"(providers that it has: {', '.join(ort.get_available_providers())}). "
            "Install onnxruntime-gpu in place of onnxruntime, or use --device cpu"
        )
    return _session(path, options, [CPU])


def _session(path: Path, options: ort.SessionOptions, providers: list[str]) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # the runtime's own exception classes are not public
        raise ModelError(f"{path}: ONNX Runtime cannot read the graph: {cause(error)}") from error


def probe(graph: bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, bool]:
    """Whether each provider that the runtime lists really runs a graph: the list says only what was
    compiled in, and what a provider cannot run goes silently to the CPU."""
    if CUDA in ort.get_available_providers():
        ort.preload_dlls()
    works = {}
    for provider in ort.get_available_providers():
        options = ort.SessionOptions()
        options.log_severity_level = 4
        if provider != CPU:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            session = ort.InferenceSession(graph, options, providers=[provider])
            session.run(None, dict(inputs))
            works[provider] = session.get_providers()[0] == provider
        except Exception:  # the runtime's own exception classes are not public
            works[provider] = False
    return works
