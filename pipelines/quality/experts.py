"""Whether the experts of a network are healthy: the three anomalies that HoME cures, as numbers.

Wang et al., HoME, KDD 2025. A level makes G outputs of E experts of width D; over N held-out rows,
w being all that multiplies an expert (gate, native weight, self-gate) and a the gate alone:

    size_e           mean |h_bek| over rows b and units k
    zero_rate_e      mean 1[h_bek <= 0]: dead after ReLU, and Swish(u) <= 0 exactly where u <= 0
    gate_ge          mean a_bge
    weight_ge        mean |w_bge|
    contribution_ge  mean |w_bge| · ‖h_be‖, since a gate can make up for an expert's scale

collapse        experts that are silent or of other scales; gates that see one expert only
degradation     a shared expert occupied by one task: gate_ge / Σ_g' gate_g'e near 1
underfitting    a sparse task that passes its own experts by: their share of gate_g, divided by
                their share of the experts in sight

Only rows where an output is used count, and for an expert those where an output that sees it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from fulcrum.models.layers.expert_usage import SHARED, Level

CROWD = 3
"""Outputs that must compete for a shared expert before one of them can be said to occupy it."""


@dataclass(frozen=True)
class LevelHealth:
    """One gated level: arrays over its E experts, or over its G outputs and E experts."""

    number: int
    """From 1, the level that reads the fields."""
    outputs: tuple[str, ...]
    owners: tuple[str, ...]
    visible: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    size: np.ndarray
    zero_rate: np.ndarray
    gate: np.ndarray
    weight: np.ndarray
    contribution: np.ndarray

    @property
    def scale_ratio(self) -> float:
        """Largest to smallest mean absolute output."""
        return ratio(self.size)

    @property
    def entropy(self) -> np.ndarray:
        """`(G,)` entropy of the mean gate over that of an even one; NaN where one expert is in
        sight."""
        logs = np.log(np.where(self.gate > 0, self.gate, 1.0))
        even = np.log(self.visible.sum(1))
        return np.divide(
            -(self.gate * logs).sum(1), even, np.full(len(even), np.nan), where=even > 0
        )

    @property
    def favourite(self) -> np.ndarray:
        """`(G,)` the expert with the largest mean gate weight."""
        return self.gate.argmax(1)

    @property
    def agreement(self) -> float:
        """Share of outputs whose favourite is the most frequent one."""
        return float(np.bincount(self.favourite).max() / len(self.outputs))

    @property
    def occupancy(self) -> np.ndarray:
        """`(G, E)` each output's share of what a shared expert gets from the outputs that are not
        shared; NaN for other experts, other outputs, and below `CROWD` outputs."""
        owned = np.array([name != SHARED for name in self.outputs])
        shared = np.array([name == SHARED for name in self.owners])
        rivals = self.gate * owned[:, None]
        total = rivals.sum(0)
        crowd = (self.visible & owned[:, None]).sum(0) >= CROWD
        counts = owned[:, None] & (shared & crowd & (total > 0))
        return np.divide(rivals, total, np.full(rivals.shape, np.nan), where=counts)

    @property
    def own_mass(self) -> dict[str, float]:
        """By output that sees own experts and others: gate weight of its own over their even
        share."""
        return self._over_even_share(self.gate)

    @property
    def own_contribution(self) -> dict[str, float]:
        """The same of what the experts contribute."""
        return self._over_even_share(self.contribution)

    def _over_even_share(self, amounts: np.ndarray) -> dict[str, float]:
        shares = {}
        for output, amount, visible in zip(self.outputs, amounts, self.visible, strict=True):
            owned = np.array([owner == output for owner in self.owners]) & visible
            if output != SHARED and owned.any() and (visible & ~owned).any() and amount.any():
                shares[output] = float(amount[owned].sum() / amount.sum() / owned[visible].mean())
        return shares

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts: `click 2`."""
        return numbered(self.owners)


@dataclass(frozen=True)
class Health:
    """Every gated level of a network that has more than one expert, over some rows."""

    rows: int
    levels: tuple[LevelHealth, ...]
    rates: Mapping[str, float]
    """Share of positives in the training split, by binary task."""

    def metrics(self) -> dict[str, float]:
        """The worst of each statistic by level, and own mass by task; without what is undefined."""
        statistics = {
            f"health/level{level.number}/{name}": value
            for level in self.levels
            for name, value in self.worst(level).items()
        }
        return {name: value for name, value in statistics.items() if np.isfinite(value)}

    def document(self) -> dict[str, Any]:
        """Everything, for JSON; what is undefined is null."""
        return {
            "rows": self.rows,
            "positive_rate": dict(self.rates),
            "levels": [self._document(level) for level in self.levels],
        }

    def correlation(self, level: LevelHealth) -> float:
        """Spearman's rank correlation of own mass with the positive rate, over binary tasks with
        own experts; NaN below three of them."""
        tasks = [task for task in level.own_mass if task in self.rates]
        if len(tasks) < 3:
            return float("nan")
        mass = pl.Series([level.own_mass[task] for task in tasks])
        rate = pl.Series([self.rates[task] for task in tasks])
        return float(pl.select(pl.corr(mass, rate, method="spearman")).item())

    def worst(self, level: LevelHealth) -> dict[str, float]:
        """The worst of each statistic; not finite where it is undefined."""
        worst = {
            "zero_rate_max": float(level.zero_rate.max()),
            "scale_ratio": level.scale_ratio,
            "gate_entropy_min": float(np.min(_known(level.entropy), initial=np.inf)),
            "gate_agreement": level.agreement,
            "occupancy_max": float(np.max(_known(level.occupancy), initial=-np.inf)),
            "own_mass_correlation": self.correlation(level),
        }
        return worst | {f"own_mass/{task}": mass for task, mass in level.own_mass.items()}

    def _document(self, level: LevelHealth) -> dict[str, Any]:
        arrays = ("mean", "std", "size", "zero_rate", "gate", "weight", "contribution")
        facts: dict[str, Any] = {
            "level": level.number,
            "outputs": list(level.outputs),
            "owners": list(level.owners),
            "visible": level.visible.tolist(),
        }
        facts |= {name: _plain(getattr(level, name)) for name in (*arrays, "entropy", "occupancy")}
        return facts | {
            "scale_ratio": _plain(level.scale_ratio),
            "own_mass": level.own_mass,
            "own_contribution": level.own_contribution,
            "own_mass_correlation": _plain(self.correlation(level)),
        }


class Tally:
    """Sums over batches, from which the health of all their rows follows."""

    def __init__(self) -> None:
        self.levels: dict[int, Level] = {}
        self.sums: dict[int, dict[str, Tensor]] = {}

    def add(self, levels: Sequence[Level]) -> bool:
        """Add a batch; whether any level of it has a gate and a choice of experts."""
        for number, level in enumerate(levels, 1):
            if level.gates is not None and len(level.owners) > 1:
                sums = _sums(level, level.gates)
                known = self.sums.get(number, {})
                self.sums[number] = {n: s + known.get(n, 0.0) for n, s in sums.items()}
                self.levels[number] = level
        return bool(self.sums)

    def health(self, rows: int, rates: Mapping[str, float]) -> Health:
        """Of the rows added so far."""
        levels = (self._level(number) for number in sorted(self.sums))
        return Health(rows, tuple(levels), rates)

    def _level(self, number: int) -> LevelHealth:
        level = self.levels[number]
        sums = {name: s.cpu().numpy() for name, s in self.sums[number].items()}
        per_expert, per_output = sums["expert_rows"], sums["output_rows"][:, None]
        mean, square = sums["mean"] / per_expert, sums["square"] / per_expert
        return LevelHealth(
            number,
            level.outputs,
            level.owners,
            level.visible.cpu().numpy(),
            mean,
            np.sqrt(np.maximum(square - mean**2, 0.0)),
            sums["size"] / per_expert,
            sums["zero_rate"] / per_expert,
            sums["gate"] / per_output,
            sums["weight"] / per_output,
            sums["contribution"] / per_output,
        )


def _sums(level: Level, gates: Tensor) -> dict[str, Tensor]:
    """Over the rows of a batch, in float64: `(E,)` or `(G, E)`, and how many rows count."""
    h, w, a = level.experts, level.weights.double().abs(), gates.double()
    used = torch.ones_like(a[:, :, 0]) if level.used is None else level.used.double()
    in_use = (used @ level.visible.double() > 0).double()

    def over(units: Tensor) -> Tensor:
        return (in_use * units.mean(2, dtype=torch.float64)).sum(0)

    size = torch.linalg.vector_norm(h, dim=2, dtype=torch.float64)
    return {
        "expert_rows": in_use.sum(0),
        "mean": over(h),
        "square": over(h.square()),
        "size": over(h.abs()),
        "zero_rate": over(h <= 0),
        "output_rows": used.sum(0),
        "gate": torch.einsum("bg,bge->ge", used, a),
        "weight": torch.einsum("bg,bge->ge", used, w),
        "contribution": torch.einsum("bg,bge,be->ge", used, w, size),
    }


def ratio(size: np.ndarray) -> float:
    """Largest to smallest; infinite where one is 0."""
    return float(size.max() / size.min()) if size.min() > 0 else float("inf")


def _known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def places(names: Sequence[str]) -> list[int]:
    """How many of a name stand up to each place: 1, 2 and 1 for a, a and b."""
    return [list(names[: i + 1]).count(name) for i, name in enumerate(names)]


def numbered(names: Sequence[str]) -> tuple[str, ...]:
    """`a 1`, `a 2`, `b 1`."""
    return tuple(f"{name} {place}" for name, place in zip(names, places(names), strict=True))


def _plain(value: np.ndarray | float) -> Any:
    """As lists, with None for what is not finite."""
    if isinstance(value, np.ndarray):
        return [_plain(part) for part in value]
    return float(value) if np.isfinite(value) else None
