"""Small files for tests, written as their suffix says."""

import gzip
from pathlib import Path

import polars as pl


def write(frame: pl.DataFrame, file: Path) -> Path:
    """A Parquet or CSV file in a folder that need not be there yet."""
    file.parent.mkdir(parents=True, exist_ok=True)
    frame.write_csv(file) if file.suffix == ".csv" else frame.write_parquet(file)
    return file


def write_text(text: str, file: Path, encoding: str = "utf-8") -> Path:
    """A text file, compressed if it is called so."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode(encoding)
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return file
