"""DeepCTR-Torch: its `fit` over arrays in memory."""

import contextlib
import io

import torch
from deepctr_torch.inputs import DenseFeat, SparseFeat
from deepctr_torch.models.multitask.mmoe import MMOE

from benchmarks.peers.work import Encoded
from benchmarks.rounds import Action


def train(encoded: Encoded, steps: int) -> Action:
    """As many rows each time as `steps` batches have: its `fit` cannot be stopped in between.

    Its penalty on whole tables in each step is off, as no other library has one."""
    network, count = encoded.network, steps * encoded.batch_size
    width = network.embedding_dim
    columns = [SparseFeat(name, size, width) for name, size in encoded.sizes.items()]
    columns += [DenseFeat(name) for name in encoded.numbers]
    model = MMOE(
        columns,
        num_experts=network.experts,
        expert_dnn_hidden_units=network.expert,
        gate_dnn_hidden_units=(),
        tower_dnn_hidden_units=network.tower,
        l2_reg_linear=0,
        l2_reg_embedding=0,
        task_types=["binary"] * len(encoded.labels),
        task_names=encoded.labels,
    )
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.compile(adam, loss=["binary_crossentropy"] * len(encoded.labels))
    x = {name: array[:count] for name, array in encoded.arrays().items()}
    y = encoded.frame[list(encoded.labels)].to_numpy("float32")[:count]

    def action() -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit(x, y, batch_size=encoded.batch_size, epochs=1, verbose=0)
        return count

    return action
