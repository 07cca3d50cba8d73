from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pytest

from fulcrum.features.errors import DataError
from fulcrum.features.layout import UNKNOWN
from fulcrum.testing import plain
from fulcrum.testing.kinds import KindContract, Log
from fulcrum.testing.logs import Event
from fulcrum.testing.specs import ids, learn


class TestMulti(KindContract):
    name = "tags"

    def document(self) -> dict[str, Any]:
        return {"kind": "multi"}

    def reference(self, train: Log, log: Log) -> Mapping[str, Sequence[Any]]:
        known = [tag for row in train for tag in _tags(row)]
        return {"tags": [plain.ids(known, _tags(row)) for row in log]}

    def absent(self, row: Event, log: Log) -> bool:
        return not _tags(row)


def _tags(row: Event) -> list[str]:
    return [tag for tag in row["tags"] or [] if tag is not None]


@pytest.mark.parametrize(
    ("values", "feature", "wanted"),
    [
        (["a,b", "b", "", None, " b , z ,,"], {"separator": ","}, [[3, 2], [2], [], [], [2, 4]]),
        ([["a", "b"], ["b"], [], None, ["b", None, "z"]], {}, [[3, 2], [2], [], [], [2, 4]]),
        ([[1, 2], [2], None], {}, [[3, 2], [2], []]),
        (["b|a|b", "b"], {"separator": "|", "max_length": 2}, [[2, 3], [2]]),
    ],
)
def test_multi_reads_lists_and_separated_text(
    values: list[Any], feature: dict[str, Any], wanted: list[list[int]]
) -> None:
    train = pl.DataFrame({"f": values})
    assert ids(train, train, {"kind": "multi"} | feature) == wanted


def test_multi_maps_the_unseen_and_hashes() -> None:
    train, rows = pl.DataFrame({"f": [["a"]]}), pl.DataFrame({"f": [["q", "a"], [None, "a"]]})
    assert ids(train, rows, {"kind": "multi"}) == [[UNKNOWN, 2], [2]]
    hashed = ids(train, rows, {"kind": "multi", "hash_buckets": 5})
    assert [len(row) for row in hashed] == [2, 1]
    assert hashed[0][1] == hashed[1][0] >= 2


@pytest.mark.parametrize(
    ("values", "feature"), [(["a,b"], {}), ([["a"]], {"separator": ","}), ([1], {})]
)
def test_multi_refuses_other_types(values: list[Any], feature: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"features\.f: column `f` is"):
        learn(pl.DataFrame({"f": values}), {"f": {"kind": "multi"} | feature})
