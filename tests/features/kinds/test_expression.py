import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from fulcrum.testing import plain
from fulcrum.testing.kinds import KindContract, Log
from fulcrum.testing.logs import Event
from fulcrum.testing.specs import encode, learn


class TestExpression(KindContract):
    name = "product"

    def document(self) -> dict[str, Any]:
        return {"kind": "expression", "sql": "play * item"}

    def reference(self, train: Log, log: Log) -> Mapping[str, Sequence[Any]]:
        return plain.dense("product", [_product(row) for row in train], [_product(r) for r in log])

    def absent(self, row: Event, log: Log) -> bool:
        product = _product(row)
        return product is None or not math.isfinite(product)


def _product(row: Event) -> float | None:
    return None if None in (row["play"], row["item"]) else row["play"] * row["item"]


def test_an_expression_is_encoded_as_a_number_or_as_ids() -> None:
    train = pl.DataFrame({"x": [1, 2, 3, 4], "kind": ["a", "b", "a", None]})
    state = learn(
        train,
        {
            "half": {"kind": "expression", "sql": "x // 2", "encode": {"kind": "categorical"}},
            "mean": {
                "kind": "expression",
                "sql": "x * 2.0",
                "encode": {"transform": "raw", "kind": "numeric"},
            },
            "both": {
                "kind": "expression",
                "sql": "CONCAT(kind, CAST(x AS VARCHAR))",
                "encode": {"kind": "categorical"},
            },
        },
    )
    encoded = encode(train, state)
    assert encoded["half"].to_list() == [3, 2, 2, 4]
    assert encoded["mean"].to_list() == [2.0, 4.0, 6.0, 8.0]
    assert len(state.lookups["both"].values) >= 3
