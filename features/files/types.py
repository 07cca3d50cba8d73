"""The types of columns over several files, and the rows of each file in them."""

from collections.abc import Collection, Mapping, Sequence, Set
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from fulcrum.features.errors import DataError
from fulcrum.features.files.exact import NUMBERS, Facts, number_type, text_type
from fulcrum.features.files.file import RawFile, unreadable
from fulcrum.features.files.paths import is_csv
from fulcrum.features.files.reads import Reads
from fulcrum.features.files.widen import lost, value_type, widen
from fulcrum.features.raw.conform import conform
from fulcrum.features.values.text import text


class Types:
    """One type for each column of some files: what is stated or expected, else the narrowest that
    holds the values of all files without loss."""

    def __init__(self, files: Sequence[RawFile], reads: Reads) -> None:
        """Raises DataError for a column that is read and has no such type, or that a file lacks."""
        self._files, self._reads = files, reads
        columns = [name for file in files for name in file.schema]
        self._looks = {n: {f.schema[n] for f in files if n in f.schema} for n in set(columns)}
        self._facts: Mapping[Path, Mapping[str, Facts]] = {
            f.path: f.facts([n for n in f.schema if self._is_doubtful(f, n)]) for f in files
        }
        absent = {name: None for name in reads.targets if name in reads.optional}
        types = {name: self._type(name) for name in {**dict.fromkeys(columns), **absent}}
        self.schema = {name: dtype for name, dtype in types.items() if dtype is not None}
        """By column. Those that nothing reads are left out where the files disagree."""

    def rows(self, file: RawFile) -> pl.LazyFrame:
        """A file's rows in these types. Raises DataError for values that have no place in them."""
        reads, facts = self._reads, self._facts[file.path]
        kept = [n for n in self.schema if n in file.schema and not (n in facts and facts[n].empty)]
        values = {name: self._value_type(file, name) for name in kept}
        for name in kept:
            self._check_id(file, name)
        asked = {name: _asked(file, name, values[name]) for name in kept}
        rows = file.frame(asked)
        self._check_loss(file, rows, values)
        rows = rows.with_columns(_cast(n, asked[n], t).alias(n) for n, t in values.items())
        others = {name: dtype for name, dtype in self.schema.items() if name not in kept}
        rows = rows.with_columns(pl.lit(None, dtype).alias(n) for n, dtype in others.items())
        targets = {name: reads.targets[name] for name in kept if name in reads.targets}
        whole = [n for n, t in targets.items() if t.is_integer() and values[n] == pl.String()]
        rows = rows.with_columns(pl.col(name).str.strip_suffix(".0") for name in whole)
        place = f"{file.what}: {file.path}"
        stated = dict.fromkeys(reads.types, "as `data.types` says")
        return conform(rows, targets, place, reads.time, stated).select(*self.schema)

    def holds(self, file: RawFile) -> bool:
        """Whether a Parquet file has all of these columns in these types."""
        return not is_csv(file.path) and self.schema.items() <= file.own.items()

    def _is_doubtful(self, file: RawFile, name: str) -> bool:
        """Whether it takes a look at the values to know what type holds them."""
        reads, dtype, target = self._reads, file.schema[name], self._reads.targets.get(name)
        if name in reads.types or not reads.matters(name):
            return False
        if target is not None:
            text_or_float = name in file.texts or isinstance(dtype, pl.String) or dtype.is_float()
            return target.is_integer() and (
                dtype.is_decimal() or (name in reads.ids and text_or_float)
            )
        if name in file.texts:
            exact = name in reads.ids | reads.mentions
            return len(self._looks[name]) > 1 or (exact and dtype in (*NUMBERS, pl.Boolean()))
        if dtype.is_decimal() or dtype == pl.Int128():
            return True
        return dtype.is_float() and reads.only_id(name)

    def _type(self, name: str) -> pl.DataType | None:
        """None for a column that is to be left out."""
        files = [file for file in self._files if name in file.schema]
        if not self._reads.matters(name) and len(files) < len(self._files):
            return None
        if len(files) < len(self._files) and name not in self._reads.optional:
            lacks = next(file for file in self._files if name not in file.schema)
            raise DataError(
                f"{lacks.what}: {lacks.path} has no column `{name}`, which {files[0].path} has (if "
                f"it may be missing, say `optional: [{name}]` under `data`)"
            )
        if name in self._reads.targets:
            return self._reads.targets[name]
        votes = list(zip(files, self._votes(name, files), strict=True))
        whole = votes[0][1]
        for file, dtype in votes[1:]:
            wider = widen(whole, dtype)
            if wider is None:
                if self._reads.expected and name in self._reads.ids:
                    return pl.String()
                if not self._reads.matters(name):
                    return None
                first, other = next(vote for vote in votes if widen(vote[1], dtype) is None)
                raise self._disagreement(name, {first.path: other, file.path: dtype}, file)
            whole = wider
        is_text = any(name in file.texts for file in files)
        return pl.String() if isinstance(whole, pl.Null) and is_text else whole

    def _votes(self, name: str, files: Sequence[RawFile]) -> list[pl.DataType]:
        """What each file says of a column that nothing is stated of."""
        facts = {f.path: self._facts[f.path][name] for f in files if name in self._facts[f.path]}
        empty = {path for path, known in facts.items() if known.empty}
        full = [f for f in files if f.path not in empty]
        looks = {f.schema[name] for f in full if name in f.texts} - {pl.Null()}
        beside = {value_type(f.schema[name]) for f in full if name not in f.texts}
        known = [facts[f.path] for f in full if name in f.texts and f.path in facts]
        others = [facts[f.path] for f in full if name not in f.texts and f.path in facts]
        said: pl.DataType | None = None
        if looks and looks <= NUMBERS and pl.String() not in beside:
            said = text_type(name, self._reads, looks, known)
        elif name in self._reads.ids and (len(looks | beside) > 1 or _is_respelled(looks, known)):
            said = pl.String()

        def vote(file: RawFile) -> pl.DataType:
            if file.path in empty:
                return pl.Null()
            if name in file.texts:
                return said or file.schema[name]
            if file.path in facts:
                return number_type(name, self._reads, file.schema[name], others)
            return value_type(file.schema[name])

        return [vote(file) for file in files]

    def _value_type(self, file: RawFile, name: str) -> pl.DataType:
        """The type in which a file's values are taken before they are brought to a target."""
        dtype, target = file.schema[name], self._reads.targets.get(name)
        if target is None:
            return self.schema[name]
        if name in self._facts[file.path]:
            return pl.Int64()
        if dtype.is_decimal():
            return pl.Float64() if target.is_float() else pl.String()
        if name in file.texts:
            if name in self._reads.types or isinstance(target, pl.String):
                return pl.String()
            return pl.Float64() if dtype == pl.Int128() else dtype
        return value_type(dtype)

    def _disagreement(
        self, name: str, types: Mapping[Path, pl.DataType], file: RawFile
    ) -> DataError:
        words = [facts[name].word for p in types if name in (facts := self._facts[p])]
        word = next((word for word in words if word is not None), None)
        is_text = word is not None and pl.String() in types.values()
        missing = _missing(word) if is_text else ""
        (first, one), (second, other) = types.items()
        return DataError(
            f"{file.what}: column `{name}` is {one} in {first} but {other} in {second}; "
            f"write it in one way, or say {self._example(name, types.values())}{missing} under "
            "`data`"
        )

    def _example(self, name: str, types: Collection[pl.DataType] = ()) -> str:
        reads = self._reads
        dtype = "String"
        if name not in reads.ids and pl.Boolean() in types:
            dtype = "Boolean"
        elif name not in reads.ids and any(one.is_temporal() for one in types):
            dtype = "Datetime(us)"
        elif name in reads.numbers and name not in reads.ids | reads.mentions:
            dtype = "Float64"
        return f"what it is, for example `types: {{{name}: {dtype}}}`"

    def _check_id(self, file: RawFile, name: str) -> None:
        """Raises DataError for an id that is another one in the type that is expected."""
        facts, target = self._facts[file.path].get(name), self._reads.targets.get(name)
        if facts is None:
            return
        place = f"{file.what}: {file.path}"
        declare = f"{self._example(name)} under `data`"
        if facts.rounded:
            raise DataError(
                f"{place}: column `{name}` holds {facts.odd} as {file.schema[name]}, which may "
                "stand for several ids; write ids as whole numbers or text, or say "
                f"{declare}"
            )
        if target is not None and not facts.point_zero:
            raise DataError(
                f"{place}: column `{name}` holds {facts.odd!r}; expected whole numbers ({target}) "
                f"as in training (or say {self._example(name)}{_missing(facts.word)} under `data`, "
                "and train again)"
            )

    def _check_loss(
        self, file: RawFile, rows: pl.LazyFrame, values: Mapping[str, pl.DataType]
    ) -> None:
        """Raises DataError for a value that is another one in the type that all files share."""
        examples = {
            name: values_lost.first().cast(pl.String).alias(name)
            for name, dtype in values.items()
            if (values_lost := lost(pl.col(name), file.schema[name], dtype)) is not None
            and name not in file.texts
        }
        if not examples:
            return
        try:
            row = rows.select(examples.values()).collect(engine="streaming").row(0, named=True)
        except (PolarsError, OSError) as error:
            raise unreadable(file.what, file.path, error) from None
        for name, example in row.items():
            if example is not None:
                raise DataError(
                    f"{file.what}: column `{name}` is {file.schema[name]} in {file.path} and "
                    f"{self.schema[name]} in others, which cannot hold {example}; write it in one "
                    f"way, or say {self._example(name, [self.schema[name]])} under `data`"
                )


def _missing(word: str | None) -> str:
    """How to declare a word that stands for a missing value."""
    return "" if word is None else f" or `csv: {{null_values: [{word!r}]}}`"


def _asked(file: RawFile, name: str, dtype: pl.DataType) -> pl.DataType:
    """The type in which a column is read."""
    look = file.schema[name]
    if name not in file.texts or dtype == look or (look in NUMBERS and dtype.is_float()):
        return look if name not in file.texts else dtype
    return pl.String()


def _cast(name: str, dtype: pl.DataType, target: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype == target:
        return column
    if isinstance(target, pl.String) and not isinstance(dtype, pl.Null):
        return text(column, dtype)
    if isinstance(dtype, pl.String) and target.is_integer():
        return column.str.strip_suffix(".0").cast(target)
    return (column.fill_nan(None) if dtype.is_float() else column).cast(target)


def _is_respelled(looks: Set[pl.DataType], known: Sequence[Facts]) -> bool:
    """Whether text that looks like booleans is spelled otherwise than these are."""
    return pl.Boolean() in looks and not all(part.boolean for part in known)
