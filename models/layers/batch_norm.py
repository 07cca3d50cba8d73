"""Batch normalisation of many small networks at once, over the rows of all processes."""

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd import Function

from fulcrum.models.layers.stacked import ALL


class _Everywhere(Function):
    """Sum over processes, whose gradient is the sum over processes too."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return _Everywhere.apply(gradient)


def everywhere(x: Tensor) -> Tensor:
    """Sum of a tensor over processes; itself where there is one."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        return _Everywhere.apply(x)
    return x


class StackedBatchNorm(nn.Module):
    """N batch norms of D units: `(N, rows, D) -> (N, rows, D)` (Ioffe and Szegedy, 2015).

        BN(u) = gamma (u - mean) / sqrt(var + eps) + beta          for each network and each unit

    Training takes mean and variance over the rows of all processes, so that they are those of one
    process with the whole batch, and follows them; eval mode uses those followed. Both are the
    biased variance, so a lone row is finite: it becomes beta. Never below float32. Only some
    `networks` are computed, and followed, where `u` holds those alone.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, networks: int, units: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(networks, 1, units))
        self.bias = nn.Parameter(torch.zeros(networks, 1, units))
        self.register_buffer("running_mean", torch.zeros(networks, 1, units))
        self.register_buffer("running_var", torch.ones(networks, 1, units))
        self.eps, self.momentum = eps, momentum

    def forward(self, u: Tensor, networks: slice = ALL) -> Tensor:
        x = u.to(torch.promote_types(u.dtype, torch.float32))
        if self.training:
            rows = everywhere(x.new_tensor(x.shape[1]))
            mean = everywhere(x.sum(1, keepdim=True)) / rows
            x = x - mean
            var = everywhere(x.square().sum(1, keepdim=True)) / rows
            self._follow(mean, var, networks)
        else:
            x, var = x - self.running_mean[networks], self.running_var[networks]
        scale = (var + self.eps).rsqrt() * self.weight[networks]
        return (x * scale + self.bias[networks]).to(u.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor, networks: slice) -> None:
        for running, latest in ((self.running_mean, mean), (self.running_var, var)):
            running[networks].lerp_(latest.to(running.dtype), self.momentum)
