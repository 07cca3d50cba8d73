"""The trained network: TorchRec tables, then everything else."""

from functools import partial

import torch
from torch import Tensor, nn
from torchrec import JaggedTensor, KeyedTensor

from features.batch import Batch
from features.layout import Layout
from models.gramian import gramian
from models.level import Level
from models.objectives.masked import masked_mean
from models.predictor import Predictor
from models.tables import Gather, Tables
from models.trunks import TrunkConfig
from models.weightings import WeightingConfig


class Objective(nn.Module):
    """From the tables' output to one loss, with no table inside.

    `loss` is this process's share of the weighted sum of task losses: its gradient, averaged over
    processes, is the gradient of the loss over the global batch.
    """

    def __init__(
        self,
        layout: Layout,
        model: TrunkConfig,
        weighting: WeightingConfig,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.gather = Gather(layout, model.copies(len(layout.tasks)))
        self.predictor = Predictor(layout, model, precision)
        self.weighting = weighting.build(tuple(task.name for task in layout.tasks))

    def forward(
        self, pooled: KeyedTensor | None, unpooled: dict[str, JaggedTensor] | None, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and, detached:

        losses      `(tasks,)` mean over observed rows of the global batch; 0 where there are none
        weights     `(tasks,)` of the weighting; all ones in eval mode, where nothing is learned
        scores      `(batch, score columns)` probability, or value in its own unit
        row_losses  `(batch, tasks)` 0 where not observed

        In eval mode losses are what scores are measured by, without terms that guide training.
        """
        predictor = self.predictor
        fields = predictor.bottom(self.gather(pooled, unpooled), batch.dense)
        logits = predictor.logits(fields)
        labels = batch.labels.where(batch.observed, 0.0)
        loss = predictor.tasks.losses if self.training else predictor.tasks.errors
        row_losses = loss(logits, labels).where(batch.observed, 0.0)
        local, losses = masked_mean(row_losses, batch.observed, batch.weight)
        if self.training:
            predictor.tasks.follow(logits.detach(), labels, batch.observed, batch.weight)
        weights = (
            self.weighting(losses, partial(gramian, local, fields))
            if self.training
            else torch.ones_like(losses)
        )
        out = {
            "losses": losses,
            "weights": weights,
            "scores": predictor.tasks.scores(logits),
            "row_losses": row_losses,
        }
        return (weights * local).sum(), {name: value.detach() for name, value in out.items()}

    def diagnostics(
        self, pooled: KeyedTensor | None, unpooled: dict[str, JaggedTensor] | None, batch: Batch
    ) -> list[Level]:
        """The trunk's levels for a batch."""
        fields = self.predictor.bottom(self.gather(pooled, unpooled), batch.dense)
        return self.predictor.diagnostics(fields)


class Network(nn.Module):
    """Two modules, because TorchRec's pipelines trace this level and look for tables in it.

    Tables are made on `tables_device`: `meta` when left out, for `DistributedModelParallel` to make
    each where it will live; a real device for a network that is not sharded.
    """

    def __init__(
        self,
        layout: Layout,
        model: TrunkConfig,
        weighting: WeightingConfig,
        tables_device: torch.device | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        copies = model.copies(len(layout.tasks))
        device = torch.device("meta") if tables_device is None else tables_device
        self.tables = Tables(layout, model.embedding_dim, copies, device)
        self.objective = Objective(layout, model, weighting, precision)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`."""
        pooled, unpooled = self.tables(batch.ids, batch.sequences)
        return self.objective(pooled, unpooled, batch)

    def diagnostics(self, batch: Batch) -> list[Level]:
        """What each of the trunk's levels did with a batch, see `Trunk.diagnostics`."""
        pooled, unpooled = self.tables(batch.ids, batch.sequences)
        return self.objective.diagnostics(pooled, unpooled, batch)
