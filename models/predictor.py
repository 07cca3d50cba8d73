"""From vectors to scores: what the trained network and its exported twin share."""

import torch
from torch import Tensor, nn

from features.layout import Layout
from models.fields import Fields
from models.objectives.mixed import MixedObjective
from models.tables import Vectors
from models.towers import Towers
from models.trunks import TrunkConfig


class Predictor(nn.Module):
    """Fields, trunk and towers; scores come from the tasks' objectives.

    `precision` is that of the trunk and of the towers' hidden layers while training. Fields, the
    last layer, logits and losses are always float32, and so is everything in eval mode.
    """

    def __init__(
        self, layout: Layout, model: TrunkConfig, precision: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        tasks, dim = len(layout.tasks), model.embedding_dim
        self.tasks = MixedObjective(layout.tasks)
        self.fields = Fields(layout, dim, model.copies(tasks), model.history == "attention")
        self.trunk = model.build(self.fields.count, tasks)
        self.towers = Towers(self.trunk.width, model.tower, self.tasks.outputs, model.dropout)
        self.towers.start_at(self.tasks.start())
        self.precision = precision

    def logits(self, fields: Tensor) -> Tensor:
        """`(batch, copies · fields, dim) -> (batch, sum of outputs)`, float32."""
        precision = self.precision if self.training else torch.float32
        with torch.autocast(fields.device.type, precision, enabled=precision != torch.float32):
            hidden = self.towers.represent(self.trunk(fields.to(precision)))
        return self.towers.logits(hidden.float())

    def forward(self, vectors: Vectors, dense: Tensor) -> Tensor:
        """Scores `(batch, score columns)`."""
        return self.tasks.scores(self.logits(self.fields(vectors, dense)))
