"""The weights of torchjd's scalarizers, to compare ours with."""

import torch
from torch import Tensor
from torchjd.scalarization import Scalarizer


def weights_of(scalarizer: Scalarizer, losses: Tensor) -> Tensor:
    """`(T,)` derivative of the scalar by the losses."""
    leaf = losses.detach().clone().requires_grad_()
    return torch.autograd.grad(scalarizer(leaf), leaf)[0]
