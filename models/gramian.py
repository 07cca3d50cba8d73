"""Inner products of task gradients, for weightings that look at conflicts."""

import torch
from torch import Tensor
from torch import distributed as dist


def gramian(losses: Tensor, shared: Tensor) -> Tensor:
    """`(tasks, tasks)` inner products of the gradients of T losses with respect to a shared tensor,
    summed over its elements and over processes, float64.

    Each loss is this process's share, so that their mean over processes is the global loss; the
    result is that of one process with the whole batch. Costs T partial backward passes down to
    `shared`, which never reach the tables.
    """
    rows = [torch.autograd.grad(loss, shared, retain_graph=True)[0].flatten() for loss in losses]
    jacobian = torch.stack(rows).double()
    products = jacobian @ jacobian.T
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(products)
        products /= dist.get_world_size() ** 2
    return products
