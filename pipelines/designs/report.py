"""What is known of a design's weights, in numbers, words and pictures."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fulcrum.pipelines.designs import DesignConfig, Logged
from fulcrum.pipelines.designs.propensity import Propensity, effective

logger = logging.getLogger(__name__)

FOLDER = "propensity"
"""Below the prepared data set, and in the run."""
FACTS, WORDS = "report.json", "report.txt"
LONELY = 0.5
"""Share of rows with a value of their unit's own from which a feature is warned of."""
TOLERANCE = 0.02
"""How far a mean weight may lie from 1."""


@dataclass(frozen=True)
class ArmFacts:
    """One arm: its rows, and all rows weighted to its law."""

    rows: int
    units: int
    share: float
    """Of the test's rows."""
    mean: float
    """Of its weights over the test's rows; 1 but for errors of P(arm | row)."""
    largest: float
    """Of its weights; at most 1 / share."""
    effective: float
    """Effective sample size of the test's rows under its weights, as a share of them."""


def write(
    folder: Path,
    design: DesignConfig,
    logged: Logged,
    weights: np.ndarray,
    units: np.ndarray,
    found: Propensity | None,
    lonely: Mapping[str, float],
) -> None:
    """Put facts, words and pictures into a folder. `weights` `(n, K)` and `units` `(n,)` are those
    of all logged rows, `lonely` the shares of `identifying_features.lonely`."""
    arms = {name: _facts(k, logged, weights, units) for k, name in enumerate(logged.names)}
    facts: dict[str, Any] = {
        "design": design.design,
        "arm": design.arm,
        "rows": {"test": int(logged.test.sum()), "before": int((~logged.test).sum())},
        "arms": {name: asdict(arm) for name, arm in arms.items()},
        "propensity": None if found is None else _propensity(found),
        "lonely": dict(lonely),
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    (folder / WORDS).write_text("\n".join(words(facts)) + "\n", encoding="utf-8")
    if found is not None:
        from fulcrum.pipelines.designs import figures

        figures.draw(found, weights[logged.test], folder)


def words(facts: dict[str, Any]) -> list[str]:
    """The facts in sentences, what is wrong among them."""
    arms, rows = facts["arms"], facts["rows"]
    lines = [
        f"Design `{facts['design']}` for the model of arm `{facts['arm']}`: the log has "
        f"{rows['test']:,} rows of the test and {rows['before']:,} rows outside it."
    ]
    for name, arm in arms.items():
        lines.append(
            f"Arm `{name}`: {arm['rows']:,} rows of {arm['units']:,} units, {arm['share']:.1%} of "
            f"the test. Weighted to its law, all rows of the test are worth {arm['effective']:.1%} "
            f"of them (effective sample size; its own rows alone: {arm['share']:.1%}). Mean weight "
            f"{arm['mean']:.3f}, largest {arm['largest']:.2f} (1 / share is "
            f"{1 / arm['share']:.2f})."
        )
    found = facts["propensity"]
    if found is not None:
        lines += _judged(found)
        lines += [
            f"Warning: the weights of arm `{name}` have mean {arm['mean']:.3f} instead of 1: its "
            "P(arm | row) is badly calibrated; `calibrate: sigmoid` or fewer features may help."
            for name, arm in arms.items()
            if abs(arm["mean"] - 1) > TOLERANCE
        ]
        lines += [
            f"Warning: in {share:.0%} of the rows the value of `{name}` belongs to one unit, so it "
            "tells who the user is, whose arm never changes; leave it out of `propensity.features`."
            for name, share in facts["lonely"].items()
            if share > LONELY
        ]
    return lines


def tell(folder: Path) -> None:
    """Log the words of a data set's report."""
    for line in (folder / WORDS).read_text(encoding="utf-8").splitlines():
        logger.log(logging.WARNING if line.startswith("Warning") else logging.INFO, "%s", line)


def read(folder: Path) -> dict[str, Any]:
    """The facts of a data set's report."""
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return facts


def metrics(facts: dict[str, Any]) -> dict[str, float]:
    """The numbers under names of their own."""
    numbers = {f"{k}/{n}": v for n, arm in facts["arms"].items() for k, v in arm.items()}
    return {
        f"propensity/{name}": float(value)
        for name, value in (numbers | (facts["propensity"] or {})).items()
        if value is not None
    }


def _facts(k: int, logged: Logged, weights: np.ndarray, units: np.ndarray) -> ArmFacts:
    own, of_test = logged.arm == k, weights[logged.test, k]
    return ArmFacts(
        rows=int(own.sum()),
        units=len(np.unique(units[own])),
        share=float(logged.shares[k]),
        mean=float(of_test.mean()),
        largest=float(of_test.max()),
        effective=effective(of_test),
    )


def _propensity(found: Propensity) -> dict[str, float | None]:
    return {
        "log_loss": found.log_loss,
        "entropy": found.entropy,
        "auc": found.auc,
        "auc_low": found.auc_low,
        "auc_high": found.auc_high,
        "outside": found.outside,
        "overlap": found.overlap,
    }


def _judged(found: dict[str, Any]) -> list[str]:
    """How well a row tells its arm."""
    gain = 1 - found["log_loss"] / found["entropy"]
    lines = [
        f"P(arm | row) has a held-out log loss of {found['log_loss']:.4f} nats, "
        + (f"{gain:.1%} below" if gain > 0 else "no better than")
        + f" the {found['entropy']:.4f} of knowing the shares alone."
    ]
    if found["auc"] is not None:
        low, high = found["auc_low"], found["auc_high"]
        alike = low <= 0.5 <= high or found["auc"] < 0.5
        said = (
            "no difference between what the arms show is shown"
            if alike
            else "the arms show different things"
        )
        lines.append(f"AUC {found['auc']:.3f} (95 % interval {low:.3f} to {high:.3f}): {said}.")
    lines.append(
        f"{found['outside']:.1%} of the rows have a chance outside [.05, .95] for some arm; there "
        "weighted training is close to splitting."
    )
    return lines
