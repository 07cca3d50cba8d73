"""Is it a fair test? Checks that come before any effect, the deal of units first."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from fulcrum.features.errors import DataError, listed
from fulcrum.pipelines.ab.analysis.checks.balance import LOUD, balance
from fulcrum.pipelines.ab.analysis.checks.concentration import concentration
from fulcrum.pipelines.ab.analysis.checks.denominators import denominators
from fulcrum.pipelines.ab.analysis.checks.imbalance import located
from fulcrum.pipelines.ab.analysis.checks.ramps import ramp
from fulcrum.pipelines.ab.analysis.checks.tails import tails
from fulcrum.pipelines.ab.analysis.facts import Check
from fulcrum.pipelines.ab.analysis.sentences import p, percent
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.staged import ARM, segment
from fulcrum.pipelines.ab.log.units import CAME, DAY, FIRST, PERIOD, ROWS, Units
from fulcrum.pipelines.ab.statistics import effects, sample_ratio
from fulcrum.pipelines.ab.statistics.multiplicity import holm
from fulcrum.pipelines.ab.statistics.users import Users

FEW = 0.01
"""Share of units in both arms, of rows of nobody or of repeated rows that may be overlooked."""


def checks(units: Units, experiment: Experiment) -> list[Check]:
    """All of them, in the order in which they matter."""
    return [
        *_sample_ratio(units, experiment),
        *ramp(units, experiment),
        *_nobody(units, experiment),
        _crossed(units),
        *_repeated(units, experiment),
        *concentration(units, experiment),
        *_missing(units, experiment),
        *balance(units, experiment),
        *denominators(units, experiment),
        *tails(units, experiment),
    ]


def _sample_ratio(units: Units, experiment: Experiment) -> Iterator[Check]:
    designed = {name: arm.share for name, arm in experiment.arms.items()}
    frame, analysed = units.frame, _counts(units.frame)
    shares = _due(units, frame, designed)
    if units.assigned is not None:
        yield _ratio("sample ratio of the deal", "units that were assigned", units.assigned, shares)
    dealt = _ratio("sample ratio", "units that the log has", units.dealt, shares)
    yield located(dealt, units, shares)
    if {arm: analysed.get(arm, 0) for arm in shares} != units.dealt:
        yield _ratio("sample ratio after filters", "units that are analysed", analysed, shares)
    assert experiment.analysis is not None
    parts = {f"By {name}": (name, _values(frame, name)) for name in experiment.analysis.segments}
    if not frame[FIRST].null_count():
        parts["By the day on which units came"] = "day", _days(frame)
    for subject, (what, values) in parts.items():
        due = {name: _due(units, part, designed) for name, part in values.items()}
        yield _by(what, subject, values, due)
    if not frame[FIRST].null_count():
        yield _early(units, designed)


def _due(units: Units, part: pl.DataFrame, designed: Mapping[str, float]) -> Mapping[str, float]:
    """Shares of some units under which they came: of their periods, where shares changed."""
    if units.ramp is None:
        return designed
    sizes = np.bincount(part[PERIOD].to_numpy(), minlength=len(units.ramp.shares)) / len(part)
    return {
        arm: float(sum(n * shares[arm] for n, shares in zip(sizes, units.ramp.shares, strict=True)))
        for arm in designed
    }


def _ratio(name: str, what: str, counts: Mapping[str, int], shares: Mapping[str, float]) -> Check:
    ratio = sample_ratio.check(counts, shares)
    sizes = [
        f"{ratio.counts[arm]:,} in {arm} ({ratio.expected[arm]:,.0f} due)" for arm in ratio.counts
    ]
    verdict = "as designed" if ratio.holds else "not as designed: the deal or the log is broken"
    return Check(
        name,
        ratio.holds,
        True,
        f"Of the {what}, {listed(sizes)}: {verdict} ({p(ratio.p_value)}; alarm below "
        f"{sample_ratio.ALARM:g}).",
        {"p_value": ratio.p_value, **{f"units.{arm}": n for arm, n in ratio.counts.items()}},
    )


def _by(
    what: str,
    subject: str,
    parts: Mapping[str, pl.DataFrame],
    shares: Mapping[str, Mapping[str, float]],
) -> Check:
    """The same within parts of the units, all at once."""
    adjusted = holm(
        [sample_ratio.check(_counts(part), shares[name]).p_value for name, part in parts.items()]
    )
    wrong = [name for name, q in zip(parts, adjusted, strict=True) if q < LOUD]
    least = min(adjusted)
    verdict = f"not as designed in {listed(wrong)}" if wrong else "as designed in each"
    return Check(
        f"sample ratio by {what}",
        not wrong,
        True,
        f"{subject}, {len(parts)} values: {verdict} (smallest {p(least)} after Holm).",
        {"p_value": least, "values": len(parts)},
    )


def _days(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {_date(day[CAME][0]): day for _, day in frame.group_by(CAME, maintain_order=True)}


def _values(frame: pl.DataFrame, name: str) -> dict[str, pl.DataFrame]:
    column = segment(name)
    return {
        part[column][0]: part
        for _, part in frame.sort(column).group_by(column, maintain_order=True)
    }


def _early(units: Units, designed: Mapping[str, float]) -> Check:
    """In each period of constant shares."""
    frame = units.frame
    parts = [frame] if units.ramp is None else frame.partition_by(PERIOD, maintain_order=True)
    highest = max(
        float(sample_ratio.sequential(part[ARM], _due(units, part, designed)).max())
        for part in parts
    ) - math.log(len(parts))
    holds = highest < math.log(1 / LOUD)
    return Check(
        "sample ratio along the way",
        holds,
        True,
        "Looked at after every unit (Lindon and Malek), the largest Bayes factor for other shares "
        f"is {math.exp(min(highest, 700)):.2g}: {'no alarm' if holds else 'an alarm'} (alarm from "
        f"{1 / LOUD:g} on).",
        {"log_bayes_factor": highest},
    )


def _nobody(units: Units, experiment: Experiment) -> Iterator[Check]:
    """Such rows are of many units, and who knows in which arms those lose more of them."""
    if not units.nobody:
        return
    total = units.rows + units.nobody
    share = units.nobody / total
    many = (
        f"; that is more than {percent(FEW, sign=False)}, and may be more in one arm: mend the "
        f"log, or leave them out knowingly by `analysis.log.where`"
    )
    yield Check(
        "rows of nobody",
        share <= FEW,
        True,
        f"{units.nobody:,} of {total:,} rows of the test name nobody in `{experiment.unit}` (null, "
        f"NaN or empty; {percent(share, sign=False)}); they are left out"
        f"{many if share > FEW else ''}.",
        {"rows": units.nobody, "share": share},
    )


def _crossed(units: Units) -> Check:
    total = len(units.frame) + units.crossed
    share = units.crossed / total
    return Check(
        "one arm a unit",
        share <= FEW,
        False,
        f"{units.crossed:,} of {total:,} units were in several arms"
        + (f" ({percent(share, sign=False)}); they are left out." if units.crossed else "."),
        {"units": units.crossed, "share": share},
    )


def _repeated(units: Units, experiment: Experiment) -> Iterator[Check]:
    """Only where unit and time are known: two rows of nobody in particular may be alike."""
    if experiment.unit is None or units.began is None:
        return
    share = units.repeated / units.rows
    yield Check(
        "repeated rows",
        share <= FEW,
        False,
        f"{units.repeated:,} of {units.rows:,} rows say exactly what another one says"
        + (f" ({percent(share, sign=False)}); they are counted." if units.repeated else "."),
        {"rows": units.repeated, "share": share},
    )


def _missing(units: Units, experiment: Experiment) -> Iterator[Check]:
    """A row without an outcome counts as 0, which is fair while arms miss equally many."""
    for metric in units.metrics:
        rows = {arm: units.arm(arm)[ROWS].to_numpy().astype(float) for arm in experiment.arms}
        lost = {
            arm: units.arm(arm)[f"missing.{metric}"].to_numpy().astype(float)
            for arm in experiment.arms
        }
        if not any(column.any() for column in lost.values()):
            continue
        shares = {arm: float(lost[arm].sum() / rows[arm].sum()) for arm in rows}
        least = 1.0
        for arm in experiment.arms:
            if arm == experiment.control:
                continue
            pair = [Users(lost[a], rows[a]) for a in (experiment.control, arm)]
            least = min(least, _p_value(*pair))
        rates = [f"{percent(share, sign=False)} in {arm}" for arm, share in shares.items()]
        yield Check(
            f"missing outcomes of {metric}",
            least >= LOUD,
            False,
            f"{metric} is missing in {listed(rates)} of the rows, which then count as 0: "
            + ("alike" if least >= LOUD else "the arms differ, so the effect is in doubt")
            + f" ({p(least)}).",
            {"p_value": least, **{f"share.{arm}": share for arm, share in shares.items()}},
        )


def _p_value(control: Users, treatment: Users) -> float:
    try:
        return effects.compare(control, treatment).p_value
    except DataError:
        return 1.0 if control.value == treatment.value else 0.0


def _counts(frame: pl.DataFrame) -> dict[str, int]:
    return dict(frame.group_by(ARM).len().sort(ARM).iter_rows())


def _date(day: int) -> str:
    return f"{np.datetime64(day * DAY, 'us').astype('datetime64[D]')}"
