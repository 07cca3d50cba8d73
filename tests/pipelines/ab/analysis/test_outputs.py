"""A whole analysis: its words, its files and its run, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fulcrum.pipelines.ab.analysis import facts
from fulcrum.pipelines.ab.analysis.outputs import CONFIG, NUMBERS, PAGE, RUNS, Analysis, analyze
from fulcrum.pipelines.ab.log.experiment import Experiment, problems
from fulcrum.pipelines.config.load import read, to_yaml
from fulcrum.pipelines.tracking.mlflow import client
from tests.pipelines.ab.logs import BEGAN, experiment, log
from tests.pipelines.comparison.test_page import Parsed

LIFT = 0.05
RICH = {
    "metrics": {
        "ctr": {"kind": "ratio", "numerator": "click", "role": "primary"},
        "watch": {"kind": "mean", "value": "watch", "winsorise": 0.999},
        "rows": {"kind": "mean", "value": "1", "role": "guardrail", "margin": 0.5},
        "nothing": {
            "kind": "ratio",
            "numerator": "click",
            "denominator": "0",
            "role": "exploratory",
        },
    },
    "segments": {"country": "country"},
    "pre_period": {"until": BEGAN},
    "plan": {"kind": "sequential", "tuned_for": 1000},
    "log": {"time": {"column": "time"}, "instance": "instance", "version": "version"},
    "interference": {"features": {"item": {"kind": "categorical"}}, "folds": 2},
    "off_policy": {"propensity": "chance", "action": "item"},
}
FIGURES = ["days", "effects", "over_time", "propensity", "segments"]


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory, store: str) -> Analysis:
    """A test in which everything can be told; treatment shows item 0 more often than chance."""
    folder = tmp_path_factory.mktemp("rich")
    log(users=1500, lift=LIFT, before=7, favoured=0.2).with_columns(
        pl.when(arm="treatment", item=0)
        .then(0.2 + 0.8 / 20)
        .when(arm="treatment")
        .then(0.8 / 20)
        .otherwise(1 / 20)
        .alias("chance"),
        (pl.col("time").dt.day() // 8).alias("version"),
    ).write_parquet(folder / "log.parquet")
    return analyze([str(folder / "log.parquet")], experiment(**RICH), folder / "out", store)


def test_the_planted_effect_is_found(rich: Analysis) -> None:
    primary = rich.facts.metrics[0].effects[0]
    assert primary.verdict == "better"
    for effect in (primary.raw, primary.bootstrap, primary.effect):
        assert effect.low < LIFT < effect.high
    assert primary.agree
    assert primary.cuped is not None and primary.cuped.correlation > 0.3
    explained = 1 - primary.cuped.correlation**2
    assert primary.cuped.effect.se**2 == pytest.approx(explained * primary.raw.se**2, rel=0.01)
    assert primary.instances is not None
    assert primary.instances.replicated.low < LIFT < primary.instances.replicated.high
    assert primary.instances.total_se >= primary.raw.se


def test_every_part_says_something(rich: Analysis) -> None:
    answers = rich.facts
    assert [metric.name for metric in answers.metrics] == ["ctr", "watch", "rows", "nothing"]
    assert answers.metrics[2].effects[0].guardrail == "passes"
    assert answers.metrics[3].problem is not None
    assert answers.sound and not answers.withheld
    assert answers.segments is not None and len(answers.segments.effects) == 3
    assert answers.over_time[0].p[-1] < 0.05
    assert len(answers.days[0].days) == 7
    assert answers.days[0].retrained == ("2024-03-08",)
    assert len(answers.off_policy) == 2
    assert answers.interference is not None


def test_what_is_told_is_told_once_and_holds_every_part(rich: Analysis) -> None:
    lines, answers = rich.facts.sentences, rich.facts
    assert len(lines) == len(set(lines))
    assert lines[0].startswith("treatment: ship. ctr is better by +0.0")
    assert lines[0].endswith(", and the guard-rail rows holds.")
    assert lines[1].startswith("ctr is better in treatment than in control: ")
    assert answers.interference is not None
    for sentence in (
        *[v.sentence for v in answers.off_policy],
        *answers.interference.sentences,
    ):
        assert sentence in lines
    assert any("nothing is not compared: " in line and "is 0 for" in line for line in lines)


def test_numbers_round_trip_through_json(rich: Analysis) -> None:
    text = (rich.folder / NUMBERS).read_text()
    assert facts.from_json(text) == rich.facts == facts.load(rich.folder / NUMBERS)
    assert json.loads(text)["version"] == facts.VERSION
    assert "NaN" not in text and "Infinity" not in text


def test_the_page_is_whole_and_needs_nothing_else(rich: Analysis) -> None:
    html = (rich.folder / PAGE).read_text()
    page = Parsed(html)
    assert page.open == []
    assert len(page.loaded) == len(FIGURES)
    assert all(source.startswith("data:image/png;base64,") for source in page.loaded)
    assert "http" not in html
    assert html.count("<img ") == html.count('" alt="') == len(FIGURES)
    assert {"nan", "None", "inf", "True", "False"}.isdisjoint(page.words)
    text = " ".join(page.words)
    for sentence in rich.facts.sentences:
        assert " ".join(sentence.split()) in text


def test_the_experiment_is_kept_as_it_was_read(rich: Analysis) -> None:
    assert read(Experiment, rich.folder / CONFIG, (), problems) == experiment(**RICH)


def test_the_run_holds_numbers_words_and_files(rich: Analysis, store: str) -> None:
    store_client = client(store)
    runs = store_client.get_experiment_by_name(RUNS)
    assert runs is not None
    (run,) = store_client.search_runs(
        [runs.experiment_id], "tags.withheld = 'False' and run_name = 'shop'"
    )
    effect = rich.facts.metrics[0].effects[0].effect
    assert run.info.status == "FINISHED"
    assert run.data.metrics["difference/ctr/treatment"] == effect.difference
    assert run.data.metrics["low/ctr/treatment"] == effect.low
    assert run.data.metrics["sample_ratio_p"] == rich.facts.checks[0].numbers["p_value"]
    assert run.data.tags["decision"] == run.data.tags["decision.treatment"] == "ship"
    assert run.data.tags["verdict"] == rich.facts.headline
    files = {item.path for item in store_client.list_artifacts(run.info.run_id)}
    assert {PAGE, NUMBERS, CONFIG, "figures"} <= files
    pictures = [item.path for item in store_client.list_artifacts(run.info.run_id, "figures")]
    assert sorted(pictures) == [f"figures/{name}.png" for name in FIGURES]


Write = Callable[..., list[object]]


@pytest.fixture
def written(tmp_path: Path, store: str) -> Write:
    """Puts a log and its experiment into a folder; gives the command."""

    def write(rows: pl.DataFrame, test: Experiment | None = None) -> list[object]:
        rows.write_parquet(tmp_path / "log.parquet")
        (tmp_path / "test.yaml").write_text(to_yaml(test or experiment()))
        files = [tmp_path / "log.parquet", "--experiment", tmp_path / "test.yaml"]
        return ["ab", "analyze", *files, "--output", tmp_path / "out", "--tracking", store]

    return write


def test_a_broken_deal_withholds_effects(fulcrum: Any, written: Write, tmp_path: Path) -> None:
    """A third of treatment's users lost their rows; clicks are the same."""
    rows = log(users=2000)
    lost = (pl.col("arm") == "treatment") & (pl.col("user_id") % 3 == 0)
    done = fulcrum(*written(rows.filter(~lost), experiment(segments={"country": "country"})))
    assert done.code == 1
    assert done.stdout.startswith("treatment: broken. Failed: sample ratio, ")
    assert "not as designed: the deal or the log is broken" in done.stdout
    assert "interval" not in done.stdout
    result = facts.load(tmp_path / "out" / NUMBERS)
    assert result.decision == "broken"
    assert result.withheld and result.judged == [] and result.segments is None and not result.days
    text = " ".join(Parsed((tmp_path / "out" / PAGE).read_text()).words)
    assert "Effects are withheld" in text
    assert "difference" not in text


def test_a_report_replaces_a_report_and_nothing_else(
    fulcrum: Any, written: Write, tmp_path: Path
) -> None:
    lost = log(users=300).filter((pl.col("arm") == "control") | (pl.col("user_id") % 2 == 0))
    command = written(lost)
    assert [fulcrum(*command).code for _ in range(2)] == [1, 1]
    (tmp_path / "out" / NUMBERS).unlink()
    done = fulcrum(*command)
    assert (done.code, done.stdout) == (2, "")
    assert "holds something else than an analysis" in done.stderr
    assert (tmp_path / "out" / PAGE).exists()


@pytest.mark.parametrize(
    ("lift", "decision", "code"),
    [(0.2, "ship", 0), (-0.2, "do not ship", 3), (0.0, "keep running", 4)],
)
def test_the_exit_code_is_the_decision(
    lift: float, decision: str, code: int, fulcrum: Any, written: Write
) -> None:
    done = fulcrum(*written(log(users=400, lift=lift)))
    assert done.code == code, done.stderr
    assert done.stdout.startswith(f"treatment: {decision}. ")


def bad(name: str) -> tuple[pl.DataFrame, Experiment]:
    """A log or an experiment with one thing that is not right."""
    rows = log(users=200).with_columns(chance=pl.lit(0.05))
    treated = pl.col("arm") == "treatment"
    first = pl.int_range(pl.len()) == 0
    policy = {"off_policy": {"propensity": "chance", "action": "item"}}
    later = pl.when(treated).then(pl.col("time") + pl.duration(days=30)).otherwise("time")
    alternating = pl.Series("arm", ["control", "treatment"] * len(rows))[: len(rows)]
    cases: dict[str, tuple[pl.DataFrame, Experiment]] = {
        "users in both arms": (rows.with_columns(alternating), experiment()),
        "an arm without rows": (rows.filter(~treated), experiment()),
        "nothing to divide by": (
            rows,
            experiment(
                metrics={
                    "ctr": {
                        "kind": "ratio",
                        "numerator": "click",
                        "denominator": "0",
                        "role": "primary",
                    }
                }
            ),
        ),
        "arms one after the other": (rows.with_columns(time=later), experiment()),
        "propensity 0": (
            rows.with_columns(pl.when(first).then(0.0).otherwise("chance").alias("chance")),
            experiment(**policy),
        ),
        "propensity above 1": (
            rows.with_columns(pl.when(first).then(1.5).otherwise("chance").alias("chance")),
            experiment(**policy),
        ),
        "unit among features": (
            rows,
            experiment(interference={"features": {"user_id": {"kind": "categorical"}}}),
        ),
    }
    return cases[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("users in both arms", "units are in several arms, for example "),
        ("an arm without rows", "arm `treatment` has no row in the log; expected rows of each arm"),
        (
            "nothing to divide by",
            "analysis.metrics.ctr: arm `control`: the metric's denominator is 0",
        ),
        ("arms one after the other", "never at the same time, so that times, not arms, would be"),
        ("propensity 0", "`chance` is not above 0 and at most 1 in 1 of "),
        ("propensity above 1", "for example 1.5 in arm "),
        ("unit among features", "tells who the user is: it reads the unit `user_id`"),
    ],
)
def test_bad_input_gets_one_message_and_leaves_nothing(
    name: str, message: str, fulcrum: Any, written: Write, tmp_path: Path
) -> None:
    done = fulcrum(*written(*bad(name)))
    assert (done.code, done.stdout) == (2, "")
    [line] = [line for line in done.stderr.splitlines() if line[:8].count(":") != 2]
    assert message in line
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob("*out*")) == []
