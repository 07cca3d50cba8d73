"""Both models learn from all rows, each row weighing as it would be likely in the model's world.

Si, "Tackling Interference Induced by Data Training Loops in A/B Tests: A Weighted Training
Approach" (arXiv 2310.17496): W_T = e(x) / p and W_C = (1 - e(x)) / (1 - p), with
e(x) = P(Z = 1 | x) from a classifier that is trained along with the models.
"""

from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fulcrum.pipelines.ab.simulation.estimators.base import Estimator, EstimatorConfig, Weights


class Classifier(nn.Module):
    """P(Z = 1 | x) of as many replications as there are, each with its own weights: two hidden
    layers of ReLU units, `(replications, users, width)` to `(replications, users)` logits."""

    def __init__(self, replications: int, width: int, hidden: int, share: float, seed: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        sizes = (width, hidden, hidden, 1)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for inputs, outputs in pairwise(sizes):
            # The last layer starts at zero, so that the first weights are 1.
            scale = inputs**-0.5 if outputs > 1 else 0.0
            noise = torch.rand(replications, inputs, outputs, generator=random) * 2 - 1
            self.weights.append(nn.Parameter(noise * scale))
            self.biases.append(nn.Parameter(torch.zeros(replications, 1, outputs)))
        nn.init.constant_(self.biases[-1], float(np.log(share / (1 - share))))

    def forward(self, x: Tensor) -> Tensor:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = F.relu(torch.baddbmm(bias, x, weight))
        return torch.baddbmm(self.biases[-1], x, self.weights[-1])[..., 0]


class Weighted(Estimator):
    def __init__(
        self, config: "WeightedConfig", replications: int, width: int, share: float, seed: int
    ) -> None:
        self.config, self.share = config, share
        self.classifier = Classifier(replications, width, config.hidden, share, seed)
        self.optimizer = torch.optim.Adam(self.classifier.parameters(), config.lr)
        self.step = 0
        self.last: dict[str, float] = {}

    def weigh(self, videos: np.ndarray, treated: np.ndarray) -> Weights:
        x, z = torch.from_numpy(videos), torch.from_numpy(treated.astype(np.float32))
        for update in range(self.config.updates):
            logits = self.classifier(x)
            if update == 0:  # before anything is learned from these very rows
                chance = torch.sigmoid(logits.detach()).numpy()
            losses = F.binary_cross_entropy_with_logits(logits, z, reduction="none").mean(1)
            self.optimizer.zero_grad()
            losses.sum().backward()  # each replication has weights of its own
            if update == 0:
                bits = float(losses.detach().mean()) / np.log(2)
            self.optimizer.step()
        self.step += 1
        if self.step <= self.config.delay:
            chance = np.full_like(chance, self.share)
        weights = Weights(chance / self.share, (1 - chance) / (1 - self.share))
        self.last = {
            "log_loss_bits": bits,
            "mean_weight": float(weights.treatment.mean()),
            "mean_square": float((weights.treatment**2).mean()),
        }
        return weights

    def facts(self) -> dict[str, float]:
        return self.last


class WeightedConfig(EstimatorConfig):
    """Weights from a classifier that learns online. It lags behind the models it watches, and what
    bias is left is that lag: hence a rate ten times the paper's 0.001."""

    design: Literal["weighted"] = "weighted"
    lr: float = Field(0.01, gt=0)
    """Of the classifier's Adam."""
    hidden: int = Field(64, ge=1)
    """Units of each of the classifier's two hidden layers."""
    updates: int = Field(1, ge=1)
    """Of the classifier, a step."""
    delay: int = Field(0, ge=0)
    """Steps during which all weights are 1."""

    def build(self, replications: int, width: int, share: float, seed: int) -> Estimator:
        return Weighted(self, replications, width, share, seed)
