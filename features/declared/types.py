"""Types of columns as a config states them."""

from typing import Annotated

import polars as pl
from pydantic import AfterValidator

from fulcrum.features.errors import nearest
from fulcrum.features.values.schema import load_type

_EXAMPLES = ("String", "Int64", "Float64", "Boolean", "Date", "Datetime(us)", "List(String)")


def _check(text: str) -> str:
    try:
        dtype = load_type(text)
    except KeyError:
        dtype = pl.Null()
    if isinstance(dtype, pl.Null | pl.Int128) or dtype == pl.List(pl.List):
        hint = nearest(text, _EXAMPLES) or f"; expected one such as {', '.join(_EXAMPLES)}"
        raise ValueError(f"{text!r} is no type of a column{hint}")
    return text


ColumnType = Annotated[str, AfterValidator(_check)]
"""`String`, `Int64`, `Float64`, `Boolean`, `Date`, `Datetime(us)`, `List(String)` and the like."""
