"""From vectors to scores: what the trained network and its exported twin share."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from fulcrum.features.layout import Layout
from fulcrum.models.embedding.vectors import Vectors
from fulcrum.models.layers.expert_usage import Level
from fulcrum.models.layers.towers import Towers
from fulcrum.models.objectives.mixed import MixedObjective
from fulcrum.models.part import AuxiliaryLoss
from fulcrum.models.trunks import TrunkConfig


class Predictor(nn.Module):
    """Bottom, interaction, trunk and towers; scores come from the tasks' objectives.

    Where the bottom gives each task fields of its own, tasks become rows, the rows of one task
    after another's, and the trunk makes of each its own task's representation.

    `precision` is that of everything from the interaction to the towers' hidden layers while
    training. The bottom, the last layer, logits and losses are always float32, and so is everything
    in eval mode.
    """

    def __init__(
        self, layout: Layout, model: TrunkConfig, precision: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        names, dim = tuple(task.name for task in layout.tasks), model.embedding_dim
        self.names, self.per_task = names, model.bottom.per_task
        copies = model.copies(len(names))
        self.bottom = model.bottom.build(layout, dim, copies, model.history == "attention")
        self.interaction = model.interaction.build(len(self.bottom.names), dim, copies)
        self.trunk = model.build(self.bottom.names, names)
        hidden = (self.trunk.width, *model.tower)[-1]
        chain = partial(model.chain.build, width=hidden, dropout=model.dropout)
        self.tasks = MixedObjective(layout.tasks, chain)
        self.towers = Towers(self.trunk.width, model.tower, self.tasks.outputs, model.dropout)
        self.towers.start_at(self.tasks.start())
        self.precision = precision

    def represent(self, fields: Tensor) -> Tensor:
        """`(batch, n · F, dim) -> (batch, tasks, width)`."""
        trunk = self.trunk.per_task if self.per_task else self.trunk
        return trunk(self.interaction(self._fold(fields)))

    def logits(self, fields: Tensor, scale: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """`(batch, n · F, dim) -> (batch, sum of outputs)`, float32. `scale` goes between what
        tasks share and their towers."""
        precision = self.precision if self.training else torch.float32
        with torch.autocast(fields.device.type, precision, enabled=precision != torch.float32):
            z = self.represent(fields.to(precision))
            hidden = self.towers.represent(z if scale is None else scale(z))
            hidden = self.tasks.transfer(hidden)
        return self.towers.logits(hidden.float())

    def forward(self, vectors: Vectors, dense: Tensor) -> Tensor:
        """Scores `(batch, score columns)`."""
        return self.tasks.scores(self.logits(self.bottom(vectors, dense)))

    def shared_parameters(self) -> list[nn.Parameter]:
        """What lies below the towers. A trunk's parts for single tasks are among it: the gradients
        of other tasks are zero there."""
        return [p for m in (self.bottom, self.interaction, self.trunk) for p in m.parameters()]

    def auxiliary_losses(self) -> dict[str, AuxiliaryLoss]:
        """Those of all parts, of the latest pass in train mode.

        Raises ValueError where two parts give one name.
        """
        losses: dict[str, AuxiliaryLoss] = {}
        for part in (self.bottom, self.interaction, self.trunk):
            terms = part.auxiliary_losses()
            if twice := losses.keys() & terms.keys():
                raise ValueError(f"two parts have an auxiliary loss named `{min(twice)}`")
            losses |= terms
        return losses

    def diagnostics(self, fields: Tensor) -> list[Level]:
        """The trunk's levels; with fields per task, a row of them is a row of one task."""
        levels = self.trunk.diagnostics(self.interaction(self._fold(fields)))
        if self.per_task and levels:
            used = torch.eye(len(self.names), dtype=torch.bool, device=fields.device)
            levels[-1] = levels[-1]._replace(used=used.repeat_interleave(len(fields), 0))
        return levels

    def _fold(self, fields: Tensor) -> Tensor:
        """With fields per task, tasks become rows: `(tasks · batch, F, dim)`, task-major."""
        return torch.cat(fields.chunk(len(self.names), 1)) if self.per_task else fields
