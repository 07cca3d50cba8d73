"""Adam for what a weighting learns by itself."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Adam(nn.Module):
    """torch's Adam (Kingma and Ba, ICLR 2015) whose moments are buffers of a module, there from the
    start: one state dict holds a small network and all that trains it."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__()
        self.parameters_ = list(parameters)
        self.optimizer = torch.optim.Adam(self.parameters_, lr=lr, weight_decay=weight_decay)
        for i, parameter in enumerate(self.parameters_):
            self.register_buffer(f"step_{i}", torch.zeros(()))
            self.register_buffer(f"exp_avg_{i}", torch.zeros_like(parameter))
            self.register_buffer(f"exp_avg_sq_{i}", torch.zeros_like(parameter))

    def step(self, gradients: Iterable[Tensor]) -> None:
        """One update, with a gradient for each parameter."""
        for i, (parameter, gradient) in enumerate(zip(self.parameters_, gradients, strict=True)):
            parameter.grad = gradient.to(parameter.dtype)
            # A move to another device makes new buffers, so they are handed over at every step.
            names = ("step", "exp_avg", "exp_avg_sq")
            self.optimizer.state[parameter] = {n: getattr(self, f"{n}_{i}") for n in names}
        self.optimizer.step()
        self.optimizer.zero_grad()
