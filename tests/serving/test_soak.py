"""A short soak; `python -m benchmarks.soak` takes minutes."""

import pytest

from benchmarks.soak import soak
from tests.serving.conftest import make_log
from tests.serving.test_service import as_events


@pytest.mark.slow
def test_a_service_gives_back_what_it_took(bundle, tmp_path):
    figures = soak(bundle, as_events(make_log(400, seed=3)), tmp_path, 20)
    assert not [figure for figure in figures if figure.missed]
