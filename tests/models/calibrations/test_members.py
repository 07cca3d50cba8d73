"""Each calibration: the contract, and what is its own."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fulcrum.models.calibrations.beta import BetaCalibration
from fulcrum.models.calibrations.isotonic import ROWS, STEPS, IsotonicCalibration
from fulcrum.models.calibrations.logistic import EVENTS
from fulcrum.models.calibrations.none import NoCalibration
from fulcrum.models.calibrations.offset import OffsetCalibration
from fulcrum.models.calibrations.platt import PlattCalibration
from fulcrum.models.calibrations.scale import ScaleCalibration
from fulcrum.testing.calibrations import CalibrationContract, linked_rows


class TestNone(CalibrationContract):
    member = NoCalibration
    planted = NoCalibration()


class TestScale(CalibrationContract):
    member = ScaleCalibration
    planted = ScaleCalibration(offset=0.5)

    def test_scores_add_up_to_what_the_targets_do(self) -> None:
        value, target, weight = linked_rows("log", self.planted)
        fitted = ScaleCalibration.fit(value, target, weight)
        assert fitted is not None
        assert weight @ np.exp(fitted(value)) == pytest.approx(weight @ target, rel=1e-6)


class TestOffset(CalibrationContract):
    member = OffsetCalibration
    planted = OffsetCalibration(offset=-0.8)

    def test_scores_add_up_to_what_labels_do(self) -> None:
        value, target, weight = linked_rows("logit", self.planted)
        fitted = OffsetCalibration.fit(value, target, weight)
        assert fitted is not None
        score = 1 / (1 + np.exp(-fitted(value)))
        assert weight @ score == pytest.approx(weight @ target, rel=1e-6)


class TestPlatt(CalibrationContract):
    member = PlattCalibration
    planted = PlattCalibration(slope=0.6, offset=-0.7)

    def test_a_score_that_ranks_backwards_is_refused(self) -> None:
        value, target, weight = linked_rows("logit")
        assert PlattCalibration.fit(-value, target, weight) is None

    @pytest.mark.parametrize("positives", [2 * EVENTS - 1, 2 * EVENTS])
    def test_each_number_takes_ten_events(self, positives: int) -> None:
        value = np.random.default_rng(0).normal(size=500)
        target = (np.arange(500) < positives).astype(float)
        value += target
        fitted = PlattCalibration.fit(value, target, np.ones(500))
        assert (fitted is None) == (positives < 2 * EVENTS)


class TestBeta(CalibrationContract):
    member = BetaCalibration
    planted = BetaCalibration(a=0.6, b=1.5, c=0.3)
    tolerance = 0.15

    def test_equal_slopes_are_a_line(self) -> None:
        z = np.linspace(-8, 8, 33)
        line = PlattCalibration(slope=0.75, offset=-0.5)
        np.testing.assert_allclose(BetaCalibration(a=0.75, b=0.75, c=-0.5)(z), line(z), atol=1e-6)

    def test_is_a_log_p_minus_b_log_1_minus_p(self) -> None:
        p = np.array([0.1, 0.5, 0.9])
        by_hand = 0.3 + 0.6 * np.log(p) - 1.5 * np.log(1 - p)
        np.testing.assert_allclose(self.planted(np.log(p / (1 - p))), by_hand, rtol=1e-6)


class TestIsotonic(CalibrationContract):
    member = IsotonicCalibration
    planted = IsotonicCalibration(x=(-3.0, -1.0, 0.0, 1.0), y=(-3.4, -2.0, 0.2, 0.7))
    tolerance = 0.4  # of lines between ten points

    def test_points_are_hit_and_ends_go_on_with_slope_one(self) -> None:
        z = np.array([-5.0, -3.0, -1.0, -0.5, 0.0, 1.0, 3.0])
        by_hand = [-3.4 - 2, -3.4, -2.0, (-2.0 + 0.2) / 2, 0.2, 0.7, 0.7 + 2]
        np.testing.assert_allclose(self.planted(z), by_hand, atol=1e-6)

    def test_steps_are_few_and_hold_the_rarer_class(self) -> None:
        value, target, weight = linked_rows("logit")
        fitted = IsotonicCalibration.fit(value, target, weight)
        assert fitted is not None and 2 < len(fitted.x) <= STEPS
        few = np.flatnonzero(target > 0)[2 * ROWS - 1 :]
        target[few] = 0
        assert IsotonicCalibration.fit(value, target, weight) is None

    def test_a_score_that_ranks_backwards_is_no_map(self) -> None:
        value, target, weight = linked_rows("logit")
        assert IsotonicCalibration.fit(-value, target, weight) is None


def test_platt_is_logistic_regression() -> None:
    value, target, weight = linked_rows("logit", rows=2_000)
    fitted = PlattCalibration.fit(value, target, weight)
    plain = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000)
    plain.fit(value[:, None], target, sample_weight=weight)
    assert fitted is not None
    assert fitted.slope == pytest.approx(plain.coef_[0, 0], rel=1e-3)
    assert fitted.offset == pytest.approx(plain.intercept_[0], rel=1e-3)
    assert math.isfinite(fitted.slope)
