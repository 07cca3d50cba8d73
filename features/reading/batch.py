"""One batch of prepared rows, as TorchRec's pipelines want it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torchrec import KeyedJaggedTensor
from torchrec.streamable import Pipelineable

from fulcrum.features.layout import PADDING, IdInput, Input, Layout


@dataclass
class Batch(Pipelineable):
    """B rows. Key order of the jagged tensors is `layout.pooled` and `layout.unpooled`."""

    ids: KeyedJaggedTensor
    """Pooled ids, key-major."""
    sequences: KeyedJaggedTensor
    """Ids that stay one vector each: histories, and every input that shares a table with one."""
    dense: Tensor
    """`(batch, dense inputs)` float32."""
    labels: Tensor
    """`(batch, tasks)` float32; the class index for multi-class tasks; 0 where not observed."""
    observed: Tensor
    """`(batch, tasks)` bool."""
    weight: Tensor
    """`(batch,)` float32."""
    group: Tensor
    """`(batch,)` int64: key of grouped AUC, 0 throughout when the config names none."""
    session: Tensor
    """`(batch,)` int64: number of the row's session, 0 throughout when the config names none."""
    row: Tensor
    """`(batch,)` int64: place of the row among the rows of its split, in file order."""

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        """The same batch on a device."""
        return Batch(
            self.ids.to(device=device, non_blocking=non_blocking),
            self.sequences.to(device=device, non_blocking=non_blocking),
            *(t.to(device=device, non_blocking=non_blocking) for t in self._tensors()),
        )

    def record_stream(self, stream: torch.Stream) -> None:
        """Tell the allocator that `stream` uses this batch."""
        for part in (self.ids, self.sequences, *self._tensors()):
            part.record_stream(stream)

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory."""
        return Batch(
            self.ids.pin_memory(),
            self.sequences.pin_memory(),
            *(t.pin_memory() for t in self._tensors()),
        )

    def __len__(self) -> int:
        return self.labels.shape[0]

    def _tensors(self) -> tuple[Tensor, ...]:
        of_tasks = (self.dense, self.labels, self.observed)
        return (*of_tasks, self.weight, self.group, self.session, self.row)


def jagged(inputs: Sequence[Input], arrays: Mapping[str, np.ndarray]) -> KeyedJaggedTensor:
    """Padded arrays as one key-major jagged tensor: `(batch,)` for ids, `(batch, length)` padded
    with `PADDING` behind the last id for lists."""
    values, lengths = [], []
    for source in inputs:
        array = np.asarray(arrays[source.name], dtype=np.int64)
        if isinstance(source, IdInput):
            values.append(array)
            lengths.append(np.ones(len(array), dtype=np.int32))
        else:
            present = array != PADDING
            values.append(array[present])
            lengths.append(present.sum(1).astype(np.int32))
    return key_major([source.name for source in inputs], values, lengths)


def key_major(
    keys: Sequence[str], values: Sequence[np.ndarray], lengths: Sequence[np.ndarray]
) -> KeyedJaggedTensor:
    """One jagged tensor from each key's ids, row by row, and its number of ids in each row.

    No torch arithmetic: on a reader's thread it would start a second pool of OpenMP threads, which
    spins beside the one that trains.
    """
    sizes = [len(ids) for ids in values]
    return KeyedJaggedTensor(
        keys=list(keys),
        values=torch.from_numpy(np.concatenate([np.empty(0, np.int64), *values])),
        lengths=torch.from_numpy(np.concatenate([np.empty(0, np.int32), *lengths], dtype=np.int32)),
        stride=len(lengths[0]) if lengths else 0,
        length_per_key=sizes,
        offset_per_key=[0, *accumulate(sizes)],
    )


def from_arrays(
    layout: Layout,
    arrays: Mapping[str, np.ndarray],
    labels: np.ndarray | None = None,
    observed: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    group: np.ndarray | None = None,
    session: np.ndarray | None = None,
    row: np.ndarray | None = None,
) -> Batch:
    """A batch from one array per input, as the exported graph takes them (`reading.arrays`)."""
    rows, tasks = len(next(iter(arrays.values()))), len(layout.tasks)
    dense = [np.asarray(arrays[source.name], dtype=np.float32) for source in layout.dense]
    return Batch(
        ids=jagged(layout.pooled, arrays),
        sequences=jagged(layout.unpooled, arrays),
        dense=torch.from_numpy(np.stack(dense, 1) if dense else np.empty((rows, 0), np.float32)),
        labels=_tensor(labels, np.zeros((rows, tasks)), np.float32),
        observed=_tensor(observed, np.zeros((rows, tasks)), np.bool_),
        weight=_tensor(weight, np.ones(rows), np.float32),
        group=_tensor(group, np.zeros(rows), np.int64),
        session=_tensor(session, np.zeros(rows), np.int64),
        row=_tensor(row, np.arange(rows), np.int64),
    )


def _tensor(array: np.ndarray | None, default: np.ndarray, dtype: type) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(default if array is None else array, dtype=dtype))
