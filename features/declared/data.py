"""Where the logs are and what their columns mean."""

from pydantic import Field

from fulcrum.features.config import Config
from fulcrum.features.declared.arms import ArmsConfig
from fulcrum.features.declared.csv import CsvConfig
from fulcrum.features.declared.outcomes import OutcomeConfig, Outcomes
from fulcrum.features.declared.pivot import PivotConfig
from fulcrum.features.declared.session import SessionConfig
from fulcrum.features.declared.split import SplitConfig, TimeSplit
from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.declared.types import ColumnType


class SideTableConfig(Config):
    """A table joined to every event by key (left join; an event without a match gets nulls)."""

    path: str
    """Parquet or CSV file, folder or glob."""
    key: str
    """Column of the same name in the events and in the table, unique in the table."""
    csv: CsvConfig = Field(CsvConfig(), exclude_if=lambda csv: csv == CsvConfig())
    """How its text is written."""


class DataConfig(Config):
    """The events, what is joined to them, and how they are split."""

    events: str | tuple[str, ...]
    """Parquet or CSV files: a path, a folder (hive keys become columns), a glob, or a list."""
    csv: CsvConfig = Field(CsvConfig(), exclude_if=lambda csv: csv == CsvConfig())
    """How the text of the events is written."""
    types: dict[str, ColumnType] = Field({}, exclude_if=lambda types: not types)
    """Types of columns, of the events or of side tables, that files do not say or say wrongly, for
    example `{zip: String}`."""
    optional: tuple[str, ...] = Field((), exclude_if=lambda names: not names)
    """Columns that some files may lack; they are null there."""
    tables: dict[str, SideTableConfig] = {}
    """Side tables such as users and items."""
    time: TimeConfig | None = None
    """When each event happened; histories, windows and the time split need it."""
    pivot: PivotConfig | None = Field(None, exclude_if=lambda pivot: pivot is None)
    """How a log with a row for each event becomes one row per impression, before all else."""
    where: str | None = None
    """SQL condition on the rows to keep."""
    deduplicate: bool = False
    """Drop exact repeats of a row (over the events' own columns), keeping one."""
    derive: dict[str, str] = {}
    """New columns by SQL expression, in order; they may use side tables and earlier ones."""
    outcomes: Outcomes = ()
    """Columns known only after the event (clicks, play time). Features of the same row may not read
    them; labels, windows and histories may. What a label is made of is an outcome, listed or not.
    As a map, `{liked: {known_after: 2d}}`: windows and histories see an event's like from when it
    was known, and a label that is not known when the log ends is not observed."""
    known_before: tuple[str, ...] = Field((), exclude_if=lambda columns: not columns)
    """Columns that a label is made of and that are no outcomes, such as the length of a video."""
    keys: tuple[str, ...] = ()
    """Columns that identify a row; scores carry them through."""
    session: SessionConfig | None = None
    """How events are cut into sessions; prepared rows then lie session by session."""
    group: str | None = None
    """Column by which grouped AUC is computed, for example `user_id`; a row where it is null,
    NaN or an empty text is in no group."""
    weight: str | None = None
    """SQL expression of the row's weight in the loss; 1 when left out."""
    arms: ArmsConfig | None = Field(None, exclude_if=lambda arms: arms is None)
    """The A/B test that wrote the log."""
    split: SplitConfig = Field(default=TimeSplit())
    """How rows are dealt to train, valid and test."""

    @property
    def late(self) -> dict[str, OutcomeConfig]:
        """Outcomes that are known later than their event."""
        behaviours = {} if self.pivot is None else self.pivot.outcomes
        if not isinstance(self.outcomes, dict):
            return behaviours
        at_once = OutcomeConfig()
        stated = {name: known for name, known in self.outcomes.items() if known != at_once}
        return stated | behaviours
