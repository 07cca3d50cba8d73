"""Weightings as an axis of a comparison."""

from dataclasses import replace

import numpy as np
import pytest

from fulcrum.features.errors import ConfigError
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.models.weightings import WEIGHTINGS
from fulcrum.models.weightings.static import StaticConfig
from fulcrum.pipelines.comparison.balance import MEASURED, Balance, weigh, worth
from fulcrum.pipelines.comparison.contenders import line_up
from fulcrum.pipelines.comparison.gains import Gain
from fulcrum.pipelines.comparison.order import Order
from fulcrum.pipelines.comparison.seesaw import Seesaw
from fulcrum.pipelines.comparison.weightings import methods, multiply, trunks
from fulcrum.pipelines.figures.balance import gains as gains_figure
from fulcrum.pipelines.figures.run import Bar
from fulcrum.pipelines.quality.metrics import measure
from fulcrum.pipelines.quality.pulls import Samples, with_pulls
from fulcrum.pipelines.quality.units import units
from tests.pipelines.comparison.test_page import DOWN, FLAT, UP, standing
from tests.pipelines.quality.scored_rows import KINDS, predictions
from tests.pipelines.small_runs import small_run

RUN = small_run().model_copy(update={"name": "log-mmoe"})
ALONE = RUN.model_copy(update={"name": "log-alone", "model": SingleTaskConfig(embedding_dim=8)})
NAMES = ["static", "uncertainty", "upgrad"]


def test_the_control_is_always_among_them_and_nothing_twice():
    assert methods("upgrad, uncertainty,upgrad") == ["static", "upgrad", "uncertainty"]
    assert methods("static") == ["static"]


def test_an_unknown_weighting_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no weighting `upgrat`; did you mean `upgrad`\?"):
        methods("uncertainty,upgrat")


def test_every_trunk_meets_every_weighting_but_its_own_and_single_task_none():
    weighed = RUN.model_copy(update={"weighting": WEIGHTINGS["uncertainty"](method="uncertainty")})
    configs = multiply([weighed, ALONE], NAMES)
    assert [(config.name, config.weighting.method) for config in configs] == [
        ("log-mmoe", "uncertainty"),
        ("log-mmoe+static", "static"),
        ("log-mmoe+upgrad", "upgrad"),
        ("log-alone", "static"),
    ]
    assert configs[0] is weighed and configs[-1] is ALONE


def test_a_weighting_that_does_not_fit_a_run_is_refused(monkeypatch):
    monkeypatch.setattr(WEIGHTINGS["upgrad"], "sessions", True)
    with pytest.raises(
        ConfigError, match=r"upgrad does not fit log-mmoe: weighting.method: learns"
    ):
        multiply([RUN], NAMES)


def test_a_trunk_is_the_networks_that_differ_in_the_method_alone():
    lineup = line_up(multiply([RUN, ALONE], NAMES))
    assert trunks(lineup) == [("mmoe", ["mmoe", "mmoe+uncertainty", "mmoe+upgrad"])]
    assert trunks(line_up([RUN, ALONE])) == []


def test_the_control_is_the_one_with_equal_weights():
    tuned = RUN.model_copy(update={"weighting": StaticConfig(weights={"click": 2.0})})
    [(trunk, names)] = trunks(line_up(multiply([tuned, ALONE], ["static", "upgrad"])))
    assert trunk == "mmoe"
    assert names == ["mmoe-equal-weights", "mmoe", "mmoe+upgrad"]


def samples(**networks) -> dict[str, list[Samples]]:
    """Of two seeds that are alike."""
    return {name: [with_pulls(rows, MEASURED)] * 2 for name, rows in networks.items()}


def balanced(**networks) -> Balance:
    """The first network is the control."""
    by_network = samples(**networks)
    whole = Seesaw("alone", (0, 1), KINDS, {}, {}, Order({}, {}, ()), {})
    [only] = weigh(
        [("mmoe", list(by_network))], whole, by_network, {"mmoe": dict.fromkeys(by_network, 1.0)}
    )
    return only


def test_a_weighting_that_is_static_by_another_name_gains_nothing():
    same = predictions()
    comparison = balanced(static=same, other=same)
    gains = [standing.gain for standing in comparison.seesaw.standings["other"].values()]
    assert gains and {(g.value, g.low, g.high, g.mark) for g in gains} == {(0.0, 0.0, 0.0, 0)}
    assert worth(comparison) == [
        "other costs about the same time a step and no task clearly gains: it buys nothing that "
        "shows here."
    ]


def test_a_weighting_gains_its_metric_less_that_of_the_control():
    static, other = predictions(skill=0.3), predictions(skill=0.9, seed=1)
    comparison = balanced(static=static, other=other)
    before, after = measure(static), measure(other)
    for (task, metric), outcome in comparison.seesaw.standings["other"].items():
        sign = 1 if metric in ("auc", "grouped_auc", "accuracy") else -1
        change = sign * (after[f"{metric}/{task}"] - before[f"{metric}/{task}"])
        assert outcome.gain.value == pytest.approx(change, abs=1e-9)
        assert outcome.gain.low <= outcome.gain.value <= outcome.gain.high
    assert comparison.seesaw.rises("other") == ["click", "watch", "page"]


def test_session_log_loss_is_told_where_there_are_sessions():
    plain = predictions()
    sessions = replace(plain, session=np.arange(200) // 5)
    assert balanced(static=plain, other=plain).metrics()["click"] == ["auc", "log_loss"]
    comparison = balanced(static=sessions, other=sessions)
    assert comparison.metrics()["click"] == ["auc", "log_loss", "s_log_loss"]


def test_session_log_loss_is_the_metric_and_a_users_pull_that_of_its_sessions():
    """A user taken twice has all sessions twice: Σ of (mean loss - metric) / n over them."""
    random = np.random.default_rng(0)
    plain = predictions(groups=20)
    session = plain.group * 10 + random.integers(0, 3, 200)
    rows = replace(plain, session=session, losses=random.random((200, 3)) * plain.observed)
    value, *pulls = with_pulls(rows, MEASURED)["click", "s_log_loss"]
    assert value == pytest.approx(measure(rows)["s_log_loss/click"], abs=1e-12)
    count, unit = units(rows.group)
    seen = rows.observed[:, 0]
    losses, weight = rows.losses[:, 0], rows.weight
    sessions = np.unique(session[seen])
    for u in range(count):
        of_user = [seen & (session == s) for s in np.unique(session[seen & (unit == u)])]
        means = [np.average(losses[rows], weights=weight[rows]) for rows in of_user]
        expected = sum(mean - value for mean in means) / len(sessions)
        assert pulls[u] == pytest.approx(expected, abs=1e-12)


def verdict(a: Gain, b: Gain, slower: float | None, seeds: tuple[int, ...] = (0, 1)) -> str:
    """Of a weighting with these gains on two tasks."""
    alone = {("click", "auc"): standing(0.8), ("like", "auc"): standing(0.8)}
    other = {("click", "auc"): standing(0.8, a), ("like", "auc"): standing(0.8, b)}
    tasks = {"click": "binary", "like": "binary"}
    order = Order({}, {"static": (1, 2), "upgrad": (1, 2)}, ())
    networks = {"static": alone, "upgrad": other}
    seesaw = Seesaw("static", seeds, tasks, networks, {}, order, {})
    [sentence] = worth(Balance("mmoe", seesaw, {"static": 1.0, "upgrad": slower}))
    return sentence


@pytest.mark.parametrize(
    ("a", "b", "slower", "sentence"),
    [
        (FLAT, FLAT, 1.4, "upgrad costs 40 % more time a step and no task clearly gains: it buys "
         "nothing that shows here."),
        (UP, DOWN, 0.96, "upgrad: click rises, like pays; it costs about the same time a step."),
        (UP, UP, 0.9, "upgrad: click and like rise and no task clearly pays; it costs 10 % less "
         "time a step."),
        (DOWN, FLAT, None, "upgrad: click falls and no task clearly gains; it was not timed."),
    ],
)  # fmt: skip
def test_what_a_weighting_is_worth_is_one_sentence(a, b, slower, sentence):
    assert verdict(a, b, slower) == sentence


def test_one_seed_cannot_tell_what_a_weighting_gains():
    assert verdict(UP, FLAT, 1.4, seeds=(0,)) == (
        "upgrad costs 40 % more time a step; one seed cannot tell what it gains: give `--seeds 2` "
        "or more."
    )


def test_every_network_has_a_row_and_clear_gains_alone_are_coloured():
    """The colours are those of ten times what is relevant, whatever the gains are."""
    bars = {"click": Bar(1, 0.5, 1.5, 1), "like": Bar(-1, -1.5, -0.5, -1), "watch": Bar(9, -1, 20)}
    alone = {"click": Bar(0.0, None, None)}
    trunks = {"mmoe": {"mmoe+upgrad": bars}, "ple": {"ple+upgrad": alone}}
    first, second = gains_figure(list(bars), trunks, 0.2).axes
    [image] = first.images
    assert image.get_array().tolist() == [[1.0, -1.0, 0.0]]
    assert image.get_clim() == (-2.0, 2.0)
    assert [text.get_text() for text in first.texts] == ["+1.00 ▲", "-1.00 ▼", "+9.00"]
    assert [text.get_text() for text in second.texts] == ["+0.00"]
    assert [label.get_text() for label in second.get_yticklabels()] == ["ple+upgrad"]
