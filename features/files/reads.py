"""What is read of raw files, and as what."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import polars as pl

from fulcrum.features.declared.time import TimeConfig

Schema = Mapping[str, pl.DataType]


@dataclass(frozen=True)
class Reads:
    """The columns that something reads."""

    ids: frozenset[str] = frozenset()
    """Columns whose values are ids: text or whole numbers, and the same ones to the last digit."""
    numbers: frozenset[str] = frozenset()
    """Columns that are read as numbers or times."""
    mentions: frozenset[str] = frozenset()
    """Columns that expressions read."""
    types: Schema = field(default_factory=dict)
    """What the config states."""
    expected: Schema = field(default_factory=dict)
    """What training saw: every file is brought to it, whatever the others hold."""
    optional: frozenset[str] = frozenset()
    """Columns that a file may lack; they are null there."""
    time: TimeConfig | None = None
    """Which column is the time, and what its values mean."""
    whole: bool = True
    """Whether all other columns count, too, as where repeated rows are dropped."""

    @property
    def names(self) -> frozenset[str]:
        """Every column that is read by name."""
        return self.ids | self.numbers | self.mentions | self.expected.keys()

    @property
    def targets(self) -> dict[str, pl.DataType]:
        """Types that do not depend on the files."""
        return {**self.expected, **self.types}

    def only(self, names: Set[str], expected: Schema, whole: bool = False) -> "Reads":
        """What is read of files where only these columns are."""
        return Reads(
            ids=self.ids & names,
            numbers=self.numbers & names,
            mentions=self.mentions & names,
            types={name: dtype for name, dtype in self.types.items() if name in names},
            expected=expected,
            optional=self.optional & names,
            time=self.time,
            whole=whole,
        )

    def matters(self, name: str) -> bool:
        """Whether anything reads a column."""
        return self.whole or name in self.names

    def only_id(self, name: str) -> bool:
        """Whether a column is read as an id and as nothing else."""
        return name in self.ids and name not in self.numbers | self.mentions
