"""Which features tell the arm or the unit of a row, whatever was shown."""

from collections.abc import Iterable

import polars as pl

from fulcrum.features.declared.arms import UNIT
from fulcrum.features.declared.data import DataConfig
from fulcrum.features.declared.split import SPLITS
from fulcrum.features.kinds.recall import RecallKind
from fulcrum.features.layout import IdInput
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.spec import FeatureSpec, made_of, mentions


def traces(name: str, columns: Iterable[str], spec: FeatureSpec) -> dict[str, str]:
    """Those of some columns that a feature reads, each with how, for the end of a sentence: nothing
    where it reads the column itself, else ` through ...`."""
    ways: dict[str, str] = {}
    for column in columns:
        behind = made_of(_twins(column, spec.data), spec.data)
        for part in spec.features[name].reads(name, spec.features):
            for source in mentions(part.text) if part.is_sql else (part.text,):
                if source in behind:
                    ways.setdefault(column, "" if source == column else f" through `{source}`")
    return ways


def arm_leak(name: str, spec: FeatureSpec) -> str:
    """Why a feature tells the arm of a row whatever was shown, as the rest of a sentence about it;
    nothing where it does not."""
    if spec.data.arms is None:
        return ""
    arm, unit = spec.data.arms.column, spec.data.arms.unit
    behind = traces(name, (arm, unit), spec)
    if arm in behind:
        return f"reads the arm itself{behind[arm]}"
    if unit not in behind:
        return ""
    if isinstance(spec.features[name], RecallKind):
        return (
            f"looks back at what `{unit}` did{behind[unit]}, and the arm chose what that was: it "
            "tells the arm whatever is shown"
        )
    return (
        f"tells who the user is: it reads the unit `{unit}`{behind[unit]}, whose arm never "
        "changes; expected features of the shown item and of the request"
    )


def _twins(column: str, data: DataConfig) -> list[str]:
    """The column, and the one that it is derived from where there is one alone, and so on: each
    tells as much."""
    names = [column]
    while len(sources := mentions(data.derive.get(names[-1], ""))) == 1 and sources[0] not in names:
        names.append(sources[0])
    return names


def readers(column: str, spec: FeatureSpec) -> list[str]:
    """Features that read a column."""
    return [name for name in spec.features if traces(name, [column], spec)]


def lonely(dataset: PreparedDataset, features: Iterable[str], units: pl.Series) -> dict[str, float]:
    """By feature with one id a row, the share of all rows whose id comes in several rows, all of
    one unit. `units` are those of the rows of all splits, in order."""
    shards = [shard for split in SPLITS for shard in dataset.shards(split)]
    names = {source.name for source in dataset.state.layout.inputs if isinstance(source, IdInput)}
    shares = {}
    for name in (name for name in features if name in names):
        rows = pl.read_parquet(shards, columns=[name], glob=False).with_columns(units.alias(UNIT))
        of_value = rows.group_by(name).agg(pl.len().alias("rows"), pl.col(UNIT).n_unique())
        of_one_unit = of_value.filter((pl.col("rows") > 1) & (pl.col(UNIT) == 1))
        shares[name] = float(of_one_unit["rows"].sum()) / len(rows)
    return shares
