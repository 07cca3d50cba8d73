"""What is tried for each network, and which trial is taken."""

import re
from types import SimpleNamespace

import pytest

from fulcrum.features.errors import ConfigError
from fulcrum.pipelines.comparison.compare import budget
from fulcrum.pipelines.comparison.fairness.selection import UNTUNED, Selection, best, voters
from fulcrum.pipelines.comparison.fairness.trials import declared, read_trials
from tests.pipelines.runs.test_run import YAML
from tests.pipelines.small_runs import small_run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(YAML.format(folder=tmp_path))
    return path


def test_every_combination_is_a_trial_and_nothing_else_changes(file):
    sweep = ["train.epochs=[4, 8]", "train.dense.lr=[1e-3, 0.002]"]
    trials = read_trials([file], ["train.batch_size=32"], sweep)
    assert list(trials) == [
        f"train.epochs {epochs}, train.dense.lr {lr}" for epochs in (4, 8) for lr in (0.001, 0.002)
    ]
    [base] = read_trials([file], ["train.batch_size=32"], [])[""]
    for (epochs, lr), [config] in zip(
        [(4, 0.001), (4, 0.002), (8, 0.001), (8, 0.002)], trials.values(), strict=True
    ):
        dense = base.train.dense.model_copy(update={"lr": lr})
        train = base.train.model_copy(update={"epochs": epochs, "dense": dense})
        assert config == base.model_copy(update={"train": train})


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        (["train.epochs"], "expected a path and different values"),
        (["train.epochs=4"], "expected a path and different values"),
        (["train.epochs=[4]"], "expected a path and different values"),
        (["train.epochs=[4, 4, 8]"], "expected a path and different values"),
        (["train.epochs=[4, 8"], "expected a path and different values"),
        (["data.where=[a, b]"], "expected a setting of `train` or `model`"),
        (["train.epochs=[4, 4.0]"], "`train.epochs 4` and `train.epochs 4.0` are the same"),
        (["train.dense=[{lr: 1}, {lr: 2}]", "train.dense.lr=[3, 4]"], "are the same settings"),
        (["train.seed=[0, 1]"], "no seed is better than another"),
        (["train=[{seed: 0}, {seed: 1}]"], "no seed is better than another"),
        (["model=[mmoe, ple]"], "another architecture is another network"),
        (["train.epochs=[4, 8]", "train.epochs=[2, 3]"], "`train.epochs` is swept twice"),
        (["train.epoch=[4, 8]"], "small.yaml: --set train.epoch=4: train.epoch: unknown key"),
        (["train.epochs=[4, -1]"], "small.yaml: --set train.epochs=-1: train.epochs: "),
    ],
)
def test_a_sweep_that_is_none_is_one_message(file, sweep, told):
    with pytest.raises(ConfigError, match=re.escape(told)) as error:
        read_trials([file], [], sweep)
    assert str(error.value).startswith("--sweep")


def test_what_trials_set_is_no_budget_that_networks_share():
    run = small_run(epochs=3, dense={"lr": 0.5})
    told = {
        trial: budget(run, [trial]) for trial in ("", "train.epochs 4", 'train.dense {"lr": 1}')
    }
    assert all("batch_size 64" in words for words in told.values())
    assert ["epochs 3" in words for words in told.values()] == [True, False, True]
    assert ["dense.lr 0.5" in words for words in told.values()] == [True, True, False]


def test_without_a_sweep_the_configs_are_the_only_trial(file):
    assert declared([]) == []
    assert list(read_trials([file, file], [], [])) == [""]


def test_the_best_trial_gains_most_in_per_cent_of_the_first():
    """AUC: -0.02 / 0.8 = -2.5 % and MAE: +4 / 40 = +10 %."""
    trials = {
        "first": {"auc/click": 0.80, "mae/watch": 40.0, "auc/like": None, "mae/spend": 0.0},
        "second": {"auc/click": 0.78, "mae/watch": 36.0, "auc/like": 0.9, "mae/spend": 9.0},
    }
    keys = list(trials["first"])
    assert best(trials, keys) == "second"
    assert best(trials, ["auc/click", "auc/like"]) == "first"
    assert best(trials, ["auc/like", "mae/spend"]) == "first", "nothing tells them apart"


def split(**facts: object) -> SimpleNamespace:
    return SimpleNamespace(manifest=SimpleNamespace(splits={"valid": SimpleNamespace(**facts)}))


def test_tasks_with_too_few_positive_rows_have_no_say():
    run = small_run()
    observed = dict.fromkeys(run.tasks, 400)
    few = {task: 3 for task, settings in run.tasks.items() if settings.kind == "binary"}
    chosen = voters(run, split(rows=400, observed=observed, positives=few))
    assert set(chosen) == set(run.tasks) - set(few) and few
    assert "rmse" not in chosen.values()
    with pytest.raises(ConfigError, match="no task has 30 positive rows or more among the 400"):
        voters(run, split(rows=400, observed=dict.fromkeys(run.tasks, 20), positives=few))
    with pytest.raises(ConfigError, match="there is no validation split"):
        voters(run, SimpleNamespace(manifest=SimpleNamespace(splits={})))


def test_what_was_tuned_is_told():
    one = Selection(("",), {"mmoe": ""}, {}, (), 0)
    assert one.sentence == UNTUNED
    trials = ("train.epochs 4", "train.epochs 8")
    two = Selection(trials, {"mmoe": trials[0]}, {"click": "auc"}, ("hate",), 5000)
    assert two.sentence == (
        "Every network had the same 2 trials, and the one that was best by click on the 5,000 rows "
        "of the validation split was measured; hate, with fewer than 30 positive rows there, had "
        "no say."
    )
