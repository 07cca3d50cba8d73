from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.errors import DataError
from fulcrum.features.layout import TaskSpec
from fulcrum.features.raw.label import label_columns, label_names
from fulcrum.features.spec import FeatureSpec
from fulcrum.features.transform.fit import fit
from fulcrum.features.values.sql import evaluate
from fulcrum.testing.specs import make_spec


def spec_of(task: dict[str, Any]) -> FeatureSpec:
    return make_spec({"one": {"kind": "expression", "sql": "1"}}, tasks={"task": task})


def labels(task: dict[str, Any], rows: pl.DataFrame) -> tuple[list[float], list[bool]]:
    spec = spec_of(task)
    names = label_names(spec.tasks)
    frame = evaluate(rows.lazy(), {name: name[1:] for name in names})
    frame = frame.select(label_columns(spec.tasks, dict(frame.collect_schema()))).collect()
    assert frame.dtypes == [pl.Float32, pl.Boolean]
    return frame["label.task"].to_list(), frame["observed.task"].to_list()


def described(task: dict[str, Any], values: Any) -> TaskSpec:
    return fit(pl.LazyFrame({"y": values}), None, spec_of(task)).layout.tasks[0]


@pytest.mark.parametrize(
    ("task", "values", "wanted"),
    [
        ({"kind": "binary", "label": "y"}, [1, 0, None], [1, 0, 0]),
        ({"kind": "binary", "label": "y"}, [True, False, None], [1, 0, 0]),
        ({"kind": "binary", "label": "y > 2"}, [3, 1, None], [1, 0, 0]),
        ({"kind": "regression", "label": "y / 2"}, [3.0, -1.0, None], [1.5, -0.5, 0]),
        ({"kind": "multiclass", "label": "y", "classes": ["b", "a"]}, ["a", "b", None], [1, 0, 0]),
        ({"kind": "multiclass", "label": "y", "classes": [4, 2]}, [2.0, 4.0, None], [1, 0, 0]),
    ],
)
def test_labels_are_numbers_and_null_is_not_observed(
    task: dict[str, Any], values: list[Any], wanted: list[float]
) -> None:
    assert labels(task, pl.DataFrame({"y": values})) == (wanted, [True, True, False])


def test_when_says_where_a_label_is_observed() -> None:
    rows = pl.DataFrame({"y": [1, 1, 1], "shown": [True, False, None]})
    task = {"kind": "binary", "label": "y", "when": "shown"}
    assert labels(task, rows) == ([1, 0, 0], [True, False, False])


@pytest.mark.parametrize(
    ("task", "values", "message"),
    [
        ({"kind": "binary"}, [0, 2], "gives 2.*expected 0, 1 or a boolean"),
        ({"kind": "binary"}, [0.0, float("nan")], "gives nan"),
        ({"kind": "binary"}, ["yes", "no"], "is String; expected 0, 1 or a boolean"),
        ({"kind": "regression"}, [1.0, float("nan")], "gives nan.*expected a finite number"),
        ({"kind": "regression"}, [1.0, float("inf")], "gives inf"),
        ({"kind": "regression"}, [1.0, 1e39], "gives 1e.*39"),
        ({"kind": "regression", "transform": "log1p"}, [1.0, 1e-9 - 1], "gives -0.999.*above -1"),
        ({"kind": "regression", "transform": "log1p"}, [1.0, -1.0], "gives -1.0.*above -1"),
        ({"kind": "multiclass", "classes": ["a", "b"]}, ["a", "c"], "gives 'c'.*one of a, b"),
        ({"kind": "multiclass", "classes": [1, 2]}, [1, 3], "gives 3.*one of 1, 2"),
    ],
)
def test_a_label_outside_its_kind_is_told(
    task: dict[str, Any], values: list[Any], message: str
) -> None:
    with pytest.raises(DataError, match=rf"tasks\.task\.label: `y` .*{message}"):
        described({"label": "y"} | task, values)


def test_a_label_that_is_not_observed_may_be_anything() -> None:
    task = {"kind": "regression", "label": "y", "when": "y > 0 AND y < 9"}
    assert described(task, [2.0, float("nan"), -7.0]).mean == 2.0


def test_a_missing_label_column_is_named() -> None:
    with pytest.raises(DataError, match="`z`: there is no column `z`"):
        described({"kind": "binary", "label": "z"}, [1, 0])


@given(st.lists(st.none() | st.booleans(), min_size=1))
def test_the_rate_is_that_of_observed_rows(values: list[bool | None]) -> None:
    seen = [value for value in values if value is not None]
    rate = described({"kind": "binary", "label": "y"}, pl.Series(values, dtype=pl.Boolean)).rate
    assert rate == (pytest.approx(sum(seen) / len(seen)) if seen else None)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from(["none", "log1p"]))
def test_moments_are_those_of_the_changed_label(values: list[float], transform: str) -> None:
    task = described({"kind": "regression", "label": "y", "transform": transform}, values)
    single = np.array(values, np.float32).astype(np.float64)
    changed = np.log1p(single) if transform == "log1p" else single
    assert task.mean == pytest.approx(changed.mean(), rel=1e-6)
    assert task.std == pytest.approx(changed.std(), rel=1e-6, abs=1e-6) or task.std == 1.0
