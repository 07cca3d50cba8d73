"""A study in the loop, as a person reads it: tables, then what they say."""

from collections.abc import Callable

from rich import box
from rich.table import Table
from scipy import stats

from fulcrum.features.errors import listed
from fulcrum.pipelines.ab.simulation.loop.play import METRICS, LoopConfig
from fulcrum.pipelines.ab.simulation.loop.study import ALPHA, Line, Study

ENOUGH = 50
"""Replications below which spreads are not compared: over 20, which is larger is chance."""
NOTE = (
    "The paper (Si, arXiv 2310.17496) played a world of its own, whose coefficients it does not "
    "give: compare directions, not sizes."
)


def table(config: LoopConfig, study: Study) -> Table:
    """A line for each metric and design: how far from the truth, or how often wrong in an A/A."""
    treated = (
        f"{study.share:.0%} treated, {study.replications} replications of {config.steps} steps"
    )
    grid = Table(title=treated, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD)
    if not config.null:
        grid.caption = NOTE
    grid.add_column("metric")
    grid.add_column("design")
    columns = REJECTIONS if config.null else ERRORS
    for heading in columns:
        grid.add_column(heading, justify="right")
    for metric in METRICS:
        lines = [line for line in study.lines if line.metric == metric]
        for line in lines:
            name = metric if line is lines[0] else ""
            cells = [cell(line) for cell in columns.values()]
            grid.add_row(name, line.design, *cells, end_section=line is lines[-1])
    return grid


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


ERRORS: dict[str, Callable[[Line], str]] = {
    "true effect": lambda x: f"{x.truth:+.3f}",
    "bias": lambda x: f"{x.bias:+.4f} ± {x.bias_se:.4f}",
    "of pooling's": lambda x: _or_dash(x.left, "{:.0%}"),
    "std": lambda x: f"{x.std:.4f}",
    "RMSE": lambda x: f"{x.rmse:.4f}",
    "usual s.e.": lambda x: f"{x.naive_se:.4f}",
    "bias in\nthe paper": lambda x: _or_dash(x.paper_bias, "{:+.3f}"),
    "std in\nthe paper": lambda x: _or_dash(x.paper_std, "{:.3f}"),
}
"""Heading to cell, where there is an effect to find."""
REJECTIONS: dict[str, Callable[[Line], str]] = {
    "bias": ERRORS["bias"],
    "std": ERRORS["std"],
    "usual s.e.": ERRORS["usual s.e."],
    "usual test\nrejects": lambda x: f"{x.rejected:.0%}",
    "test over instances\nrejects": lambda x: _or_dash(x.rejected_by_instances, "{:.0%}"),
}
"""The same in an A/A."""


def sentences(config: LoopConfig, study: Study) -> list[str]:
    """What came out, in words."""
    return _null(study) if config.null else _effect(study)


def _effect(study: Study) -> list[str]:
    lines = [_bias(study), _spread(study), _splitting(study), _naive(study)]
    return [sentence for sentence in lines if sentence]


def _bias(study: Study) -> str:
    left = {
        m: study.line("weighted", m).left for m in METRICS if _has(study, "weighted", "pooling")
    }
    known = {metric: share for metric, share in left.items() if share is not None}
    if not known:
        return ""
    worst = max(known, key=lambda metric: known[metric])
    half = "less" if known[worst] < 0.5 else "more"
    return (
        f"Weighted training leaves at most {known[worst]:.0%} of pooling's bias ({worst}), {half} "
        "than half."
    )


def _spread(study: Study) -> str:
    """Whether weighting varies less than splitting; few replications do not tell."""
    if not _has(study, "weighted", "splitting") or study.replications < ENOUGH:
        return ""
    ratios = [study.line("weighted", m).std / study.line("splitting", m).std for m in METRICS]
    return (
        f"Its estimates vary {min(ratios):.2f} to {max(ratios):.2f} times as much as splitting's."
    )


def _splitting(study: Study) -> str:
    """Whether splitting does as well as weighting, by root mean square error."""
    if not _has(study, "weighted", "splitting"):
        return ""
    as_well = [
        m for m in METRICS if study.line("splitting", m).rmse <= study.line("weighted", m).rmse
    ]
    if not as_well:
        return "Splitting has the larger root mean square error on every metric."
    return (
        f"Splitting does as well on {listed(as_well)}: its root mean square error is no larger. "
        "Models of 22 numbers need few rows; it falls behind where models need many or an arm is "
        "small."
    )


def _naive(study: Study) -> str:
    ratios = [line.std / line.naive_se for line in study.lines]
    return (
        f"The usual standard error is too small: estimates vary {min(ratios):.1f} to "
        f"{max(ratios):.1f} times as much, since models that keep learning are a source of chance, "
        "too."
    )


def _null(study: Study) -> list[str]:
    verdicts = []
    for design in dict.fromkeys(line.design for line in study.lines):
        lines = [line for line in study.lines if line.design == design]
        high = _most(study.replications)
        worst = max(lines, key=lambda line: line.rejected)
        if worst.rejected > high:
            verdicts.append(
                f"{design}: the usual test is wrong. It sees a difference on {worst.metric} in "
                f"{worst.rejected:.0%} of tests without one; 5 % would be right."
            )
        else:
            verdicts.append(
                f"{design}: the usual test rejects at most {worst.rejected:.0%}, as it may."
            )
        by_instances = [x for x in lines if x.rejected_by_instances is not None]
        if by_instances:
            most = max(x.rejected_by_instances or 0.0 for x in by_instances)
            holds = "holds" if most <= high else "does not hold"
            verdicts.append(
                f"{design}: the interval over instances {holds}, with at most {most:.0%}."
            )
    return verdicts


def _most(replications: int) -> float:
    """Share of rejections that a right test stays below with probability 0.999: several are looked
    at."""
    return float(stats.binom.isf(0.001, replications, ALPHA)) / replications


def _has(study: Study, *designs: str) -> bool:
    return set(designs) <= {line.design for line in study.lines}
