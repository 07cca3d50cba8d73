"""What every calibration promises. A member's own test file inherits this and names its class."""

from typing import ClassVar

import numpy as np
import pytest
import torch

from fulcrum.features.tasks.base import Link
from fulcrum.models.calibrations import CALIBRATIONS, Calibration
from fulcrum.models.calibrations.increasing import IDENTITY, Increasing

ROWS = 40_000


def linked_rows(
    link: Link, truth: Calibration | None = None, rows: int = ROWS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linked scores, targets whose mean is what `truth` makes of them (or what they say), and
    weights, `(rows,)` each."""
    random = np.random.default_rng(seed)
    value = random.normal(-1.0, 1.5, rows)
    z = value if truth is None else truth(value)
    target = (
        random.poisson(np.exp(z)) if link == "log" else random.random(rows) < 1 / (1 + np.exp(-z))
    )
    return value, target.astype(float), random.uniform(0.5, 1.5, rows)


class CalibrationContract:
    """Tests that hold for every calibration."""

    member: ClassVar[type[Calibration]]
    planted: ClassVar[Calibration]
    """One to be found again from rows of it."""
    tolerance: ClassVar[float] = 0.1
    """How near, in units of the link, between the 1st and 99th percentile of scores."""

    @property
    def link(self) -> Link:
        """One that it serves."""
        return min(self.member.links)

    def fitted(self, truth: Calibration | None = None, seed: int = 0) -> Calibration:
        """From rows of a truth; from rows that are right already when left out."""
        fitted = self.member.fit(*linked_rows(self.link, truth, seed=seed))
        assert fitted is not None
        return fitted

    def test_is_listed(self) -> None:
        assert CALIBRATIONS[self.planted.kind] is self.member is type(self.planted)
        assert self.member.source or self.planted.terms == IDENTITY

    def test_round_trips_as_plain_data(self) -> None:
        fitted = self.fitted(self.planted)
        assert self.member.model_validate_json(fitted.model_dump_json()) == fitted

    @pytest.mark.parametrize("right", [True, False])
    def test_finds_what_was_planted_and_leaves_what_is_right(self, right: bool) -> None:
        truth = None if right else self.planted
        value = np.quantile(linked_rows(self.link)[0], np.linspace(0.01, 0.99, 99))
        expected = value if truth is None else truth(value)
        assert np.abs(self.fitted(truth)(value) - expected).max() < self.tolerance

    def test_is_strictly_increasing_and_finite(self) -> None:
        """No two rows change places, and in float32 no two ever cross by rounding."""
        for calibration in (self.planted, self.fitted(self.planted), self.fitted()):
            mapped = calibration(np.linspace(-60, 60, 20_001))
            assert np.isfinite(mapped).all() and (np.diff(mapped) > 0).all()
            z = torch.linspace(-60, 60, 1_000_001)[:, None]
            steps = Increasing([calibration.terms])(z).diff(dim=0)
            assert (steps >= -1e-6 * 60).all()
            probability = Increasing([calibration.terms])(z * 1e4).sigmoid()
            assert ((probability >= 0) & (probability <= 1)).all()

    def test_only_the_ratio_of_weights_counts(self) -> None:
        value, target, weight = linked_rows(self.link, self.planted, 5_000)
        one, other = (self.member.fit(value, target, weight * by) for by in (1.0, 7.0))
        assert one is not None and other is not None
        np.testing.assert_allclose(one(value), other(value), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("label", [0.0, 1.0])
    def test_rows_that_tell_nothing_give_no_infinite_map(self, label: float) -> None:
        """One class only, or no event at all."""
        fitted = self.member.fit(np.linspace(-2, 2, 50), np.full(50, label), np.ones(50))
        assert fitted is None or np.isfinite(fitted(np.linspace(-9, 9, 99))).all()

    def test_a_task_is_put_right_alike_whatever_stands_beside_it(self) -> None:
        z = torch.randn(64, 3, dtype=torch.float64)
        others = [member.terms for member in (_others())]
        for other in others:
            both = Increasing([other, self.planted.terms, IDENTITY]).double()(z)
            alone = Increasing([self.planted.terms]).double()(z[:, 1:2])
            torch.testing.assert_close(both[:, 1:2], alone, rtol=0, atol=1e-12)
            assert torch.equal(both[:, 2], z[:, 2])


def _others() -> list[Calibration]:
    return [
        CALIBRATIONS["platt"](slope=0.5, offset=1.0),  # type: ignore[call-arg]
        CALIBRATIONS["isotonic"](x=(-1.0, 0.0, 2.0), y=(-2.0, 0.5, 1.0)),  # type: ignore[call-arg]
        CALIBRATIONS["beta"](a=0.5, b=2.0, c=0.1),  # type: ignore[call-arg]
    ]
