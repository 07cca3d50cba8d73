"""torch-rechub: its trainer over its reader of Parquet files, and its export to ONNX."""

import contextlib
import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch.utils.data import DataLoader, IterableDataset
from torch_rechub.basic.features import DenseFeature, SparseFeature
from torch_rechub.data.dataset import ParquetIterableDataset
from torch_rechub.models.multi_task import MMOE
from torch_rechub.trainers import MTLTrainer

from benchmarks.peers.work import Encoded
from benchmarks.rounds import Action


def train(encoded: Encoded, folder: Path, steps: int) -> Action:
    """The first batches of a Parquet file each time, from opening it to the last update."""
    file, trainer = folder / "rechub.parquet", make_trainer(encoded)
    encoded.frame.to_parquet(file, index=False, row_group_size=64 * encoded.batch_size)
    columns = [*encoded.features, *encoded.labels]
    batches = DataLoader(_Pairs(file, columns, encoded, steps), batch_size=None)

    def action() -> float:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            trainer.train_one_epoch(batches)
        return steps * encoded.batch_size

    return action


def score(encoded: Encoded, folder: Path, batches: int, threads: int) -> Action:
    """Batches through its graph of an untrained network."""
    file = folder / "rechub.onnx"
    with contextlib.redirect_stdout(io.StringIO()):
        make_trainer(encoded).export_onnx(str(file), onnx_export_kwargs={"dynamo": False})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    types = {"tensor(int64)": np.int64, "tensor(float)": np.float32}
    count = batches * encoded.batch_size
    arrays = {
        each.name: encoded.frame[each.name]
        .to_numpy(types[each.type])[:count]
        .reshape((-1, *each.shape[1:]))
        for each in session.get_inputs()
    }
    starts = range(0, count, encoded.batch_size)

    def action() -> float:
        for start in starts:
            rows = slice(start, start + encoded.batch_size)
            session.run(None, {name: array[rows] for name, array in arrays.items()})
        return count

    return action


def make_trainer(encoded: Encoded) -> MTLTrainer:
    """With the network of the work, all tasks binary."""
    network, kinds = encoded.network, ["classification"] * len(encoded.labels)
    width = network.embedding_dim
    features = [SparseFeature(name, size, width) for name, size in encoded.sizes.items()]
    features += [DenseFeature(name) for name in encoded.numbers]
    expert = {"dims": list(network.expert), "activation": "relu", "dropout": 0}
    towers = [{"dims": list(network.tower), "activation": "relu"} for _ in kinds]
    model = MMOE(features, kinds, network.experts, expert, towers)
    return MTLTrainer(model, kinds, optimizer_params={"lr": 1e-3})


class _Pairs(IterableDataset):
    """Its batches as its trainer wants them: features and labels apart."""

    def __init__(self, file: Path, columns: list[str], encoded: Encoded, steps: int) -> None:
        self._source = ParquetIterableDataset(
            [file], columns=columns, batch_size=encoded.batch_size
        )
        self._labels, self._steps = encoded.labels, steps

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        for batch in islice(self._source, self._steps):
            yield batch, torch.stack([batch.pop(name) for name in self._labels], dim=1)
