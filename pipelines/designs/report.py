"""What is known of a design's weights, in numbers, words and pictures."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fulcrum.pipelines.designs import DesignConfig, LoggedRows
from fulcrum.pipelines.designs.propensity import Propensity, effective

logger = logging.getLogger(__name__)

FOLDER = "propensity"
"""Below the prepared data set, and in the run."""
FACTS = "report.json"
ACCURACY = ("log_loss", "entropy", "auc", "auc_low", "auc_high", "outside", "overlap")
"""Of P(arm | row), what the facts hold."""
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


@dataclass(frozen=True)
class Report:
    """What is known of the weights of a prepared data set."""

    folder: Path
    """Holds the facts as JSON, and pictures where P(arm | row) was fitted."""
    facts: dict[str, Any]

    @classmethod
    def open(cls, dataset: Path) -> "Report":
        """Read what `write_report` left in a data set's folder."""
        folder = dataset / FOLDER
        return cls(folder, json.loads((folder / FACTS).read_text(encoding="utf-8")))

    @property
    def sentences(self) -> list[str]:
        """The facts in words, what is wrong among them."""
        arms, rows = self.facts["arms"], self.facts["rows"]
        lines = [
            f"Design `{self.facts['design']}` for the model of arm `{self.facts['arm']}`: the log "
            f"has {rows['test']:,} rows of the test and {rows['before']:,} rows outside it."
        ]
        for name, arm in arms.items():
            lines.append(
                f"Arm `{name}`: {arm['rows']:,} rows of {arm['units']:,} units, {arm['share']:.1%} "
                "of the test. Weighted to its law, all rows of the test are worth "
                f"{arm['effective']:.1%} of them (effective sample size; its own rows alone: "
                f"{arm['share']:.1%}). Mean weight {arm['mean']:.3f}, largest {arm['largest']:.2f} "
                f"(1 / share is {1 / arm['share']:.2f})."
            )
        propensity = self.facts["propensity"]
        if propensity is None:
            return lines
        lines += _judgement(propensity)
        lines += [
            f"Warning: the weights of arm `{name}` have mean {arm['mean']:.3f} instead of 1: its "
            "P(arm | row) is badly calibrated; `calibrate: sigmoid` or fewer features may help."
            for name, arm in arms.items()
            if abs(arm["mean"] - 1) > TOLERANCE
        ]
        lines += [
            f"Warning: in {share:.0%} of the rows the value of `{name}` belongs to one unit, so it "
            "tells who the user is, whose arm never changes; leave it out of `propensity.features`."
            for name, share in self.facts["lonely"].items()
            if share > LONELY
        ]
        return lines

    def log(self) -> None:
        """Log the sentences."""
        for line in self.sentences:
            level = logging.WARNING if line.startswith("Warning") else logging.INFO
            logger.log(level, "%s", line)

    def metrics(self) -> dict[str, float]:
        """The numbers under names of their own."""
        arms, propensity = self.facts["arms"], self.facts["propensity"] or {}
        numbers = {f"{k}/{name}": v for name, arm in arms.items() for k, v in arm.items()}
        return {
            f"{FOLDER}/{name}": float(value)
            for name, value in (numbers | propensity).items()
            if value is not None
        }


def write_report(
    dataset: Path,
    design: DesignConfig,
    rows: LoggedRows,
    weights: np.ndarray,
    units: np.ndarray,
    propensity: Propensity | None,
    lonely: Mapping[str, float],
) -> None:
    """Put facts and pictures into a data set's folder. `weights` `(n, K)` and `units` `(n,)` are
    those of all logged rows, `lonely` the shares of `identifying_features.lonely`."""
    folder = dataset / FOLDER
    folder.mkdir()
    arms = {name: asdict(_facts(k, rows, weights, units)) for k, name in enumerate(rows.names)}
    facts = {
        "design": design.design,
        "arm": design.arm,
        "rows": {"test": int(rows.test.sum()), "before": int((~rows.test).sum())},
        "arms": arms,
        "propensity": propensity and {name: getattr(propensity, name) for name in ACCURACY},
        "lonely": dict(lonely),
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    if propensity is not None:
        from fulcrum.pipelines.designs import figures

        figures.draw(propensity, weights[rows.test], folder)


def _facts(k: int, rows: LoggedRows, weights: np.ndarray, units: np.ndarray) -> ArmFacts:
    of_arm, of_test = rows.arm == k, weights[rows.test, k]
    return ArmFacts(
        rows=int(of_arm.sum()),
        units=len(np.unique(units[of_arm])),
        share=float(rows.shares[k]),
        mean=float(of_test.mean()),
        largest=float(of_test.max()),
        effective=effective(of_test),
    )


def _judgement(propensity: Mapping[str, Any]) -> list[str]:
    """How well a row tells its arm."""
    gain = 1 - propensity["log_loss"] / propensity["entropy"]
    lines = [
        f"P(arm | row) has a held-out log loss of {propensity['log_loss']:.4f} nats, "
        + (f"{gain:.1%} below" if gain > 0 else "no better than")
        + f" the {propensity['entropy']:.4f} of knowing the shares alone."
    ]
    if propensity["auc"] is not None:
        low, high = propensity["auc_low"], propensity["auc_high"]
        verdict = (
            "no difference between what the arms show is shown"
            if low <= 0.5 <= high or propensity["auc"] < 0.5
            else "the arms show different things"
        )
        interval = f"95 % interval {low:.3f} to {high:.3f}"
        lines.append(f"AUC {propensity['auc']:.3f} ({interval}): {verdict}.")
    lines.append(
        f"{propensity['outside']:.1%} of the rows have a chance outside [.05, .95] for some arm; "
        "there weighted training is close to splitting."
    )
    return lines
