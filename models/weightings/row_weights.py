"""Weights of single rows, brought to mean 1 per task."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch import distributed as dist

from fulcrum.models.step import Rows


class Normaliser(nn.Module):
    """From raw weights `(batch, K)` of K of the tasks to `(batch, tasks)`, the others having 1."""

    def __init__(self, names: Sequence[str], members: Sequence[int], normalise: bool) -> None:
        super().__init__()
        self.names, self.members, self.normalise = names, list(members), normalise
        self.raw: Tensor | None = None

    def forward(self, raw: Tensor, rows: Rows) -> Tensor:
        """The mean is over the observed rows of the global batch, by their sample weight."""
        row_weight = (rows.observed[:, self.members] * rows.weight[:, None]).double()
        sums = torch.stack([(raw * row_weight).sum(0), row_weight.sum(0)])
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(sums)
        mean = torch.where(sums[1] > 0, sums[0] / sums[1].clamp(min=1e-300), 1.0)
        self.raw = mean
        weights = torch.ones(len(raw), len(self.names), device=raw.device)
        weights[:, self.members] = (raw / mean if self.normalise else raw).float()
        return weights

    def facts(self) -> dict[str, float]:
        """The mean before, by task."""
        if self.raw is None:
            return {}
        means = zip(self.members, self.raw.tolist(), strict=True)
        return {f"raw_mean/{self.names[t]}": mean for t, mean in means}
