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
Departures: underfitting alarms where the own experts' share of contribution_g is as low as that of
the gate, for a native weight or a self-gate serves a task as well; gates agree on an expert only
where each gives it more than `favourite`, since even gates have a largest entry too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from fulcrum.models.layers.expert_usage import SHARED, Level

ALARMS = {
    "zero_rate": 0.90,
    "scale_ratio": 5.0,
    "gate_entropy": 0.3,
    "favourite": 2 / 3,
    "occupancy": 0.8,
    "own_mass": 0.25,
    "sparse": 0.05,
}
"""Where a warning begins. Those of `gate_entropy` and `own_mass` are lower limits; own mass alarms
for tasks with a smaller share of positives than `sparse`. Only 0.90 is HoME's, the others are
choices of this project."""
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
        return _ratio(self.size)

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
        return self._own(self.gate)

    @property
    def own_contribution(self) -> dict[str, float]:
        """The same of what the experts contribute."""
        return self._own(self.contribution)

    def _own(self, amounts: np.ndarray) -> dict[str, float]:
        shares = {}
        for output, amount, visible in zip(self.outputs, amounts, self.visible, strict=True):
            own = np.array([owner == output for owner in self.owners]) & visible
            if output != SHARED and own.any() and (visible & ~own).any() and amount.any():
                shares[output] = float(amount[own].sum() / amount.sum() / own[visible].mean())
        return shares

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts: `click 2`."""
        return _numbered(self.owners)


@dataclass(frozen=True)
class Health:
    """Every gated level of a network that has more than one expert, over some rows."""

    rows: int
    levels: tuple[LevelHealth, ...]
    rates: Mapping[str, float]
    """Share of positives in the training split, by binary task."""

    def metrics(self) -> dict[str, float]:
        """The worst of each statistic by level, and own mass by task; without what is undefined."""
        found = {
            f"health/level{level.number}/{name}": value
            for level in self.levels
            for name, value in self.worst(level).items()
        }
        return {name: value for name, value in found.items() if np.isfinite(value)}

    def warnings(self) -> list[str]:
        """What is wrong, in words: a line for each alarm."""
        return [
            f"level {level.number}: {text}" for level in self.levels for text in self._alarms(level)
        ]

    def document(self) -> dict[str, Any]:
        """Everything, for JSON; what is undefined is null."""
        return {
            "rows": self.rows,
            "alarms": ALARMS,
            "warnings": self.warnings(),
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

    def _alarms(self, level: LevelHealth) -> Iterator[str]:
        yield from _collapse(level)
        yield from _degradation(level)
        yield from _underfitting(level, self.rates)


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
        per_expert, per_output = sums["heard"], sums["used"][:, None]
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


def _collapse(level: LevelHealth) -> Iterator[str]:
    experts, gates = _ordinal(level.owners), _named(level.outputs)
    silent = level.zero_rate > ALARMS["zero_rate"]
    for e in np.flatnonzero(silent):
        yield (
            f"expert {experts[e]} is {level.zero_rate[e]:.0%} zeros (alarm above "
            f"{ALARMS['zero_rate']:.0%}): it gives its gates nothing to weigh; try "
            "`architecture: home`, which normalises experts, or a lower train.dense.lr"
        )
    heard = np.flatnonzero(~silent)
    if len(heard) and _ratio(level.size[heard]) > ALARMS["scale_ratio"]:
        most, least = (heard[pick(level.size[heard])] for pick in (np.argmax, np.argmin))
        yield (
            f"what expert {experts[most]} gives is {_ratio(level.size[heard]):.1f} times as large "
            f"as what expert {experts[least]} gives (alarm above {ALARMS['scale_ratio']:.0f}): "
            "gates cannot compare them fairly; try `architecture: home`, which normalises experts"
        )
    for g in np.flatnonzero(level.entropy < ALARMS["gate_entropy"]):
        top = level.favourite[g]
        yield (
            f"the gate of {gates[g]} puts {level.gate[g, top]:.0%} of its weight on expert "
            f"{experts[top]} (entropy {level.entropy[g]:.2f} of an even gate's, alarm below "
            f"{ALARMS['gate_entropy']}): the other experts hardly count; try model.dropout or a "
            "lower train.dense.lr"
        )
    least_weight = float(level.gate.max(1).min())
    if len(gates) > 1 and level.agreement == 1 and least_weight > ALARMS["favourite"]:
        yield (
            f"all gates put {least_weight:.0%} of their weight or more on expert "
            f"{experts[level.favourite[0]]} (alarm above {ALARMS['favourite']:.0%}): outputs "
            "hardly differ; try model.dropout, fewer experts or a lower train.dense.lr"
        )


def _degradation(level: LevelHealth) -> Iterator[str]:
    experts, occupancy = _ordinal(level.owners), level.occupancy
    for g, e in np.argwhere(occupancy > ALARMS["occupancy"]):
        yield (
            f"expert {experts[e]} is occupied by {level.outputs[g]}, from which it has "
            f"{occupancy[g, e]:.0%} of its gate weight (alarm above {ALARMS['occupancy']:.0%}): it "
            "is shared in name only; try `architecture: ple`, where tasks have experts of their own"
        )


def _underfitting(level: LevelHealth, rates: Mapping[str, float]) -> Iterator[str]:
    for task, reach in level.own_contribution.items():
        mass, rate = level.own_mass[task], rates.get(task, 1.0)
        if max(mass, reach) < ALARMS["own_mass"] and rate < ALARMS["sparse"]:
            yield (
                f"{task} ({rate:.1%} positives) gives its own experts {mass:.2f} of an even gate's "
                f"weight and gets {reach:.2f} of an even contribution (alarm with both below "
                f"{ALARMS['own_mass']}, for tasks below {ALARMS['sparse']:.0%}): it leans on the "
                "experts of others; try `architecture: home`, fewer shared experts or more weight "
                "for its loss"
            )


def _sums(level: Level, gates: Tensor) -> dict[str, Tensor]:
    """Over the rows of a batch, in float64: `(E,)` or `(G, E)`, and how many rows count."""
    h, w, a = level.experts, level.weights.double().abs(), gates.double()
    used = torch.ones_like(a[:, :, 0]) if level.used is None else level.used.double()
    heard = (used @ level.visible.double() > 0).double()

    def over(units: Tensor) -> Tensor:
        return (heard * units.mean(2, dtype=torch.float64)).sum(0)

    size = torch.linalg.vector_norm(h, dim=2, dtype=torch.float64)
    return {
        "heard": heard.sum(0),
        "mean": over(h),
        "square": over(h.square()),
        "size": over(h.abs()),
        "zero_rate": over(h <= 0),
        "used": used.sum(0),
        "gate": torch.einsum("bg,bge->ge", used, a),
        "weight": torch.einsum("bg,bge->ge", used, w),
        "contribution": torch.einsum("bg,bge,be->ge", used, w, size),
    }


def _ratio(size: np.ndarray) -> float:
    return float(size.max() / size.min()) if size.min() > 0 else float("inf")


def _known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def _places(names: Sequence[str]) -> list[int]:
    return [list(names[: i + 1]).count(name) for i, name in enumerate(names)]


def _numbered(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name} {place}" for name, place in zip(names, _places(names), strict=True))


def _ordinal(names: Sequence[str]) -> list[str]:
    return [f"{place} of {name}" for name, place in zip(names, _places(names), strict=True)]


def _named(names: Sequence[str]) -> tuple[str, ...]:
    """Numbered where a name stands more than once."""
    pairs = zip(names, _numbered(names), strict=True)
    return tuple(long if names.count(name) > 1 else name for name, long in pairs)


def _plain(value: np.ndarray | float) -> Any:
    """As lists, with None for what is not finite."""
    if isinstance(value, np.ndarray):
        return [_plain(part) for part in value]
    return float(value) if np.isfinite(value) else None
