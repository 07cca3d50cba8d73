import numpy as np
import pytest

from fulcrum.pipelines.designs import LoggedRows
from fulcrum.pipelines.designs.base import BEFORE


@pytest.fixture(params=range(12))
def rows(request: pytest.FixtureRequest) -> LoggedRows:
    """Two to four arms with rows of each, in most cases rows outside the test, too."""
    random = np.random.default_rng(request.param)
    arms = random.integers(2, 5)
    more = random.integers(BEFORE, arms, request.param * 4)
    arm = random.permutation([*range(arms), *more])
    chance = random.dirichlet(np.ones(arms), int((arm != BEFORE).sum()))
    return LoggedRows(tuple("abcd"[:arms]), arm, random.random(len(arm)) < 0.5, chance)
