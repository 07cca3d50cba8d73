"""Arms to try statistics on."""

import numpy as np

from fulcrum.pipelines.ab.statistics.users import Users


def ratio_arm(rng: np.random.Generator, users: int = 200, rate: float = 0.2) -> Users:
    """Clicks over impressions; who comes more often clicks more, now and before."""
    taste = rng.beta(10 * rate, 10 * (1 - rate), users)
    rows, earlier = (1 + rng.poisson(20 * taste) for _ in range(2))
    return Users(
        rng.binomial(rows, taste).astype(float),
        rows.astype(float),
        rng.binomial(earlier, taste).astype(float),
        earlier.astype(float),
    )


def mean_arm(rng: np.random.Generator, users: int = 200, mean: float = 3.0) -> Users:
    """A total a user, and the same before with correlation 1 / 1.25."""
    level = rng.normal(mean, 1, users)
    now, before = (level + rng.normal(0, 0.5, users) for _ in range(2))
    return Users(now, np.ones(users), before)
