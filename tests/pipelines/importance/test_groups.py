"""Which features are shuffled together."""

import pytest

from fulcrum.features.kinds.base import Learned
from fulcrum.features.kinds.numeric import Number
from fulcrum.features.layout import Layout
from fulcrum.features.spec import FeatureSpec
from fulcrum.features.transform.state import FeatureState
from fulcrum.pipelines.importance.groups import feature_groups, short

SPEC = FeatureSpec.model_validate(
    {
        "data": {"events": "events.parquet", "time": {"column": "at"}},
        "features": {
            "user": {"kind": "categorical"},
            "item": {"kind": "categorical"},
            "shelf": {"kind": "categorical"},
            "length": {"kind": "numeric"},
            "length_bucket": {"kind": "numeric", "column": "length", "transform": "quantile"},
            "tags": {"kind": "multi"},
            "night": {"kind": "expression", "sql": "length < 6"},
            "place": {"kind": "cross", "columns": ["item", "shelf"]},
            "clicks": {"kind": "window", "key": "user", "statistic": "count", "where": "clicked"},
            "rate_1d": {
                "kind": "window",
                "key": "user",
                "statistic": "rate",
                "where": "clicked",
                "over": "1d",
            },
            "seen": {"kind": "window", "key": "user", "statistic": "count"},
            "liked": {"kind": "history", "key": "user", "attributes": ["item", "shelf"]},
        },
        "tasks": {},
    }
)


def test_what_reads_the_same_columns_is_one_group_and_a_history_has_all_its_attributes():
    numbers = ("length", "night", "clicks", "rate_1d", "seen")
    learned = {name: Number() if name in numbers else Learned() for name in SPEC.features}
    learned |= {"length": Number(nulls=3), "length_bucket": Number(edges=(1.0,), nulls=3)}
    state = FeatureState(
        SPEC,
        Layout(tables=(), tasks=()),
        row_columns={},
        past_columns={},
        tables={},
        lookups={},
        learned=learned,
        bases={},
        fingerprint="",
    )
    assert feature_groups(state) == {
        "user": ("user",),
        "item": ("item",),
        "shelf": ("shelf",),
        "length, length_bucket": ("length", "length.null", "length_bucket"),
        "tags": ("tags",),
        "night": ("night",),
        "place": ("place",),
        "clicks, rate_1d": ("clicks", "rate_1d"),
        "seen": ("seen",),
        "liked": ("liked.item", "liked.shelf", "liked.age"),
    }


@pytest.mark.parametrize(("group", "name"), [("hour", "hour"), ("a, b, c", "a and 2 more")])
def test_a_long_group_is_called_by_its_first_feature(group, name):
    assert short(group) == name
