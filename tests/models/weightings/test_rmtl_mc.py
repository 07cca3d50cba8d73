"""RMTL without critics: returns that did happen, row by row."""

from dataclasses import replace

import pytest
import torch

from fulcrum.models.agents.critics import LEAST, reward, session_ends
from fulcrum.models.weightings.rmtl import RMTLConfig
from fulcrum.models.weightings.rmtl_mc import RMTLMC, RMTLMCConfig, discounted
from tests.models.weightings.row_contract import RowContract
from tests.models.weightings.sessions_toy import LESSON, SETTING, step_of, teach, toy


class TestRMTLMC(RowContract):
    def config(self) -> RMTLMCConfig:
        return RMTLMCConfig()


def test_returns_are_discounted_to_the_end_of_a_session() -> None:
    rewards = torch.tensor([[-1.0], [-2.0], [-4.0], [-8.0]])
    ends = session_ends(torch.tensor([7, 7, 7, 9]))
    assert ends.tolist() == [False, False, True, True]
    expected = [-1 - 2 / 2 - 4 / 4, -2 - 4 / 2, -4.0, -8.0]
    assert discounted(rewards, ends, 0.5)[:, 0].tolist() == expected


def heard(config: RMTLMCConfig) -> RMTLMC:
    """After a lesson from all rows, in another order of sessions than they have in the split."""
    weighting, rows = config.build(SETTING), toy(LESSON, 0)
    weighting.learn(replace(rows, index=rows.index.flip(0)))
    weighting.taught()
    return weighting


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_a_row_has_the_return_that_happened_in_its_place(gamma: float) -> None:
    config = RMTLMCConfig(gamma=gamma, strength=2.0, normalise=False)
    rows = toy(LESSON, 0)
    gained = reward(rows.scores.clamp(LEAST, 1 - LEAST), rows.labels)
    last, before = gained[4], gained[3] + gamma * gained[4]
    weights = heard(config)(step_of(replace(rows, index=rows.index.flip(0))))
    torch.testing.assert_close(weights[3:5], 1 - 2 * torch.stack([before, last]))


def test_weights_are_looked_up_and_do_not_follow_the_network() -> None:
    weighting, rows = heard(RMTLMCConfig()), toy(LESSON, 0)
    other = replace(rows, scores=1 - rows.scores, state=-rows.state)
    assert torch.equal(weighting(step_of(rows)), weighting(step_of(other)))


def test_weights_hold_the_rows_own_label() -> None:
    """Why it is an ablation: where the policy's prediction is the same, the rarer label weighs
    more, however little the features foresee it."""
    rows = toy(LESSON, 0)
    weighting = RMTLMCConfig(gamma=0.0).build(SETTING)
    rows = replace(rows, scores=torch.full_like(rows.scores, 0.2))
    weighting.learn(rows)
    weights = weighting(step_of(rows))
    positive = rows.labels == 1
    assert weights[positive].min() > weights[~positive].max()


def test_a_critic_goes_with_the_returns_that_happened() -> None:
    """They hold every row's own noise: even the closed form has a correlation of only 0.78."""
    gamma, rows = 0.9, toy(5000, 10_000)
    config = RMTLConfig(gamma=gamma, hidden=(64, 64), updates=1)
    gained = reward(rows.scores, rows.labels)
    returns = discounted(gained, session_ends(rows.session), gamma)
    with torch.no_grad():
        q = teach(config, 800).td.critics(rows.state, rows.scores)
    assert torch.corrcoef(torch.cat([q, returns], 1).T)[0, 1] > 0.7
