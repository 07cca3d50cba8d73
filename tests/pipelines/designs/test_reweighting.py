"""A prepared data set with the weights of a design, and what trains on it."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console

from fulcrum.features.errors import DataError, StateError
from fulcrum.features.prepared.prepare import prepare
from fulcrum.pipelines.designs import reweighting
from fulcrum.pipelines.designs.propensity import Propensity
from fulcrum.pipelines.quality.constant import constant
from fulcrum.pipelines.quality.metrics import measure
from fulcrum.pipelines.runs.prepare import prepare_dataset
from fulcrum.pipelines.training.checkpoint import load_weights
from fulcrum.pipelines.training.predict import evaluate
from fulcrum.pipelines.training.trainer import train
from tests.pipelines.designs.worlds import document, run, write_log

CONSOLE = Console(quiet=True)
SPLITS = ("train", "valid", "test")
WEIGHTED = {"arm": "treatment", "propensity": {"features": ["item"], "kind": "logistic"}}


def design(name, arm="treatment"):
    return {"design": name, "arm": arm}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    write_log(folder / "log.parquet", rows=1200, before=300)
    return folder


def prepared(folder, experiment_design=None, **changes):
    return prepare_dataset(run(folder, experiment_design=experiment_design, **changes), CONSOLE)


def rows(dataset, *splits):
    return pl.read_parquet([s for split in splits or SPLITS for s in dataset.shards(split)])


@pytest.fixture(scope="module")
def weighted(folder):
    return prepared(folder, WEIGHTED)


def test_rows_are_the_same_but_for_their_weights(folder, weighted):
    plain = prepared(folder)
    before, after = rows(plain), rows(weighted)
    added = ["ab_weight_control", "ab_weight_treatment"]
    assert after.drop("row.weight", *added).equals(before.drop("row.weight"))
    assert (before["row.weight"] == 1).all()
    expected = after["ab_weight_treatment"].cast(pl.Float32)
    assert after["row.weight"].to_list() == expected.to_list()
    for split in SPLITS:
        assert [s.name for s in weighted.shards(split)] == [s.name for s in plain.shards(split)]
        assert weighted.rows(split) == plain.rows(split)
    assert set(weighted.manifest.columns) == set(after.columns)
    assert weighted.state.layout == plain.state.layout
    weighted.verify()


def test_rows_from_before_the_test_weigh_1_and_arms_share_out_the_others(weighted):
    frame = rows(weighted)
    before = frame["row.arm"].is_null()
    assert before.sum() == 300 and (frame.filter(before)["row.weight"] == 1).all()
    of_test = frame.filter(~before)
    shares = of_test["row.arm"].value_counts(normalize=True)
    total = sum(of_test[f"ab_weight_{arm}"] * share for arm, share in shares.iter_rows())
    assert total.to_numpy() == pytest.approx(1, abs=1e-12)
    assert of_test["row.weight"].mean() == pytest.approx(1, abs=0.05)


def test_a_row_to_be_scored_needs_neither_arm_nor_unit(folder):
    features = {"item": {"kind": "categorical"}}
    dataset = prepared(folder, design("splitting"), features=features)
    assert set(dataset.state.row_columns) == {"item"}


def test_a_data_set_that_is_there_is_opened(folder, weighted, monkeypatch):
    monkeypatch.setattr(reweighting, "_build", None)
    again = prepared(folder, WEIGHTED)
    assert again.folder == weighted.folder and again.fingerprint == weighted.fingerprint
    assert again.report == weighted.report


def test_every_design_and_arm_has_a_fingerprint_of_its_own(folder, weighted):
    others = [prepared(folder, design(n)) for n in ("pooling", "splitting", "snapshot")]
    control = prepared(folder, design("splitting", "control"))
    found = [d.fingerprint for d in (prepared(folder), weighted, *others, control)]
    assert len(set(found)) == len(found)


def test_what_is_interrupted_leaves_nothing(folder, monkeypatch):
    there = set((folder / "work" / "prepared").iterdir())
    monkeypatch.setattr(reweighting, "write_shard", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepared(folder, WEIGHTED | {"arm": "control"})
    assert set((folder / "work" / "prepared").iterdir()) == there


def test_a_shard_that_is_cut_short_is_not_trusted(folder):
    dataset = prepared(folder, design("splitting", "control"))
    file = dataset.shards("train")[0]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StateError, match="missing or cut short"):
        prepared(folder, design("splitting", "control"))


def test_a_given_weight_is_multiplied(folder):
    data = run(folder).data.model_dump() | {"weight": "trust"}
    given, times = prepared(folder, data=data), prepared(folder, design("splitting"), data=data)
    product = rows(given)["row.weight"].cast(pl.Float64) * rows(times)["ab_weight_treatment"]
    assert rows(given)["row.weight"].n_unique() > 1
    assert rows(times)["row.weight"].to_list() == product.cast(pl.Float32).to_list()


def test_a_snapshot_trains_on_rows_before_the_test_and_is_measured_on_the_arms_own(folder):
    dataset = prepared(folder, design("snapshot"))
    train, test = rows(dataset, "train"), rows(dataset, "test")
    assert (train["row.weight"] == train["row.arm"].is_null().cast(pl.Float32)).all()
    own = test["row.arm"] == "treatment"
    assert (test.filter(~own)["row.weight"] == 0).all() and (
        test.filter(own)["row.weight"] > 1
    ).all()


def test_an_arm_that_the_log_lacks_is_refused(folder):
    with pytest.raises(DataError, match="no row of the log is of arm `tretment`; did you mean"):
        prepared(folder, design("pooling", "tretment"))


def test_a_snapshot_without_rows_before_the_test_is_refused(tmp_path):
    write_log(tmp_path / "log.parquet", rows=400)
    with pytest.raises(DataError, match="leaves no row of the training split a weight"):
        prepared(tmp_path, design("snapshot"))
    assert len(list((tmp_path / "work" / "prepared").iterdir())) == 1


def test_arms_that_overlap_nowhere_are_refused_with_what_keeps_them_apart(tmp_path):
    log = write_log(tmp_path / "log.parquet", rows=800)
    apart = log.with_columns(item=pl.col("item") + 100 * (pl.col("arm") == "treatment"))
    apart.write_parquet(tmp_path / "log.parquet")
    by = {"features": ["price", "item"], "kind": "logistic"}
    with pytest.raises(DataError) as error:
        prepared(tmp_path, WEIGHTED | {"propensity": by})
    assert "the arms overlap nowhere" in str(error.value)
    assert "kept apart by `item` alone" in str(error.value)


def test_a_feature_of_one_units_values_is_warned_of(tmp_path, caplog):
    log = write_log(tmp_path / "log.parquet", rows=800, users=40)
    log.with_columns(device=1000 - pl.col("user_id")).write_parquet(tmp_path / "log.parquet")
    features = {"item": {"kind": "categorical"}, "device": {"kind": "categorical"}}
    by = {"features": ["item", "device"], "kind": "logistic"}
    dataset = prepared(tmp_path, WEIGHTED | {"propensity": by}, features=features)
    assert dataset.report.facts["lonely"] == {"item": 0, "device": pytest.approx(1, abs=0.05)}
    assert "the value of `device` belongs to one unit" in caplog.text
    assert "the value of `item`" not in caplog.text


def test_the_report_tells_sizes_means_and_how_far_the_arms_differ(weighted):
    report, facts = weighted.report, weighted.report.facts
    assert facts == json.loads((report.folder / "report.json").read_text())
    frame = rows(weighted).filter(pl.col("row.arm").is_not_null())
    assert facts["rows"] == {"test": 900, "before": 300}
    for arm, told in facts["arms"].items():
        own, weights = frame.filter(pl.col("row.arm") == arm), frame[f"ab_weight_{arm}"]
        assert told["rows"] == len(own) and told["units"] == own["row.unit"].n_unique() == 50
        assert told["share"] == pytest.approx(len(own) / 900)
        assert told["mean"] == pytest.approx(weights.mean())
        assert told["effective"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum() / 900)
        assert told["share"] < told["effective"] <= 1
    text = "\n".join(report.sentences)
    assert "AUC" in text and "the arms show different things" in text
    for name in ("reliability", "chance", "weights"):
        assert (report.folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_held_out_metrics_and_the_constant_predictor_weigh_rows(folder, weighted, tmp_path):
    config = run(folder, experiment_design=WEIGHTED)
    result = train(config, weighted, tmp_path / "checkpoints")
    scored = evaluate(config, weighted, result.checkpoint, "valid")
    assert scored.column("row.weight").tolist() == rows(weighted, "valid")["row.weight"].to_list()
    # What early stopping followed is the weighted metric.
    assert result.metrics["auc"] == measure(scored)["auc"]
    frame = rows(weighted, "train")
    rate = np.average(frame["label.click"], weights=frame["row.weight"])
    assert constant(weighted, scored).column("score.click")[0] == pytest.approx(rate)


def trained(folder, experiment_design, target):
    """The weights that a design leaves, without early stopping: all steps count."""
    settings = {"epochs": 1, "batch_size": 64, "precision": "fp32", "early_stopping": None}
    config = run(folder, experiment_design=experiment_design, train=settings)
    result = train(config, prepare_dataset(config, CONSOLE), target)
    return load_weights(result.checkpoint)


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


def knowing(chance):
    """A stand-in for the fitted model that gives the chance it is told of each arm."""

    def fit(inputs, arms, units, config, progress):
        names, arm = np.unique(arms, return_inverse=True)
        return Propensity(tuple(names), chance(arm), arm, None, None, None)

    return fit


def test_arms_that_are_alike_train_as_pooling_to_the_bit(folder, tmp_path, monkeypatch):
    def shares(arm):
        return np.tile(np.bincount(arm) / len(arm), (len(arm), 1))

    monkeypatch.setattr(reweighting, "fit", knowing(shares))
    by = WEIGHTED | {"propensity": WEIGHTED["propensity"] | {"seed": 1}}
    alike = trained(folder, by, tmp_path / "weighted")
    assert equal(alike, trained(folder, design("pooling"), tmp_path / "pooling"))
    assert equal(alike, trained(folder, None, tmp_path / "plain"))
    assert not equal(alike, trained(folder, design("splitting"), tmp_path / "splitting"))


def test_arms_that_share_nothing_train_as_splitting_to_the_bit(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(reweighting, "fit", knowing(lambda arm: np.eye(2)[arm]))
    monkeypatch.setattr(reweighting.overlap, "check", lambda *_: None)
    by = WEIGHTED | {"propensity": WEIGHTED["propensity"] | {"seed": 2}}
    apart = trained(folder, by, tmp_path / "weighted")
    assert equal(apart, trained(folder, design("splitting"), tmp_path / "splitting"))
    assert not equal(apart, trained(folder, design("pooling"), tmp_path / "pooling"))


def test_without_a_design_nothing_is_reweighted(folder):
    config = run(folder, experiment_design=None)
    assert prepared(folder).fingerprint == prepare(config, folder / "work").fingerprint


def test_arms_share_out_the_rows_of_each_window(folder):
    """Half of the control's rows of the second window are lost, so that its shares are others."""
    data = document(folder)["data"]
    data["arms"] = data["arms"] | {"changes": ["1970-01-01T02:00"]}
    data["where"] = "t < 7200 or arm = 'treatment' or row % 2 = 0"
    frame = rows(prepared(folder, WEIGHTED, data=data)).filter(pl.col("row.arm").is_not_null())
    assert (frame["row.window"] == (frame["row.key.row"] * 10 >= 7200)).all()
    shares = frame.group_by("row.window", "row.arm").len().sort("row.window", "row.arm")
    by_window = shares["len"].to_numpy().reshape(2, 2)
    by_window = by_window / by_window.sum(axis=1, keepdims=True)
    assert abs(by_window[0, 0] - by_window[1, 0]) > 0.1
    weights = frame.select("ab_weight_control", "ab_weight_treatment").to_numpy()
    total = (weights * by_window[frame["row.window"].to_numpy()]).sum(axis=1)
    assert total == pytest.approx(1, abs=1e-12)
    means = frame.group_by("row.window").agg(pl.col("ab_weight_treatment").mean())
    assert means["ab_weight_treatment"].to_numpy() == pytest.approx(1, abs=0.1)
