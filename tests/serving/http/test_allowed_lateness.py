"""What a service says of rows that come later than it remembers, and of those that do not."""

from contextlib import closing

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from fulcrum.features.past.growing import GrowingPast
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.http.model_service import ModelService
from tests.serving.http.small_service import listening
from tests.serving.test_service import Client, as_rows

DAY = 86_400_000


def test_rows_within_it_have_the_scores_of_all_events_and_others_are_named(bundle, log):
    """A hundred days of events, of which a service with an hour of lateness keeps few."""
    past = pl.concat(log.with_columns(pl.col("time_ms") - day * DAY) for day in range(100))
    rows = log.sort("time_ms").tail(5)
    with closing(ModelService(bundle, "small", "3", "cpu")) as service:
        service.limits = service.limits.model_copy(update={"allowed_lateness": "1h"})
        service.store.append(past)
        expected = service.scorer.score(rows, past.lazy())
        with listening(service) as server:
            client = Client(server.port)
            status, content = client.post("/score", {"rows": as_rows(rows)})
            assert status == 200, content
            scores = pl.DataFrame(content["scores"])
            assert_frame_equal(
                scores.select(expected.columns[3:]),
                expected.select(expected.columns[3:]),
                check_dtypes=False,
                rel_tol=1e-6,
            )
            late = pl.concat([rows[:1], rows[1:2].with_columns(pl.col("time_ms") - 50 * DAY)])
            status, content = client.post("/score", {"rows": as_rows(late)})
        assert status == 422
        assert "later than the allowed lateness" in str(content) and "(row 2)" in str(content)
        for kept in service.past(service.scorer).values():
            assert isinstance(kept, GrowingPast)
            assert kept._arena.used < len(past) / 10


def test_it_is_a_length_of_time():
    assert ServingConfig(allowed_lateness="1.5h").lateness == 5400 * 10**6
    assert ServingConfig().lateness is None
    with pytest.raises(ValidationError, match="for example `30m`, `7d`"):
        ServingConfig(allowed_lateness="1 day")
