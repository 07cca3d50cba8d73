"""What is read as an id, as a number, and in an expression."""

import polars as pl

from fulcrum.features.transform.uses import past_reads, reads, row_reads
from fulcrum.testing.specs import learn, make_spec

DATA = {
    "keys": ["ref"],
    "group": "page",
    "session": {"key": "visit"},
    "time": {"column": "at", "unit": "s", "earliest": "1970-01-01"},
    "tables": {"items": {"path": "items.csv", "key": "item"}},
    "derive": {"hour": "minute // 60"},
    "where": "bot = 0",
    "weight": "w",
    "arms": {"column": "arm", "unit": "unit"},
    "split": {"kind": "hash", "key": "house"},
    "outcomes": ["click"],
}
FEATURES = {
    "user": {"kind": "categorical"},
    "tags": {"kind": "multi"},
    "pair": {"kind": "cross", "columns": ["left", "right"]},
    "price": {"kind": "numeric"},
    "cheap": {"kind": "expression", "sql": "cost < 5", "encode": "categorical"},
    "seen": {"kind": "window", "key": "owner", "statistic": "count", "where": "shown = 1"},
    "viewed": {"kind": "history", "key": "who", "attributes": ["user"]},
}


def test_everything_that_is_read_is_read_as_something() -> None:
    found = reads(make_spec(FEATURES, DATA))
    ids = "ref page visit item arm unit house user tags left right owner who"
    assert found.ids == set(ids.split())
    assert found.numbers == {"at", "price"}
    assert found.mentions == {"minute", "bot", "w", "cost", "shown", "click"}
    assert not found.whole
    assert reads(make_spec(FEATURES, {**DATA, "deduplicate": True})).whole


def test_files_to_be_scored_need_no_more_than_they_are_asked_for() -> None:
    log = pl.DataFrame({"user": [1, 2], "ref": [1, 2], "at": [1, 2], "click": [0, 1]})
    features = {
        "user": {"kind": "categorical"},
        "seen": {"kind": "window", "key": "user", "statistic": "count", "where": "click = 1"},
    }
    data = {
        "keys": ["ref"],
        "time": {"column": "at", "unit": "s", "earliest": "1970-01-01"},
        "outcomes": ["click"],
        "types": {"ref": "String", "click": "Int64"},
        "optional": ["user", "click"],
    }
    state = learn(log, features, data=data)
    rows, past = row_reads(state), past_reads(state)
    assert rows.names == {"user", "at", "ref"}
    assert rows.expected == {"user": pl.Int64(), "at": pl.Int64()}
    assert (rows.types, rows.optional) == ({"ref": pl.String()}, {"user"})
    assert past.names == past.expected.keys() == {"user", "at", "click"}
    assert past.optional == {"user", "click"}
