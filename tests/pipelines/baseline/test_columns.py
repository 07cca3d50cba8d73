"""Prepared features as columns for trees."""

from pathlib import Path

import numpy as np
import pytest

from fulcrum.features.layout import NULL
from fulcrum.pipelines.baseline import columns as tree_columns
from fulcrum.pipelines.baseline.columns import TreeColumns, read_rows
from tests.prepared import LAYOUT, prepare, rows, sessions

VOCABULARIES = {"user", "item", "tag"}


def names(expressions) -> list[str]:
    return [expression.meta.output_name() for expression in expressions]


def test_every_input_has_its_columns(monkeypatch):
    monkeypatch.setattr(tree_columns, "CATEGORIES", 60)
    columns = TreeColumns.of(LAYOUT, VOCABULARIES)
    assert names(columns.numbers) == [
        *("x", "y", "tags.count", "viewed.count", "viewed.item.own", "viewed.age"),
    ]
    assert names(columns.categories) == ["user", "tags"]
    assert names(columns.ids) == ["item", "viewed.item"]
    assert len(columns) == 10


@pytest.mark.parametrize("with_sessions", [False, True])
def test_a_row_has_what_its_inputs_say(tmp_path: Path, monkeypatch, with_sessions):
    monkeypatch.setattr(tree_columns, "CATEGORIES", 60)
    dataset = prepare(tmp_path, {"train": 130}, with_sessions=with_sessions)
    read = read_rows(dataset, "train", TreeColumns.of(LAYOUT, VOCABULARIES))
    frame = rows(130).to_dicts()
    plain = [
        [
            *(row["x"], row["y"], len(row["tags"]), len(row["viewed.item"])),
            row["viewed.item"].count(row["item"]),
            row["viewed.age"][-1] if row["viewed.age"] else np.nan,
            *(row["user"], row["tags"][0] if row["tags"] else NULL),
        ]
        for row in frame
    ]
    ids = [[r["item"], r["viewed.item"][-1] if r["viewed.item"] else NULL] for r in frame]
    np.testing.assert_array_equal(read.plain, np.array(plain, np.float32))
    np.testing.assert_array_equal(read.ids, ids)
    assert list(read.categories) == [6, 7]
    tasks = [task.name for task in LAYOUT.tasks]
    np.testing.assert_array_equal(read.labels, [[r[f"label.{t}"] for t in tasks] for r in frame])
    observed = [[r[f"observed.{t}"] for t in tasks] for r in frame]
    np.testing.assert_array_equal(read.observed, observed)
    np.testing.assert_array_equal(read.group, [r["row.group"] for r in frame])
    expected = sessions(130).to_list() if with_sessions else [0] * 130
    assert read.session.tolist() == expected


def test_ids_without_a_vocabulary_are_ranks_and_null_is_missing():
    columns = TreeColumns.of(LAYOUT, {"item", "tag", "viewed.age"})
    frame = rows(50).with_columns(user=rows(50)["user"] * (rows(50)["user"] > 20))
    user = frame.select(columns.numbers).to_dict(as_series=False)["user"]
    assert user == [value or None for value in frame["user"].to_list()]
