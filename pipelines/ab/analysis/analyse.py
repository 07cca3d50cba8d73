"""From a log to facts: validity first, then effects, then what stands behind them."""

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.analysis import interference, over_time, policies
from fulcrum.pipelines.ab.analysis import sentences as words
from fulcrum.pipelines.ab.analysis.facts import VERSION, Facts, LogFacts, Metric
from fulcrum.pipelines.ab.analysis.segments import by_segment
from fulcrum.pipelines.ab.analysis.validity import checks
from fulcrum.pipelines.ab.analysis.verdicts import judge
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.gather import gather
from fulcrum.pipelines.ab.log.staged import numerator, stage
from fulcrum.pipelines.ab.log.units import Units

T = TypeVar("T")
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
    rows = stage(logs, experiment, scratch)
    units = gather(rows, experiment)
    analysis = experiment.analysis
    assert analysis is not None
    found = checks(units, experiment)
    stops = [check for check in found if check.stops and not check.holds]
    notes = list(_notes(units, experiment))
    metrics: list[Metric] = []
    courses, days, segments, values, panel = [], [], None, [], None
    if stops:
        headline = words.withheld(stops)
    else:
        logger.info("comparing %d metrics", len(analysis.metrics))
        metrics = judge(units, experiment)
        primary = metrics[0].name
        notes += [f"{m.name} is not compared: {m.problem}." for m in metrics if m.problem]
        if analysis.segments:
            segments = by_segment(units, experiment, primary)
        if analysis.sequential is not None:
            found_courses = _or_note(
                lambda: over_time.courses(units, experiment, primary), "Looking early", notes
            )
            courses = found_courses or []
        days = _or_note(lambda: over_time.daily(units, experiment, primary), "Trend", notes) or []
        if analysis.off_policy is not None:
            logger.info("valuing policies")
            rewards = policies.read(units, experiment, primary)
            found_values = _or_note(
                lambda: policies.values(rewards, experiment), "Policies are not valued", notes
            )
            values = found_values or []
        if analysis.interference is not None:
            logger.info("telling arms apart")
            panel = _or_note(
                lambda: interference.panel(rows, units, experiment, scratch),
                "Whether the arms learn from each other is not told",
                notes,
            )
        doubts = [check for check in found if not check.holds]
        headline = (words.doubted(doubts) if doubts else "") + " ".join(
            effect.sentences[0] for effect in metrics[0].effects
        )
    return Facts(
        VERSION,
        experiment.name,
        experiment.unit,
        experiment.control,
        tuple(experiment.arms),
        analysis.alpha,
        headline,
        bool(stops),
        _log_facts(units, experiment),
        tuple(found),
        tuple(metrics),
        segments,
        tuple(courses),
        tuple(days),
        tuple(values),
        panel,
        tuple(notes),
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
        notes.append(words.UNIT_NOTE)
    period = experiment.analysis.pre_period
    if period is not None and not units.before:
        notes.append(
            f"The log has no row from before {period.until}, so there is no pre-period: effects "
            "are not adjusted, and balance before the test is not checked."
        )
    elif period is not None and not _covered(units):
        notes.append(
            f"No unit of the test has a row from before {period.until}: effects are not adjusted, "
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
