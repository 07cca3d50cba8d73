from pathlib import Path

import numpy as np
import pytest

from fulcrum.features.errors import TrainError
from fulcrum.pipelines.ab.simulation.config import Simulation
from fulcrum.pipelines.ab.simulation.loop.play import METRICS, LoopConfig, Outcome, play
from fulcrum.pipelines.ab.simulation.loop.report import sentences, table
from fulcrum.pipelines.ab.simulation.loop.study import Study, study
from fulcrum.pipelines.config.load import read
from fulcrum.pipelines.console.terminal import as_text

CONFIGS = Path(__file__).parents[5] / "configs" / "worlds"
PROCESSES = 2


def shipped(name: str, **changes: object) -> LoopConfig:
    world = read(Simulation, CONFIGS / f"{name}.yaml").world
    assert isinstance(world, LoopConfig)
    return world.model_copy(update=changes)


def made_up(means: dict[int, tuple[float, float]], worlds: int, spread: float = 0.0) -> Outcome:
    """Two replications whose worlds have these means of treatment and control, in all metrics."""
    values = np.full((2, worlds, 1, 2, 3), np.nan)
    users = np.zeros((2, worlds, 1, 2))
    for world, (treatment, control) in means.items():
        for arm, mean in enumerate((treatment, control)):
            if not np.isnan(mean):
                values[0, world, 0, arm] = mean + spread
                values[1, world, 0, arm] = mean - spread
                users[:, world, 0, arm] = 100
    return Outcome(values, values, values**2 + 1, users, {})


NAN = float("nan")
WORLDS = {
    0: (0.7, NAN),
    1: (NAN, 0.5),
    2: (0.8, 0.5),  # pooling
    3: (0.7, 0.5),  # snapshot
    4: (0.6, 0.5),  # splitting
    5: (0.75, 0.5),  # weighted
}


def test_biases_are_those_of_the_worlds():
    """The truth is .7 - .5; pooling says .8 - .5, and so on."""
    result = study(LoopConfig(), 0.5, made_up(WORLDS, 6))
    for metric in METRICS:
        assert result.truth[metric] == pytest.approx(0.7 - 0.5)
        assert result.line("pooling", metric).bias == pytest.approx(0.1)
        assert result.line("splitting", metric).bias == pytest.approx(-0.1)
        assert result.line("weighted", metric).left == pytest.approx(0.05 / 0.1)
        assert result.line("splitting", metric).rmse == pytest.approx(0.1)
        assert result.line("snapshot", metric).naive_se == pytest.approx((1 / 100 + 1 / 100) ** 0.5)


def test_replications_in_different_regimes_are_refused():
    with pytest.raises(TrainError, match=r"differs by 0\.141 .* different regimes"):
        study(LoopConfig(), 0.5, made_up(WORLDS, 6, spread=0.1))


def test_the_papers_figures_stand_beside_ours():
    result = study(LoopConfig(), 0.2, made_up(WORLDS, 6))
    assert result.line("weighted", "stay").paper_bias == -0.008
    assert result.line("splitting", "stay").paper_std == 0.052
    assert result.line("pooling", "stay").paper_bias is None
    text = as_text(table(LoopConfig(), result))
    assert "-0.008" in text and "0.052" in text and "+0.200" in text


def test_words_say_where_splitting_does_as_well():
    text = " ".join(sentences(LoopConfig(), study(LoopConfig(), 0.5, made_up(WORLDS, 6))))
    assert "leaves at most 50%" in text and "more than half" in text
    assert "Splitting has the larger root mean square error on every metric." in text
    better = {**WORLDS, 4: (0.71, 0.5)}
    text = " ".join(sentences(LoopConfig(), study(LoopConfig(), 0.5, made_up(better, 6))))
    assert "Splitting does as well on short share, stay and finish" in text


def bias_shares(result: Study) -> list[float]:
    shares = [result.line("weighted", metric).left for metric in METRICS]
    assert all(share is not None for share in shares)
    return [share for share in shares if share is not None]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_weighting_leaves_less_than_half_of_poolings_bias():
    """The closed loop, small; its directions are those of the truth, and pooling inflates all."""
    config = shipped("loop", replications=10)
    result = study(config, 0.5, play(config, 0.5, PROCESSES))
    short, stay, finish = (result.truth[metric] for metric in METRICS)
    assert short < 0 < stay and finish < 0
    for metric in METRICS:
        assert result.line("pooling", metric).bias * result.truth[metric] > 0
    assert max(bias_shares(result)) < 0.5


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_weighting_in_full():
    """60 replications of 1,000 steps: less than 0.4 of the bias, and a spread not above
    splitting's where few are treated."""
    config = shipped("loop_full")
    result = study(config, 0.2, play(config, 0.2, PROCESSES))
    assert max(bias_shares(result)) < 0.4
    for metric in METRICS:
        assert result.line("weighted", metric).std <= result.line("splitting", metric).std
    np.testing.assert_allclose(list(result.control.values()), [0.655, 3.46, 0.618], atol=0.03)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_models_that_learn_break_the_usual_interval_and_not_that_over_instances():
    """An A/A: no design sees an effect on average; the usual test does under splitting."""
    config = shipped("aa", replications=50)
    outcome = play(config, 0.5, PROCESSES)
    result = study(config, 0.5, outcome)
    most = 0.05 + 3.1 * (0.05 * 0.95 / config.replications) ** 0.5
    for line in result.lines:
        assert abs(line.bias) <= 4 * line.bias_se
        assert line.rejected_by_instances is not None and line.rejected_by_instances <= most
    assert max(result.line("splitting", metric).rejected for metric in METRICS) > 0.2
    assert result.facts["weighted"]["log_loss_bits"] == pytest.approx(1, abs=0.005)
    text = " ".join(sentences(config, result))
    assert "splitting: the usual test is wrong" in text
    assert "splitting: the interval over instances holds" in text
