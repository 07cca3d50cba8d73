"""Preference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.models.weightings import Declared
from fulcrum.models.weightings.preference import PreferenceConfig
from fulcrum.testing.course import Course, follow, losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract

POSITIVE = st.floats(0.01, 100)


class TestContract(WeightingContract):
    per_task = ("level.total", "level.seen")

    def config(self) -> PreferenceConfig:
        return PreferenceConfig(preference={"t0": 3.0}, window=4)


@settings(max_examples=30, deadline=None)
@given(st.lists(POSITIVE, min_size=3, max_size=3), st.lists(POSITIVE, min_size=3, max_size=3))
def test_weighted_losses_have_the_declared_shares(shares: list[float], losses: list[float]) -> None:
    preference = {f"t{t}": share for t, share in enumerate(shares)}
    weighting = PreferenceConfig(preference=preference).build(COURSE.setting())
    weighted = weighting(losses_only(torch.tensor(losses))) * torch.tensor(losses)
    expected = [share / sum(shares) for share in shares]
    assert (weighted / weighted.sum()).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_level_is_the_mean_of_the_first_window() -> None:
    weighting = PreferenceConfig(window=4).build(COURSE.setting())
    seen = follow(weighting, COURSE, range(20))
    level = torch.stack([COURSE.losses(number) for number in range(4)]).mean(0)
    expected = (3 / level / (1 / level).sum()).float()
    torch.testing.assert_close(seen[3:], expected.expand(17, 3))


def test_the_scale_of_a_loss_leaves_every_weighted_loss() -> None:
    """Up to normalisation."""
    scaled = Course(scale=1e3)
    plain = follow(PreferenceConfig(window=4).build(COURSE.setting()), COURSE, range(20))
    seen = follow(PreferenceConfig(window=4).build(scaled.setting()), scaled, range(20))
    share = seen * torch.tensor([1e3, 1, 1]) / plain
    torch.testing.assert_close(share, share[:, :1].expand(-1, 3), rtol=1e-5, atol=0)


def test_a_task_that_is_not_there_is_refused() -> None:
    tasks = Declared({"click": "binary", "buy": "binary"})
    [(path, message)] = PreferenceConfig(preference={"clik": 2.0}).problems(tasks)
    assert path == ("preference", "clik") and "click" in message
    [(path, message)] = PreferenceConfig(preference={"click": 0, "buy": 0}).problems(tasks)
    assert path == ("preference",)
