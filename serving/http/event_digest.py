"""What an event is known by in the store: a hash of its values, the same in each version."""

import hashlib
import json
from collections.abc import Sequence

import polars as pl

_PLAIN = r"^[ !#-\[\]-~]*$"
"""Text that is itself in JSON: ASCII without controls, quotes and backslashes."""

_ODD = {"None": "null", "nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
"""What JSON calls floats that Python's `repr`, which it has otherwise, calls like this."""


def digests(frame: pl.DataFrame, names: Sequence[str]) -> list[bytes]:
    """Of each row, BLAKE2b-128 of these columns as a JSON list. Values are as `encode` gives them:
    whole numbers, floats, text, true and false."""
    texts = pl.concat_str([_as_json(frame[name]) for name in names], separator=", ")
    rows = frame.select(texts).to_series().to_list()
    return [hashlib.blake2b(f"[{row}]".encode(), digest_size=16).digest() for row in rows]


def _as_json(column: pl.Series) -> pl.Series:
    """What `json.dumps` makes of each value, a whole column at once where that is the same."""
    if column.dtype.is_integer() or column.dtype == pl.Boolean:
        return column.cast(pl.String).fill_null("null")
    if column.dtype == pl.String:
        quoted = '"' + column + '"'
        plain = column.str.contains(_PLAIN).fill_null(True)
        if not plain.all():
            odd = column.filter(~plain).unique()
            texts = pl.Series([json.dumps(value) for value in odd.to_list()], dtype=pl.String)
            quoted = column.replace_strict(odd, texts, default=quoted)
        return quoted.fill_null("null")
    texts = pl.Series(column.name, [repr(value) for value in column.to_list()], pl.String)
    return texts.replace(_ODD)
