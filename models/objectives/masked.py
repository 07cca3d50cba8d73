"""Means over the rows where a task is observed."""

import torch
from torch import Tensor
from torch import distributed as dist


def masked_mean(
    row_losses: Tensor, observed: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Task losses `(tasks,)` from row losses `(batch, tasks)`, as `(local, everywhere, active)`.

    L_t = sum_i w_i δ_it loss_it / sum_i w_i δ_it over the global batch (PLE, RecSys 2020,
    equation 9); a task observed nowhere gives 0 and no gradient. `local` carries the gradient:
    this process's share, scaled so that the mean of it over all processes is `everywhere`. `active`
    says which tasks are observed somewhere.
    """
    counted = observed * weight[:, None]
    local = (row_losses * counted).sum(0)
    sums = torch.stack([local.detach(), counted.sum(0)])
    world = 1
    if dist.is_initialized() and dist.get_world_size() > 1:
        world = dist.get_world_size()
        dist.all_reduce(sums)
    total = torch.where(sums[1] > 0, sums[1], 1.0)
    return local * (world / total), sums[0] / total, sums[1] > 0
