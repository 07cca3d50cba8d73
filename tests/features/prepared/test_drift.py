import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.prepared.drift import psi

counts = st.lists(st.integers(0, 1000), min_size=3, max_size=3).map(np.array)


@given(counts, counts)
def test_psi_is_symmetric_not_negative_and_zero_for_equal_shares(
    a: np.ndarray, b: np.ndarray
) -> None:
    assert psi(a, b) == pytest.approx(psi(b, a))
    assert psi(a, b) >= 0
    assert psi(a, a) == pytest.approx(0, abs=1e-12)


def test_psi_by_hand() -> None:
    expected, actual = np.array([749.5, 249.5]), np.array([499.5, 499.5])  # 3 : 1 against 1 : 1
    by_hand = (0.5 - 0.75) * math.log(0.5 / 0.75) + (0.5 - 0.25) * math.log(0.5 / 0.25)
    assert psi(expected, actual) == pytest.approx(by_hand, rel=1e-6)


def test_rare_bins_share_one() -> None:
    expected = np.array([100, 90, 1, 1, 1])
    moved = np.array([100, 90, 3, 0, 0])
    assert psi(expected, moved, bins=2) == pytest.approx(0, abs=1e-12)
    assert psi(expected, moved) > 0.01


def test_nothing_to_compare() -> None:
    assert psi(np.zeros(3), np.ones(3)) == 0
