import io
from itertools import groupby

import numpy as np
import polars as pl
from rich.console import Console

from fulcrum.features.prepared.manifest import Manifest, SplitFacts
from fulcrum.models.gramians import GRAMIANS
from fulcrum.models.regularisers import REGULARISERS
from fulcrum.models.weightings import WEIGHTINGS
from fulcrum.pipelines.quality.experts import Health, LevelHealth
from fulcrum.pipelines.runs import tables

MODELS = {
    "mmoe": {"auc": 0.75, "auc/click": 0.81234, "log_loss/click": 0.5, "rmse/watch": 12.3456},
    "constant": {"auc": 0.5, "auc/click": None, "log_loss/click": 0.6, "rmse/watch": 20.0},
}
FAMILIES = ("losses", "gradients", "agent")


def lines(table) -> list[list[str]]:
    text = io.StringIO()
    Console(width=200, file=text).print(table)
    return [line.split() for line in text.getvalue().splitlines() if line.strip(" ─\n")]


def test_results_have_a_line_for_each_task_and_model_and_only_columns_in_use():
    assert lines(tables.results("small", ["click", "watch"], MODELS)) == [
        ["small"],
        ["task", "model", "AUC", "log", "loss", "RMSE"],
        ["click", "mmoe", "0.8123", "0.5000", "-"],
        ["constant", "-", "0.6000", "-"],
        ["watch", "mmoe", "-", "-", "12.346"],
        ["constant", "-", "-", "20.000"],
    ]


def test_results_tell_how_sure_they_are():
    sure = {"units": 1234, "positives/click": 8, "auc_low/click": 0.65, "auc_high/click": 0.9}
    printed = lines(tables.results("small", ["click"], {**MODELS, "mmoe": MODELS["mmoe"] | sure}))
    assert printed[1:4] == [
        ["task", "model", "AUC", "95%", "log", "loss"],
        ["click", "mmoe", "0.8123", "0.6500", "to", "0.9000", "0.5000"],
        ["8", "positives", "constant", "-", "0.6000"],
    ]
    assert "from 1,234 groups" in " ".join(printed[4])


def test_health_has_a_line_for_each_level():
    level = LevelHealth(
        number=2,
        outputs=("click", "like"),
        owners=("click", "like", "shared"),
        visible=np.ones((2, 3), bool),
        mean=np.zeros(3),
        std=np.ones(3),
        size=np.array([1.0, 2.0, 4.0]),
        zero_rate=np.array([0.5, 0.25, 0.95]),
        gate=np.full((2, 3), 1 / 3),
        weight=np.full((2, 3), 1 / 3),
        contribution=np.ones((2, 3)),
    )
    shown = lines(tables.health(Health(1234, (level,), {})))
    assert shown[-1] == ["2", "3", "95%", "4.0", "1.00", "-"]


def test_features_show_the_last_split_against_training():
    drift = pl.DataFrame(
        {
            "feature": ["user_id", "price"],
            "kind": ["categorical", "numeric"],
            "vocabulary": [1234, None],
            "null.train": [0.0, 0.5],
            "unknown.train": [0.0, None],
            "null.valid": [0.9, 0.9],
            "unknown.valid": [0.9, None],
            "psi.valid": [9.0, 9.0],
            "null.test": [0.0, 0.25],
            "unknown.test": [0.125, None],
            "psi.test": [0.3, 0.01],
        }
    )
    shown = lines(tables.features(drift))
    assert ["user_id", "categorical", "1,234", "0.0%", "0.0%", "12.5%", "0.300"] in shown
    assert ["price", "numeric", "50.0%", "25.0%", "0.010"] in shown


def test_splits_show_rows_rates_and_boundaries():
    facts = {"shards": (), "missing": {}}
    manifest = Manifest(
        fingerprint="f",
        inputs=(),
        split="order",
        boundaries={"test": "from row 8"},
        rows_read=11,
        rows_dropped={"repeated": 1, "where": 0},
        columns={},
        splits={
            "train": SplitFacts(rows=8, positives={"click": 2}, observed={"click": 4}, **facts),
            "test": SplitFacts(rows=2, positives={"click": 0}, observed={"click": 0}, **facts),
        },
    )
    shown = lines(tables.splits(manifest))
    assert ["train", "8", "50.00%"] in shown
    assert ["test", "2", "-"] in shown
    caption = " ".join(" ".join(line) for line in shown[-2:])
    assert "11 rows read; left out: 1 repeated; test from row 8" in caption


def test_families_name_their_sources():
    text = " ".join(" ".join(line) for line in lines(tables.networks()))
    for part in ("model.architecture", "mmoe", "KDD 2018", "model.bottom", "model.interaction"):
        assert part in text


def test_weightings_come_family_by_family_then_what_stands_beside_them():
    shown = lines(tables.weightings())
    names = [line[0] for line in shown]
    families = {n: c.family for n, c in WEIGHTINGS.items()}
    told = [(line[0], line[1]) for line in shown if line[0] in families and line[1] in FAMILIES]
    assert dict(told) == families
    assert [family for family, _ in groupby(family for _, family in told)] == list(FAMILIES)
    for members in (REGULARISERS, GRAMIANS):
        assert set(members) <= set(names)
    text = " ".join(" ".join(line) for line in shown)
    assert "ICLR 2021, arXiv 2010.01412" in text


def test_calibration_stands_before_and_after():
    before = {"log_loss/click": 0.52, "ece/click": 0.04, "calibration/click": 1.2}
    after = {"log_loss/click": 0.51, "ece/click": 0.01, "calibration/click": 1.0}
    assert lines(tables.calibration(["click", "page"], before, after)) == [
        ["Before", "and", "after", "calibration"],
        ["log", "loss", "ECE", "calibration"],
        ["task", "before", "after", "before", "after", "before", "after"],
        ["click", "0.5200", "0.5100", "0.0400", "0.0100", "1.200", "1.000"],
        ["page"],
    ]


def test_segments_are_told_most_doubtful_first_and_how_many_there_are():
    row = {
        **{"task": "click", "feature": "tab", "value": "3", "rows": 1234, "users": 56},
        **{"mean_score": 0.5, "mean_label": 0.25, "p": 0.001, "adjusted": 0.01},
    }
    printed = lines(tables.segments(pl.DataFrame([row] * 25)))
    assert printed[2] == ["click", "tab", "3", "1,234", "56", "0.5", "0.25", "0.01"]
    assert len(printed) == 2 + tables.DOUBTFUL + 1
    assert " ".join(printed[-1]).startswith("20 of 25 segments")
