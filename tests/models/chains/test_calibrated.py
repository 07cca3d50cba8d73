"""Every chain, calibrated in any way: P(buy) <= P(click)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.features.layout import TaskSpec
from fulcrum.models.calibrations import Calibration, NoCalibration
from fulcrum.models.calibrations.beta import BetaCalibration
from fulcrum.models.calibrations.isotonic import IsotonicCalibration
from fulcrum.models.calibrations.platt import PlattCalibration
from fulcrum.models.chains import CHAINS
from fulcrum.models.chains.base import parents
from fulcrum.testing.chains import chained

SLOPE, OFFSET = st.floats(0.05, 5.0), st.floats(-4.0, 4.0)


@st.composite
def trees(draw: st.DrawFn) -> tuple[TaskSpec, ...]:
    """Two to six tasks in trees of any shape, in any order."""
    names = "abcdef"[: draw(st.integers(2, 6))]
    order = draw(st.permutations(names))
    given = {
        name: draw(st.none() | st.sampled_from(order[:place])) if place else None
        for place, name in enumerate(order)
    }
    return chained(*(given[name] for name in names))


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    """Any of a binary task."""
    first = (draw(OFFSET), draw(OFFSET))
    gaps = draw(st.lists(st.tuples(SLOPE, SLOPE), min_size=1, max_size=4))
    x, y = np.cumsum([first, *gaps], 0).T.tolist()
    return draw(
        st.sampled_from(
            [
                NoCalibration(),
                PlattCalibration(slope=draw(SLOPE), offset=draw(OFFSET)),
                BetaCalibration(a=draw(SLOPE), b=draw(SLOPE), c=draw(OFFSET)),
                IsotonicCalibration(x=tuple(x), y=tuple(y)),
            ]
        )
    )


@pytest.mark.parametrize("kind", CHAINS)
@given(tasks=trees(), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=40)
def test_calibrated_scores_keep_the_chain_and_the_order_of_rows(
    kind: str, tasks: tuple[TaskSpec, ...], seed: int, data: st.DataObject
) -> None:
    """Of all rows, and of those that reach no cap."""
    chain = CHAINS[kind]().build(tasks, 4, 0.0)
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((50, len(tasks), chain.outputs), generator=random)
    before = chain.score(logits)[:, :, 0]
    chain.calibrate([data.draw(calibrations()) for _ in tasks])
    after = chain.score(logits)[:, :, 0]
    for t, parent in enumerate(parents(tasks)):
        free = torch.ones(len(after), dtype=torch.bool)
        if parent is not None:
            assert (after[:, t] <= after[:, parent]).all()
            free = after[:, t] < after[:, parent]
        order = before[free, t].argsort(stable=True)
        assert (after[free, t][order].diff() >= -1e-6).all()
