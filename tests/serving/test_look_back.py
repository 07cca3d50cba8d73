"""A kind of feature that looks back, of which serving knows nothing more: online as offline."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl

from fulcrum.features.kinds.base import Features, Read
from fulcrum.features.kinds.encoded import EncodedKind
from fulcrum.features.kinds.numeric import NumericConfig
from fulcrum.features.kinds.recall import PREFIX, RecallKind
from fulcrum.features.past.events import TIME, Standing
from fulcrum.features.transform.fit import fit
from fulcrum.serving.http.body import Body
from fulcrum.serving.http.model_service import ModelService
from tests.serving.conftest import make_log
from tests.serving.scoring.test_scorer import difference
from tests.serving.test_service import as_events, as_rows


class PauseConfig(RecallKind, EncodedKind):
    """Seconds since the key's last event before the row, 0 without one."""

    kind: Literal["pause"] = "pause"
    encode: NumericConfig = NumericConfig()

    def reads(self, name: str, features: Features) -> list[Read]:
        return [Read(("key",), self.key, past=True)]

    def value_column(self, name: str) -> str:
        return PREFIX + name

    def answer(self, name: str, standing: Standing, base: float) -> Mapping[str, pl.Series]:
        there = standing.end > standing.first
        pause = np.zeros(len(standing.end))
        last = standing.events[TIME].to_numpy()[standing.end[there] - 1]
        pause[there] = (standing.moments[there] - last) / 1e6
        return {PREFIX + name: pl.Series(pause)}


def test_a_kind_that_serving_never_heard_of_is_answered_online_as_offline(bundle, spec, log):
    """It stands in for the one feature with the key `video_id`, under the same name and as the same
    input of the graph."""
    pause = PauseConfig(key="video_id")
    others = spec.features | {"rate": pause}
    assert [n for n, f in others.items() if getattr(f, "key", None) == "video_id"] == ["rate"]
    state = fit(log.lazy(), log.lazy(), spec.model_copy(update={"features": others}))
    assert state.layout.inputs == bundle.state.layout.inputs
    service = ModelService(replace(bundle, state=state), "small", "3", "cpu")
    service.open()

    past = make_log(300, seed=11).unique(list(state.past_columns), maintain_order=True)
    rows = make_log(100, seed=12).with_columns(pl.col("time_ms") + 600_000)
    assert service.add_events(Body(json.dumps({"events": as_events(past)}).encode())) == {
        "added": past.height,
        "ignored": 0,
    }
    for batch in (rows, rows[:1]):
        offline = service.scorer.score(batch, past.lazy())
        answer = service.score(Body(json.dumps({"rows": as_rows(batch)}).encode()))
        assert difference(offline, pl.DataFrame(answer["scores"])) < 1e-5
    of_the_user = past.filter(pl.col("user_id") == rows["user_id"][0])
    assert difference(offline, service.scorer.score(rows[:1], of_the_user.lazy())) > 1e-3
