"""Columns that the folders on the way to a file hold: `day=7/country=de/part.parquet`."""

import re
from pathlib import Path
from urllib.parse import unquote

import polars as pl

_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_NULL = "__HIVE_DEFAULT_PARTITION__"


def keys(file: Path) -> dict[str, str | None]:
    """Values by name, as text."""
    matches = filter(None, map(_KEY.fullmatch, file.parts[:-1]))
    return {match[1]: None if match[2] == _NULL else unquote(match[2]) for match in matches}


def look(value: str | None) -> pl.DataType:
    """What a value looks like: Int64, String, or Null for none."""
    if value is None:
        return pl.Null()
    return pl.Int64() if _WHOLE.fullmatch(value) else pl.String()
