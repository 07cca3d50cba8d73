"""Means over the rows where a task is observed."""

from typing import Literal

import torch
from torch import Tensor
from torch import distributed as dist

DivideBy = Literal["weights", "rows"]


def masked_mean(
    row_losses: Tensor, observed: Tensor, weight: Tensor, divide_by: DivideBy = "weights"
) -> tuple[Tensor, Tensor, Tensor]:
    """Task losses `(tasks,)` from row losses `(batch, tasks)`, as `(local, everywhere, active)`.

    L_t = sum_i w_i δ_it loss_it / sum_i w_i δ_it over the global batch (PLE, RecSys 2020,
    equation 9), or by `rows` / sum_i δ_it (Si, arXiv 2310.17496, whose weights have mean 1); a task
    observed nowhere, or only with weight 0, gives 0 and no gradient. `local` carries the gradient:
    this process's share, scaled so that the mean of it over all processes is `everywhere`. `active`
    says which tasks are observed somewhere, with a weight.
    """
    row_weight = observed * weight[:, None]
    local = (row_losses * row_weight).sum(0)
    weights = row_weight.sum(0)
    divisor = weights if divide_by == "weights" else observed.sum(0).to(weights.dtype)
    sums = torch.stack([local.detach(), weights, divisor])
    world = 1
    if dist.is_initialized() and dist.get_world_size() > 1:
        world = dist.get_world_size()
        dist.all_reduce(sums)
    total = torch.where(sums[2] > 0, sums[2], 1.0)
    return local * (world / total), sums[0] / total, sums[1] > 0
