"""Adam for what a weighting learns by itself."""

from collections.abc import Iterable, Iterator

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

    def step(self, gradients: Iterable[Tensor], where: Tensor | None = None) -> None:
        """One update, with a gradient for each parameter; of entries `where` a mask is true, if
        there is one, while the others stay as they are, moments included."""
        copies = (
            [] if where is None else [(each, each.detach().clone()) for each in self._entries()]
        )
        for i, (parameter, gradient) in enumerate(zip(self.parameters_, gradients, strict=True)):
            parameter.grad = gradient.to(parameter.dtype)
            # A move to another device makes new buffers, so they are handed over at every step.
            names = ("step", "exp_avg", "exp_avg_sq")
            self.optimizer.state[parameter] = {n: getattr(self, f"{n}_{i}") for n in names}
        self.optimizer.step()
        self.optimizer.zero_grad()
        for tensor, before in copies:
            tensor.data.copy_(torch.where(where, tensor.data, before))  # type: ignore[arg-type]

    def _entries(self) -> Iterator[Tensor]:
        """The parameters and their moments."""
        for i, parameter in enumerate(self.parameters_):
            yield from (parameter, getattr(self, f"exp_avg_{i}"), getattr(self, f"exp_avg_sq_{i}"))
