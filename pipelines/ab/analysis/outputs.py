"""An analysis as files and as a run: the page, the JSON of its facts, pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fulcrum.features.errors import ConfigError
from fulcrum.features.staging import full_disk, staged
from fulcrum.pipelines.ab.analysis import figures
from fulcrum.pipelines.ab.analysis.analyse import analyse
from fulcrum.pipelines.ab.analysis.facts import Facts, to_json
from fulcrum.pipelines.ab.analysis.page import render
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.config.load import to_yaml
from fulcrum.pipelines.figures.run import save
from fulcrum.pipelines.tracking.mlflow import MlflowTracker, start_run

PAGE, NUMBERS, CONFIG = "report.html", "analysis.json", "experiment.yaml"
RUNS = "ab"
"""The experiment of MLflow that analyses are runs of."""


@dataclass(frozen=True)
class Analysis:
    """What is told at the end."""

    facts: Facts
    folder: Path


def analyze(logs: Sequence[str], experiment: Experiment, output: Path, tracking: str) -> Analysis:
    """Analyse a log, write the report and log it as a run.

    `output` is replaced if it holds an analysis. Raises as `analysis.analyse` does, ConfigError
    for a folder that holds something else, and ResourceError where files or the run cannot be
    written; nothing is left behind then.
    """
    _check_output(output)
    facts = analyse(logs, experiment)
    with staged(output, replace=True) as folder:
        write(facts, folder)
        (folder / CONFIG).write_text(to_yaml(experiment), encoding="utf-8")
    _log(facts, output, tracking)
    return Analysis(facts, output)


def write(facts: Facts, folder: Path) -> None:
    """The page, the numbers and the pictures."""
    with full_disk(folder):
        (folder / "figures").mkdir()
        files = {
            name: save(figure, folder / "figures" / f"{name}.png")
            for name, figure in figures.draw(facts).items()
        }
        (folder / PAGE).write_text(render(facts, files), encoding="utf-8")
        (folder / NUMBERS).write_text(to_json(facts), encoding="utf-8")


def _check_output(output: Path) -> None:
    if output.is_dir() and any(output.iterdir()) and not (output / NUMBERS).exists():
        raise ConfigError(f"--output: {output} holds something else than an analysis")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output: {output} is a file; expected a folder")


def _log(facts: Facts, folder: Path, uri: str) -> None:
    run = start_run(uri, RUNS, facts.experiment)
    with MlflowTracker(uri, run) as tracker:
        tracker.log_params({"arms": list(facts.arms), "control": facts.control})
        tracker.log_tags(
            {
                "decision": facts.decision,
                **{f"decision.{one.arm}": one.decision for one in facts.decisions},
                "verdict": facts.headline,
                "withheld": facts.withheld,
            }
        )
        tracker.log_metrics(dict(_metrics(facts)), step=0)
        for name in (PAGE, NUMBERS, CONFIG):
            tracker.log_artifact(folder / name)
        for picture in sorted((folder / "figures").glob("*.png")):
            tracker.log_artifact(picture, "figures")


def _metrics(facts: Facts) -> Iterator[tuple[str, float]]:
    for check in facts.checks:
        if check.name == "sample ratio":
            yield "sample_ratio_p", check.numbers["p_value"]
    for judged in facts.judged:
        name = f"{judged.metric}/{judged.arm}"
        if judged.against != facts.control:
            name += f"-{judged.against}"
        effect = judged.effect
        for part in ("difference", "low", "high", "p_value"):
            yield f"{part}/{name}", getattr(effect, part)
        yield f"adjusted_p/{name}", judged.adjusted_p
        yield f"detectable/{name}", judged.detectable
    if facts.interference is not None:
        yield "propensity_log_loss", facts.interference.log_loss
