"""Which features tell the arm or the unit of a row by themselves."""

from collections.abc import Iterable

from features.spec import FeatureSpec, made_of, mentions


def traces(name: str, columns: Iterable[str], spec: FeatureSpec) -> dict[str, str]:
    """Those of some columns that a feature reads, each with how, for the end of a sentence: nothing
    where it reads the column itself, else `, through ...`."""
    found: dict[str, str] = {}
    for column in columns:
        behind = made_of([column], spec.data)
        for read in spec.features[name].reads(name, spec):
            for source in mentions(read.text) if read.is_sql else (read.text,):
                if source in behind:
                    found.setdefault(column, "" if source == column else f" through `{source}`")
    return found


def readers(column: str, spec: FeatureSpec) -> list[str]:
    """Features that read a column."""
    return [name for name in spec.features if traces(name, [column], spec)]
