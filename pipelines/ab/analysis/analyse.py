"""From a log to facts: validity first, then effects and decisions, then what stands behind them."""

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.analysis import (
    interference,
    over_time,
    policies,
    population,
    sentences,
)
from fulcrum.pipelines.ab.analysis.decision import decisions, overall
from fulcrum.pipelines.ab.analysis.facts import VERSION, Decision, Facts, LogFacts, Plan
from fulcrum.pipelines.ab.analysis.segments import by_segment
from fulcrum.pipelines.ab.analysis.validity import checks
from fulcrum.pipelines.ab.analysis.verdicts import judge
from fulcrum.pipelines.ab.log.comparisons import treatments
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.gather import gather, planned_end
from fulcrum.pipelines.ab.log.plan import SequentialPlan
from fulcrum.pipelines.ab.log.ramp import ramped
from fulcrum.pipelines.ab.log.staged import Log, numerator, stage
from fulcrum.pipelines.ab.log.units import Units

T = TypeVar("T")
NEARLY = 0.01
"""Share of a fixed plan's time that its last rows may be short of the end."""
logger = logging.getLogger(__name__)


def analyse(logs: Sequence[str], experiment: Experiment) -> Facts:
    """Everything that the experiment asks of its log.

    Effects are withheld when a check fails that stops. Raises ConfigError and DataError for what
    the user can put right.
    """
    with tempfile.TemporaryDirectory(prefix="fulcrum-ab-") as scratch:
        return _analyse(logs, experiment, Path(scratch))


def _analyse(logs: Sequence[str], experiment: Experiment, scratch: Path) -> Facts:
    logger.info("reading the log")
    log = stage(logs, experiment, scratch)
    units = ramped(gather(log, experiment), experiment)
    return of_units(units, log, experiment, scratch)


def of_units(units: Units, log: Log, experiment: Experiment, scratch: Path) -> Facts:
    """The same from units; `log` is read for the panel of interference alone."""
    assert experiment.analysis is not None
    validity = checks(units, experiment)
    stops = [check for check in validity if check.stops and not check.holds]
    plan = _plan(units, experiment, planned_end(experiment, log.data.time))
    made = decisions(treatments(experiment), validity, plan, ()) if stops else ()
    without_effects = Facts(
        version=VERSION,
        experiment=experiment.name,
        unit=experiment.unit,
        control=experiment.control,
        arms=tuple(experiment.arms),
        alpha=experiment.analysis.alpha,
        plan=plan,
        decision="broken",
        decisions=made,
        headline=_headline(made),
        withheld=bool(stops),
        log=_log_facts(units, experiment),
        checks=tuple(validity),
        metrics=(),
        segments=None,
        over_time=(),
        days=(),
        off_policy=(),
        interference=None,
        notes=tuple(_notes(units, experiment)),
    )
    return without_effects if stops else _compare(without_effects, log, units, experiment, scratch)


def _plan(units: Units, experiment: Experiment, end: datetime | None) -> Plan:
    """The declared plan, and whether the log has come to its end."""
    if end is None or units.began is None or units.ended is None:
        return Plan("sequential", None, True)
    missing = (end - units.ended) / (end - units.began)
    return Plan("fixed", end.isoformat(), missing <= NEARLY)


def _headline(made: Sequence[Decision]) -> str:
    return "\n".join(one.sentence for one in made)


def _compare(facts: Facts, log: Log, units: Units, experiment: Experiment, scratch: Path) -> Facts:
    """The facts with effects, and what stands behind them."""
    analysis = experiment.analysis
    assert analysis is not None
    logger.info("comparing %d metrics", len(analysis.metrics))
    doubts = [check.sentence for check in facts.checks if not check.holds]
    metrics = judge(units, experiment, facts.plan, doubts)
    made = decisions(treatments(experiment), facts.checks, facts.plan, metrics)
    primary = metrics[0].name
    notes = [
        *facts.notes,
        *(f"{m.name} is not compared: {m.problem}." for m in metrics if m.problem),
    ]
    segments = by_segment(units, experiment, primary) if analysis.segments else None
    courses, values, panel = None, None, None
    if isinstance(analysis.plan, SequentialPlan):
        courses = _or_note(
            lambda: over_time.courses(units, experiment, primary), "Looking early", notes
        )
    days = _or_note(lambda: over_time.daily(units, experiment, primary), "Trend", notes)
    if analysis.off_policy is not None:
        logger.info("valuing policies")
        rewards = policies.read(units, experiment, primary)
        values = _or_note(
            lambda: policies.values(rewards, experiment), "Policies are not valued", notes
        )
    if analysis.interference is not None:
        logger.info("telling arms apart")
        panel = _or_note(
            lambda: interference.panel(log, units, experiment, scratch),
            "Whether the arms learn from each other is not told",
            notes,
        )
    return replace(
        facts,
        decision=overall(made),
        decisions=made,
        headline=_headline(made),
        metrics=tuple(metrics),
        segments=segments,
        over_time=tuple(courses or ()),
        days=tuple(days or ()),
        off_policy=tuple(values or ()),
        interference=panel,
        notes=tuple(notes),
    )


def _or_note(ask: Callable[[], T], what: str, notes: list[str]) -> T | None:
    """The answer, or a note on why there is none."""
    try:
        return ask()
    except DataError as error:
        notes.append(f"{what}: {error}.")
        return None


def _notes(units: Units, experiment: Experiment) -> list[str]:
    assert experiment.analysis is not None
    notes = []
    if experiment.unit is None:
        notes.append(sentences.UNIT_NOTE)
    notes += population.notes(units)
    period = experiment.analysis.pre_period
    if period is not None and not units.before:
        notes.append(
            f"The log has no row from before {period.began}, so there is no pre-period: effects "
            "are not adjusted, and balance before the test is not checked."
        )
    elif period is not None and not _covered(units):
        notes.append(
            f"No unit of the test has a row from before {period.began}: effects are not adjusted, "
            "and balance before the test says nothing."
        )
    return notes


def _covered(units: Units) -> bool:
    """Whether any unit has a history."""
    return any(units.frame[f"before.{numerator(name)}"].count() for name in units.metrics)


def _log_facts(units: Units, experiment: Experiment) -> LogFacts:
    return LogFacts(
        rows=units.rows,
        units={arm: len(units.arm(arm)) for arm in experiment.arms},
        began=None if units.began is None else units.began.isoformat(),
        ended=None if units.ended is None else units.ended.isoformat(),
        before=units.before,
        outside=units.outside,
        filtered=units.filtered,
    )
