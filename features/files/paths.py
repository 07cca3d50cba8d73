"""Which files a path stands for."""

import glob
from pathlib import Path

from fulcrum.features.errors import DataError, nearest

_TEXT = (".csv", ".tsv", ".txt")
_SUFFIXES = (".parquet", *_TEXT, *(f"{suffix}.gz" for suffix in _TEXT))
_NOTES = (".txt", ".txt.gz")
"""Read where they are asked for, and passed over in folders."""


def expand(path: str, what: str) -> list[Path]:
    """The files behind one path, folder or glob, sorted by name. What exists is no glob.

    Raises DataError when there are none."""
    place = Path(path)
    if place.is_dir():
        files = [f for f in sorted(place.rglob("*")) if _is_table(f) and _visible(f, place)]
        if not files:
            raise DataError(f"{what}: no Parquet or CSV file in the folder {path}")
        return files
    if place.is_file():
        if not place.name.lower().endswith(_SUFFIXES):
            raise DataError(f"{what}: {path} is no {', '.join(_SUFFIXES[:-1])} or .gz file")
        return [place]
    if glob.has_magic(path):
        notes = path.lower().endswith(_NOTES)
        matches = (Path(match) for match in sorted(glob.glob(path, recursive=True)))
        files = [f for f in matches if f.is_file() and _is_table(f, notes) and _visible(f, Path())]
        if not files:
            raise DataError(f"{what}: no Parquet or CSV file matches {path}")
        return files
    siblings = [f.name for f in place.parent.iterdir()] if place.parent.is_dir() else []
    raise DataError(f"{what}: there is no file {path}{nearest(place.name, siblings)}")


def is_csv(file: Path) -> bool:
    """Whether a file is text rather than Parquet."""
    return file.suffix.lower() != ".parquet"


def separator(file: Path) -> str:
    """Between the columns of a text file, going by its name."""
    return "\t" if ".tsv" in file.suffixes[-2:] else ","


def stem(file: Path) -> str:
    """A file's name without `.csv`, `.csv.gz` and the like."""
    return file.with_suffix("").stem if file.suffix.lower() == ".gz" else file.stem


def _is_table(file: Path, notes: bool = False) -> bool:
    name = file.name.lower()
    return file.is_file() and name.endswith(_SUFFIXES) and (notes or not name.endswith(_NOTES))


def _visible(file: Path, below: Path) -> bool:
    """Neither the file nor a folder on the way to it is hidden or, like `_temporary`, private."""
    parts = file.relative_to(below).parts if below.parts else file.parts[-1:]
    return not any(part.startswith((".", "_")) for part in parts)
