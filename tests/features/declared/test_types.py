import polars as pl
import pytest
from pydantic import ValidationError

from fulcrum.features.declared.data import DataConfig
from fulcrum.features.values.schema import load_schema


def test_types_are_said_as_polars_says_them() -> None:
    types = {"a": "String", "b": "List(Int64)", "c": "Datetime(us, UTC)", "d": "Date"}
    data = DataConfig(events="x", types=types)
    assert load_schema(data.types) == {
        "a": pl.String(),
        "b": pl.List(pl.Int64),
        "c": pl.Datetime("us", "UTC"),
        "d": pl.Date(),
    }


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("string", "did you mean `String`"),
        ("int64", "did you mean `Int64`"),
        ("Datetime", "did you mean `Date"),
        ("Null", "expected one such as String"),
        ("Int128", "expected one such as String"),
        ("List(List(Int64))", "no type of a column"),
        ("Struct", "no type of a column"),
    ],
)
def test_other_types_are_refused_with_the_nearest(said: str, hint: str) -> None:
    with pytest.raises(ValidationError, match=hint):
        DataConfig(events="x", types={"a": said})


def test_what_is_not_said_does_not_change_a_config() -> None:
    """So that data prepared before there were types are still found."""
    assert not {"types", "csv", "optional"} & DataConfig(events="x").model_dump().keys()
