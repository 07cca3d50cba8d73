"""The effect once more, as a regression of rows whose errors hang together within users."""

import numpy as np
import statsmodels.api as sm

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics.effects import Effect, fieller

FEWEST = 40
"""Units of an arm below which cluster-robust errors are too small."""


def compare(
    values: np.ndarray, units: np.ndarray, treated: np.ndarray, alpha: float = 0.05
) -> Effect:
    """OLS of a row's value on its arm, standard errors clustered by unit (Liang and Zeger,
    Biometrika 1986), Student's t with one degree of freedom less than units.

    values: `(rows,)`; units: `(rows,)` of any kind; treated: `(rows,)` bool. The difference is that
    of the means over rows, as `effects.compare` has it with rows as the denominator. Raises
    DataError below `FEWEST` units of an arm (Cameron, Gelbach and Miller, REStat 2008, say how far
    off the errors are then): compare users instead.
    """
    _, codes = np.unique(units, return_inverse=True)
    counts = [len(np.unique(codes[chosen])) for chosen in (~treated, treated)]
    for arm, count in zip(("control", "treatment"), counts, strict=True):
        if count < FEWEST:
            raise DataError(
                f"arm `{arm}` has {count} units; errors clustered by unit need {FEWEST} or more"
            )
    if not np.isfinite(values).all():
        raise DataError(f"{(~np.isfinite(values)).sum()} of {len(values)} values are not finite")
    if np.ptp(values[treated]) == 0 or np.ptp(values[~treated]) == 0:
        raise DataError("the metric is constant in an arm; without variation there is no interval")
    fit = sm.OLS(values, sm.add_constant(treated.astype(float))).fit(
        cov_type="cluster", cov_kwds={"groups": codes}, use_t=True
    )
    control, difference = (float(v) for v in fit.params)
    low, high = (float(v) for v in fit.conf_int(alpha)[1])
    covariance, se = fit.cov_params(), float(fit.bse[1])
    errors = float(fit.bse[0]), float(np.sqrt(covariance.sum()))
    return Effect(
        control,
        control + difference,
        difference,
        se,
        low,
        high,
        float(fit.pvalues[1]),
        *fieller((control, control + difference), errors, (high - low) / 2 / se),
        counts[0],
        counts[1],
        "clustered",
    )
