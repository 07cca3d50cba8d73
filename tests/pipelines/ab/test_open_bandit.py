"""The shipped test of two policies, whose honest verdict is that no difference is shown."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fulcrum.pipelines.ab.analysis import facts
from fulcrum.pipelines.ab.analysis.interference import panel
from fulcrum.pipelines.ab.analysis.outputs import NUMBERS, PAGE
from fulcrum.pipelines.ab.log.experiment import Experiment, problems
from fulcrum.pipelines.ab.log.gather import gather
from fulcrum.pipelines.ab.log.staged import stage
from fulcrum.pipelines.config.load import read

DATA = Path("data/open-bandit-women")
CONFIG = Path("configs/experiments/open-bandit-women.yaml")
QUICK = [f"analysis.interference.features.user_feature_{i}=null" for i in range(4)]
QUICK += ["analysis.interference.features.hour=null", "analysis.interference.folds=2"]


@pytest.fixture
def bandit_facts(fulcrum: Any, store: str, tmp_path: Path) -> facts.Facts:
    files = ["--output", tmp_path / "out", "--tracking", store]
    sets = [part for text in QUICK for part in ("--set", text)]
    done = fulcrum("ab", "analyze", DATA / "log", "--experiment", CONFIG, *files, *sets)
    assert done.code == 4, done.stderr
    assert done.stdout.startswith("bts: keep running. No difference shown in ctr yet: ")
    assert "every row is taken as a unit" in done.stdout
    assert (tmp_path / "out" / PAGE).exists()
    return facts.load(tmp_path / "out" / NUMBERS)


def test_no_difference_is_shown_and_one_policy_cannot_value_the_other(
    bandit_facts: facts.Facts,
) -> None:
    assert bandit_facts.sound and not bandit_facts.withheld
    assert [value.value for value in bandit_facts.metrics[0].arms] == [46 / 10_000, 46 / 10_000]
    [judged] = bandit_facts.judged
    effect = judged.raw
    assert effect.difference == 0
    assert -effect.low == pytest.approx(effect.high)
    assert judged.effect.low < effect.low < effect.high < judged.effect.high
    assert effect.high / 0.0046 == pytest.approx(0.41, abs=0.005)  # as the README says
    assert bandit_facts.segments is not None
    assert all(one.adjusted_p > 0.05 for one in bandit_facts.segments.effects)
    assert bandit_facts.over_time[0].p[-1] > 0.05

    values = {(value.policy, value.log): value for value in bandit_facts.off_policy}
    assert set(values) == {("random", "bts"), ("bts", "random")}
    assert {value.observed for value in values.values()} == {46 / 10_000}
    safe, wild = values["bts", "random"], values["random", "bts"]
    for estimate in (safe.ips, safe.snips, safe.doubly_robust):
        assert estimate.low < 46 / 10_000 < estimate.high
    assert 1000 < safe.snips.effective_size < 10_000
    assert wild.snips.effective_size < 10
    assert "neither the value nor its interval is to be relied on" in wild.sentence

    assert bandit_facts.interference is not None and bandit_facts.interference.auc_low is not None
    assert bandit_facts.interference.auc_low > 0.75
    assert next(iter(bandit_facts.interference.features)) == "item_id"
    assert all(0.5 < share < 0.9 for share in bandit_facts.interference.effective.values())


def test_item_hashes_that_differ_between_the_files_part_the_arms(tmp_path: Path) -> None:
    """What the README warns of, and the panel names."""
    parts = []
    for policy in ("random", "bts"):
        items = pl.read_parquet(DATA / f"{policy}_item_context.parquet")
        rows = pl.read_parquet(DATA / "log" / f"policy={policy}" / f"{policy}.parquet")
        rows = rows.gather_every(5).with_columns(policy=pl.lit(policy))
        parts.append(rows.join(items.select("item_id", "item_feature_1"), on="item_id"))
    pl.concat(parts).write_parquet(tmp_path / "log.parquet")
    test = read(Experiment, CONFIG, QUICK, problems)
    analysis = test.model_dump()["analysis"]
    analysis["interference"]["features"]["item_feature_1"] = {"kind": "categorical"}
    test = Experiment.model_validate(test.model_dump() | {"analysis": analysis})
    log = stage([str(tmp_path / "log.parquet")], test, tmp_path)
    lines = panel(log, gather(log, test), test, tmp_path).sentences
    [apart] = [sentence for sentence in lines if "overlap nowhere" in sentence]
    assert "kept apart by item_feature_1 alone" in apart
