"""Who is compared, and what is refused."""

import pytest

from fulcrum.features.errors import ConfigError
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.models.trunks.shared_bottom import SharedBottomConfig
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.models.weightings.equal import EqualConfig
from fulcrum.models.weightings.static import StaticConfig
from fulcrum.pipelines.comparison.contenders import check_rows, differences, line_up
from fulcrum.pipelines.config.run import RunConfig
from tests.pipelines.small_runs import small_run
from tests.prepared import prepare

MMOE = MMoEConfig(experts=2, expert=(7, 5), tower=(3,), embedding_dim=4)
BOTTOM = SharedBottomConfig(hidden=(9,), embedding_dim=4)
ALONE = SingleTaskConfig(hidden=(7, 5), tower=(3,), embedding_dim=4)
UNEQUAL = StaticConfig(weights={"click": 2})


def config(name, model=MMOE, weighting=None, **train) -> RunConfig:
    weighting = weighting or StaticConfig()
    update = {"name": name, "model": model, "weighting": weighting}
    return small_run(**train).model_copy(update=update)


def test_both_controls_are_made_of_the_first_network():
    lineup = line_up([config("log-mmoe", weighting=UNEQUAL), config("log-bottom", BOTTOM, UNEQUAL)])
    assert list(lineup.configs) == ["mmoe", "bottom", "mmoe-single-task", "mmoe-equal-weights"]
    assert (lineup.first, lineup.single, lineup.static) == (
        "mmoe",
        "mmoe-single-task",
        "mmoe-equal-weights",
    )
    assert lineup.configs[lineup.single].model == ALONE
    assert lineup.configs[lineup.static].model == MMOE
    assert lineup.configs[lineup.static].weighting == StaticConfig()
    assert lineup.configs[lineup.first].train == lineup.configs[lineup.single].train


@pytest.mark.parametrize(
    "equal",
    [StaticConfig(weights=dict.fromkeys(["click", "like", "watch", "page"], 3.0)), EqualConfig()],
)
def test_controls_that_are_there_are_taken(equal):
    """Equal weights are equal whatever number they are."""
    configs = [
        config("alone", ALONE, UNEQUAL),
        config("a", weighting=UNEQUAL),
        config("b", MMOE, equal),
    ]
    lineup = line_up(configs)
    assert list(lineup.configs) == ["alone", "a", "b"]
    assert (lineup.first, lineup.single, lineup.static) == ("a", "alone", "b")


def test_seeds_follow_the_first_configs():
    assert line_up([config("a", seed=7), config("b", BOTTOM, seed=9)]).seeds(3) == (7, 8, 9)


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["log-mmoe"], ["mmoe", "mmoe-single-task"]),
        (["mmoe", "bottom"], ["mmoe", "bottom", "mmoe-single-task"]),
        (["a-b-mmoe", "a-b-bottom"], ["mmoe", "bottom", "mmoe-single-task"]),
    ],
)
def test_names_lose_what_all_begin_with(names, short):
    models = [MMOE, BOTTOM][: len(names)]
    lineup = line_up([config(n, m) for n, m in zip(names, models, strict=True)])
    assert list(lineup.configs) == short


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ([config("a"), config("a", BOTTOM)], "several configs are named a"),
        ([config("a", ALONE)], "nothing to compare with single-task networks"),
        (
            [config("a"), config("b", BOTTOM, epochs=3)],
            r"train.epochs is 2 in a, 3 in b: .* `--set train.epochs=2`",
        ),
        (
            [config("a"), config("b", BOTTOM, early_stopping=None)],
            "train.early_stopping.metric is auc in a, None in b",
        ),
        (
            [
                config("a"),
                config("b").model_copy(update={"tasks": {"click": config("b").tasks["click"]}}),
            ],
            "b predicts click and a click, like, watch, page",
        ),
    ],
)
def test_what_is_no_fair_comparison_is_refused(configs, message):
    with pytest.raises(ConfigError, match=message):
        line_up(configs)


def test_seeds_may_differ():
    assert line_up([config("a"), config("b", BOTTOM, seed=5)])


def test_other_rows_are_refused(tmp_path):
    sizes = {"train": 30, "test": 20}
    a = prepare(tmp_path / "a", sizes)
    check_rows({"a": a, "b": prepare(tmp_path / "b", sizes, shards=1)})
    with pytest.raises(ConfigError, match="b has 31 rows in its train split, a has 30"):
        check_rows({"a": a, "b": prepare(tmp_path / "c", sizes | {"train": 31})})
    other = prepare(tmp_path / "d", {"test": 20, "train": 30})  # each with the other's seed
    with pytest.raises(ConfigError, match=r"the test rows of b are not those of a: `label.click`"):
        check_rows({"a": a, "b": other})
    of_sessions = prepare(tmp_path / "e", sizes, with_sessions=True)
    for pair in ({"a": a, "b": of_sessions}, {"a": of_sessions, "b": a}):
        with pytest.raises(ConfigError, match=r"not those of a: `row.session` differ"):
            check_rows(pair)


def test_parts_that_differ_are_named():
    a = config("a")
    features = {**a.features, "item": a.features["user"]}
    like = a.tasks["like"].model_copy(update={"given": None})
    b = a.model_copy(update={"features": features, "tasks": {**a.tasks, "like": like}})
    assert differences(a, a) == []
    assert differences(b, a) == ["features.item", "tasks.like"]
