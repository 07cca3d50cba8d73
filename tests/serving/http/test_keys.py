"""Events are found by keys of every type that a log may have, whichever route asks."""

import json
from datetime import date, datetime, time
from typing import Any

import polars as pl
import pytest

from fulcrum.features.transform.transform import transform
from fulcrum.serving.http.body import Body
from fulcrum.serving.http.model_service import ModelService
from fulcrum.serving.http.protocol import datatype
from fulcrum.serving.publishing.export import export
from fulcrum.testing.specs import learn
from tests.serving.conftest import MODEL, random_weights

BERLIN = pl.Datetime("us", "Europe/Berlin")
KEYS = {
    "day": pl.Series([date(2024, 1, 1), date(1, 1, 1), None]),
    "ms": pl.Series([datetime(2024, 1, 1), datetime(2024, 1, 1, 1), None], dtype=pl.Datetime("ms")),
    "ns": pl.Series([datetime(2024, 1, 1), datetime(2024, 1, 1, 1), None], dtype=pl.Datetime("ns")),
    "zoned": pl.Series([datetime(2024, 1, 1), None]).dt.replace_time_zone("UTC").cast(BERLIN),
    "hour": pl.Series([time(1), time(2), None]),
    "new": pl.Series([True, False, None]),
    "large": pl.Series([2**64 - 1, 2**63, 1, None], dtype=pl.UInt64),
    "word": pl.Series(["1", "01", "A", "a", "a ", "é", "e\u0301", "", None]),
}


@pytest.fixture(scope="module")
def log() -> pl.DataFrame:
    rows = range(60)
    keys = {name: values.gather([n % len(values) for n in rows]) for name, values in KEYS.items()}
    at = [1_700_000_000 + 60 * (n // 2) for n in rows]
    return pl.DataFrame({**keys, "t": at, "click": [n // 3 % 2 for n in rows]})


def plain(log: pl.DataFrame) -> list[dict[str, Any]]:
    return json.loads(json.dumps(log.to_dicts(), default=lambda value: value.isoformat()))


def test_score_and_infer_agree_with_the_batch_scorer(log: pl.DataFrame, tmp_path) -> None:
    features = {
        name: {"kind": "window", "key": name, "statistic": "rate", "where": "click = 1"}
        for name in KEYS
    }
    data = {"time": {"column": "t", "unit": "s"}, "outcomes": ["click"], "keys": ["t"]}
    state = learn(log, features, data=data)
    bundle = export(
        tmp_path / "model",
        state=state,
        model=MODEL,
        weights=random_weights(state.layout, MODEL),
        config={"name": "keys", "serving": {}},
        config_fingerprint="c0ffee",
        held_out=transform(log, state, log.lazy()),
        example=log.head(1),
    )
    service = ModelService(bundle, "keys", "1", "cpu")
    rows = plain(log)
    wanted = service.scorer.score(log, log.lazy())["click"].to_list()
    blind = service.scorer.score(log)["click"].to_list()
    assert wanted != pytest.approx(blind, abs=1e-3), "the past changes something"

    assert service.add_events(Body(json.dumps({"events": rows}).encode()))["added"] == 60
    scores = service.score(Body(json.dumps({"rows": rows}).encode()))["scores"]
    assert [score["click"] for score in scores] == wanted

    tensors = [
        {
            "name": name,
            "datatype": datatype(dtype),
            "shape": [60],
            "data": [row[name] for row in rows],
        }
        for name, dtype in state.row_columns.items()
    ]
    answer = service.infer(Body(json.dumps({"inputs": tensors}).encode()))
    assert answer["outputs"][0]["data"] == wanted
    service.close()
