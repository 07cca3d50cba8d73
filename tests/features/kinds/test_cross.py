from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from fulcrum.features.layout import NULL, UNKNOWN
from fulcrum.testing import plain
from fulcrum.testing.kinds import KindContract, Log
from fulcrum.testing.logs import Event
from fulcrum.testing.specs import encode, learn


class TestCross(KindContract):
    name = "pair"

    def document(self) -> dict[str, Any]:
        return {"kind": "cross", "columns": ["user", "author"]}

    def reference(self, train: Log, log: Log) -> Mapping[str, Sequence[Any]]:
        return {"pair": plain.ids([_pair(row) for row in train], [_pair(row) for row in log])}

    def absent(self, row: Event, log: Log) -> bool:
        return row["user"] is None or row["author"] is None


def _pair(row: Event) -> tuple[str, str] | None:
    return None if None in (row["user"], row["author"]) else (row["user"], row["author"])


def test_a_cross_is_null_where_a_part_is_and_never_mixes_parts_up() -> None:
    train = pl.DataFrame({"a": ["x", "x", "xy", None], "b": ["yz", "yz", "z", "z"]})
    state = learn(train, {"f": {"kind": "cross", "columns": ["a", "b"]}})
    assert encode(train, state)["f"].to_list() == [2, 2, 3, NULL]
    unseen = pl.DataFrame({"a": ["x"], "b": ["z"]})
    assert encode(unseen, state)["f"].to_list() == [UNKNOWN]
