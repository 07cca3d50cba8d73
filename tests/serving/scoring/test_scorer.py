"""The batch scorer's core: agrees with the training network, row by row."""

import numpy as np
import polars as pl
import pytest

from fulcrum.features.errors import DataError, StateError
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.scoring.scorer import Scorer, explain
from fulcrum.testing.specs import encode, learn

SCORES = ["click", "long_view", "watch"]


def difference(a, b):
    """Largest difference, relative where a value exceeds 1."""
    x, y = (frame.select(SCORES).to_numpy().astype(float) for frame in (a, b))
    return np.max(np.abs(x - y) / np.maximum(1, np.abs(x)), initial=0)


@pytest.fixture(scope="module")
def scorer(bundle):
    return Scorer(bundle, "cpu")


def test_scores_are_those_of_the_training_network(scorer, log, expected):
    scores = scorer.score(log, log.lazy())
    assert scores.columns == ["user_id", "video_id", "time_ms", *SCORES]
    assert scores.select("user_id", "video_id", "time_ms").equals(
        log.select("user_id", "video_id", "time_ms")
    )
    assert difference(expected, scores) < 1e-5
    assert expected["click"].n_unique() > 300


def test_every_batch_size_and_order_gives_the_same(bundle, log, expected):
    shuffled = log.with_row_index().sample(fraction=1, shuffle=True, seed=1)
    for size in (1, 7, 400, 1000):
        scores = Scorer(bundle, "cpu", size).score(shuffled, log.lazy())
        back = scores.with_columns(shuffled["index"]).sort("index")
        assert difference(expected, back) < 1e-5


def test_each_row_alone_scores_as_in_company(scorer, log, expected):
    for i in range(0, 400, 57):
        assert difference(expected[i], scorer.score(log[i], log.lazy())) < 1e-5


def test_outcomes_are_not_needed_and_the_past_matters(scorer, log, expected):
    rows = log.drop("click", "long_view", "seconds")
    assert difference(expected, scorer.score(rows, log.lazy())) < 1e-5
    alone = scorer.score(rows)
    assert difference(expected, alone) > 1e-3
    assert alone.equals(scorer.score(rows, log.head(0).lazy()))


SECONDS = {"column": "time", "unit": "s", "earliest": "1970-01-01"}


def test_a_value_that_an_expression_does_not_take_is_named():
    derive = {"n": "CAST(s AS INT)"}
    train = pl.DataFrame({"s": ["1", "2"], "time": [1, 2], "user": ["a", "b"]})
    shown = {"kind": "window", "key": "user", "statistic": "count"}
    data = {"derive": derive, "time": SECONDS}
    state = learn(train, {"n": {"kind": "numeric"}, "shown": shown}, data=data)
    rows = pl.concat([train, train.with_columns(s=pl.lit("n/a"))])
    with pytest.raises(pl.exceptions.PolarsError) as error:
        encode(rows, state)
    message = str(explain(error.value, rows, state, first=100))
    assert message == (
        "data.derive.n: `CAST(s AS INT)` does not fit `n/a` in `s`; TRY_CAST gives null there "
        "(row 103)"
    )


def test_unknown_values_are_counted_and_scored(bundle, log):
    scorer = Scorer(bundle, "cpu")
    rows = log.head(10).with_columns(
        user_id=pl.lit(999), video_id=None, tags=pl.lit(["a", "new", "c"], pl.List(pl.String))
    )
    scores = scorer.score(rows, log.lazy())
    assert scores.select(SCORES).to_numpy().all()
    assert scorer.unknown["user"] == 10
    assert scorer.unknown["video"] == 0
    assert scorer.unknown["tags"] == 10
    scorer.score(rows.head(1))
    assert scorer.unknown["user"] == 11


def test_no_rows_give_no_scores(scorer, log):
    scores = scorer.score(log.head(0), log.lazy())
    assert scores.height == 0
    assert scores.columns == ["user_id", "video_id", "time_ms", *SCORES]
    assert scores.schema["click"] == pl.Float32


@pytest.mark.parametrize("column", ["video_id", "duration_s"])
def test_a_missing_column_is_named(scorer, log, column):
    with pytest.raises(DataError, match=rf"no column `{column}`; did you mean `{column}x`"):
        scorer.score(log.rename({column: column + "x"}))


def test_a_past_without_a_needed_column_is_refused(scorer, log):
    with pytest.raises(DataError, match="past events have no column `long_view`"):
        scorer.score(log, log.drop("long_view").lazy())


def test_a_value_that_does_not_fit_is_refused(scorer, log):
    wrong = log.with_columns(user_id=pl.lit("anna"))
    with pytest.raises(DataError, match=r"`user_id`.*'anna'.* Int64"):
        scorer.score(wrong)
    text = log.with_columns(pl.col("user_id").cast(pl.String))
    assert difference(scorer.score(log), scorer.score(text)) == 0


def test_numbers_that_are_none_are_scored(scorer, log):
    for value in (np.nan, np.inf, -np.inf, None):
        rows = log.head(3).with_columns(duration_s=pl.lit(value, pl.Float64))
        assert np.isfinite(scorer.score(rows).select(SCORES).to_numpy()).all()


def test_a_graph_of_another_state_is_refused(bundle):
    import dataclasses

    state = dataclasses.replace(bundle.state, fingerprint="another")
    other = Bundle(bundle.folder, state, bundle.config, bundle.serving, bundle.facts)
    with pytest.raises(StateError, match="not exported for the feature state"):
        Scorer(other, "cpu")


def test_other_things_than_frames_are_told(scorer, log):
    things = (3, "rows.parquet", [{}], log["user_id"])
    for rows in (None, *things, log.lazy()):
        with pytest.raises(DataError, match="expected the rows as a Polars DataFrame, got"):
            scorer.score(rows)
    for past in (*things, log):
        with pytest.raises(DataError, match="expected past events as a LazyFrame, got"):
            scorer.score(log.head(3), past)
    with pytest.raises(DataError, match="No such file or directory"):
        scorer.score(log.head(3), pl.scan_parquet("/nowhere/past.parquet"))
