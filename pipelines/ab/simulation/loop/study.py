"""What a study in the loop has found: how far each design's answer is from the truth."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from fulcrum.features.errors import TrainError
from fulcrum.pipelines.ab.simulation.loop.play import METRICS, LoopConfig, Outcome, worlds

ALPHA = 0.05
BISTABLE = 0.03
"""Spread of the control world's short share above which replications live in different regimes, and
no estimator can be judged."""
PAPER = {
    (0.5, "weighted"): ((0.002, -0.005, 0.000), (None, 0.012, None)),
    (0.5, "pooling"): ((0.018, -0.059, 0.006), (None, None, None)),
    (0.5, "snapshot"): ((0.011, -0.047, 0.004), (None, None, None)),
    (0.5, "splitting"): ((None, None, None), (None, 0.042, None)),
    (0.2, "weighted"): ((0.002, -0.008, 0.000), (0.004, 0.014, 0.002)),
    (0.2, "splitting"): ((-0.021, None, None), (0.020, 0.052, 0.006)),
}
"""Bias and standard deviation in Si, arXiv 2310.17496, by share and design: of another world, whose
coefficients were not published."""


@dataclass(frozen=True)
class Line:
    """One design and one metric."""

    design: str
    metric: str
    truth: float
    """Global treatment effect."""
    bias: float
    """Mean over replications of estimate minus truth, on what was to be expected of what was
    shown."""
    bias_se: float
    std: float
    """Standard deviation of the estimates over replications, on what users did."""
    rmse: float
    """Root of the mean square of estimate minus truth, on what users did."""
    naive_se: float
    """Mean of the usual standard error, which takes the models as given."""
    left: float | None
    """Size of the bias over that of pooling; None where there is no effect to miss."""
    rejected: float
    """Share of replications in which the usual test says that the arms differ."""
    rejected_by_instances: float | None
    """The same by the t interval over the arms' instances."""
    paper_bias: float | None
    paper_std: float | None


@dataclass(frozen=True)
class Study:
    """All designs at one share of treated users."""

    share: float
    replications: int
    truth: dict[str, float]
    """Global treatment effect, by metric."""
    truth_se: dict[str, float]
    control: dict[str, float]
    """Means in the world without treatment."""
    control_spread: dict[str, float]
    """Their standard deviations over replications."""
    lines: tuple[Line, ...]
    facts: dict[str, dict[str, float]]

    def line(self, design: str, metric: str) -> Line:
        """The line of a design and a metric."""
        return next(x for x in self.lines if (x.design, x.metric) == (design, metric))

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def study(config: LoopConfig, share: float, outcome: Outcome) -> Study:
    """Raises TrainError where replications live in different regimes."""
    expected = _means(outcome.expected, outcome.users)
    realised = _means(outcome.realised, outcome.users)
    squared = _means(outcome.squared, outcome.users)
    users = outcome.users.sum(2)
    effects = expected[:, 0, 0] - expected[:, 1, 1]
    truth, control = effects.mean(0), expected[:, 1, 1]
    spread = control.std(0, ddof=1)
    if spread[0] > BISTABLE:
        raise TrainError(
            f"the control world's short share differs by {spread[0]:.3f} between replications, "
            f"more than {BISTABLE}: they live in different regimes, so no design can be judged; "
            "give the loop a longer warm-up or more noise"
        )
    lines = []
    for place, design in enumerate(worlds(config)[2:], 2):
        hoped = expected[:, place, 0] - expected[:, place, 1]
        measured = realised[:, place, 0] - realised[:, place, 1]
        variance = squared[:, place] - realised[:, place] ** 2
        se = np.sqrt((variance / users[:, place, :, None]).sum(1))
        bias = (hoped - effects).mean(0)
        for m, metric in enumerate(METRICS):
            paper = PAPER.get((share, design), ((None,) * 3,) * 2) if not config.null else None
            lines.append(
                Line(
                    design,
                    metric,
                    float(truth[m]),
                    float(bias[m]),
                    float((hoped - effects)[:, m].std(ddof=1) / np.sqrt(len(hoped))),
                    float(measured[:, m].std(ddof=1)),
                    float(np.sqrt(((measured[:, m] - truth[m]) ** 2).mean())),
                    float(se[:, m].mean()),
                    None,
                    float((2 * stats.norm.sf(np.abs(measured[:, m]) / se[:, m]) < ALPHA).mean()),
                    _by_instances(outcome.realised[:, place, ..., m]),
                    paper[0][m] if paper else None,
                    paper[1][m] if paper else None,
                )
            )
    return Study(
        share,
        len(expected),
        dict(zip(METRICS, truth.tolist(), strict=True)),
        dict(zip(METRICS, (effects.std(0, ddof=1) / np.sqrt(len(effects))).tolist(), strict=True)),
        dict(zip(METRICS, control.mean(0).tolist(), strict=True)),
        dict(zip(METRICS, spread.tolist(), strict=True)),
        tuple(lines if config.null else _with_share_of_pooling(lines)),
        outcome.facts,
    )


def estimates(config: LoopConfig, outcome: Outcome) -> dict[str, np.ndarray]:
    """`(replications, metrics)` differences of arms on what users did, by design."""
    realised = _means(outcome.realised, outcome.users)
    return {
        design: realised[:, place, 0] - realised[:, place, 1]
        for place, design in enumerate(worlds(config)[2:], 2)
    }


def _means(parts: np.ndarray, users: np.ndarray) -> np.ndarray:
    """`(replications, worlds, instances, arms, metrics)` means to those over all instances. An arm
    without users, such as the control where all are treated, has none."""
    with np.errstate(invalid="ignore"):
        share = (users / users.sum(2, keepdims=True))[..., None]
        means: np.ndarray = (parts * share).sum(2)
    return means


def _by_instances(means: np.ndarray) -> float | None:
    """Share of replications whose t interval over `(replications, instances, arms)` leaves out
    0."""
    if means.shape[1] < 2:
        return None
    test = stats.ttest_1samp(means[..., 0] - means[..., 1], 0, axis=1)
    return float((test.pvalue < ALPHA).mean())


def _with_share_of_pooling(lines: Sequence[Line]) -> list[Line]:
    of_pooling = {x.metric: abs(x.bias) for x in lines if x.design == "pooling"}
    return [
        Line(**{**asdict(x), "left": abs(x.bias) / of_pooling[x.metric] if of_pooling else None})
        for x in lines
    ]
