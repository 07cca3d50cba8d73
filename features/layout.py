"""The contract between features and networks: which inputs a prepared row has, and their sizes.

A layout is all that a network knows of the data. It is part of the FeatureState, so a served model
carries it. Every input is one column of the prepared data set and one input of the exported graph.
"""

from typing import Literal

from fulcrum.features.config import Config

NULL, UNKNOWN = 0, 1
"""The first two rows of every embedding table: value missing, value not in the vocabulary."""
PADDING = -1
"""Fills the unused places of a list of ids in a padded array."""


class TableSpec(Config):
    """One embedding table."""

    name: str
    rows: int
    """Ids run from 0 to rows - 1; row 0 is null, row 1 unknown."""


class IdInput(Config):
    """One id per row: column Int32 [B], never null."""

    kind: Literal["id"] = "id"
    name: str
    table: str


class BagInput(Config):
    """A list of ids per row: column List(Int32), 0 to max_length long, never null; mean-pooled, an
    empty list pools to zero."""

    kind: Literal["bag"] = "bag"
    name: str
    table: str
    max_length: int


class DenseInput(Config):
    """One finite number per row: column Float32 [B], never null."""

    kind: Literal["dense"] = "dense"
    name: str


class SequenceInput(Config):
    """One attribute of a history: column List(Int32), 0 to max_length long, oldest event first."""

    kind: Literal["sequence"] = "sequence"
    name: str
    """`<history>.<attribute>`, for example `viewed.video_id`; the age is `<history>.age`."""
    table: str
    history: str
    """Sequences of one history have the same length in each row."""
    query: str | None
    """The id input with which target attention compares this attribute; None for the age."""
    max_length: int


Input = IdInput | BagInput | DenseInput | SequenceInput


class TaskSpec(Config):
    """One task as the network and the scores see it."""

    name: str
    kind: str
    """A name in `fulcrum.features.tasks.TASKS`."""
    given: str | None = None
    transform: Literal["none", "log1p"] = "none"
    mean: float = 0.0
    """Mean of the transformed training label; what a network starts from, or standardises by."""
    std: float = 1.0
    """Standard deviation of the transformed training label, 1 where it is 0."""
    classes: tuple[str | int, ...] = ()
    rate: float | None = None
    """Share of positives among observed training rows; starts the tower's bias."""

    @property
    def score_columns(self) -> tuple[str, ...]:
        """Names of its scores: its own, or `<task>.<class>` for each class."""
        return tuple(f"{self.name}.{c}" for c in self.classes) or (self.name,)


class Layout(Config):
    """Inputs, tables and tasks, in a fixed order."""

    tables: tuple[TableSpec, ...]
    ids: tuple[IdInput, ...] = ()
    bags: tuple[BagInput, ...] = ()
    dense: tuple[DenseInput, ...] = ()
    sequences: tuple[SequenceInput, ...] = ()
    tasks: tuple[TaskSpec, ...]

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Every input, in the order of the exported graph."""
        return (*self.ids, *self.bags, *self.dense, *self.sequences)

    @property
    def sequence_tables(self) -> frozenset[str]:
        """Tables that some history reads. TorchRec keeps them in an EmbeddingCollection (one vector
        per id); all other tables are in an EmbeddingBagCollection."""
        return frozenset(sequence.table for sequence in self.sequences)

    @property
    def pooled(self) -> tuple[IdInput | BagInput, ...]:
        """Inputs that enter the network pooled: the keys of `Batch.ids`, in order."""
        single: tuple[IdInput | BagInput, ...] = (*self.ids, *self.bags)
        return tuple(i for i in single if i.table not in self.sequence_tables)

    @property
    def unpooled(self) -> tuple[IdInput | BagInput | SequenceInput, ...]:
        """Inputs that enter the network id by id: the keys of `Batch.sequences`, in order."""
        single: tuple[IdInput | BagInput, ...] = (*self.ids, *self.bags)
        return (*(i for i in single if i.table in self.sequence_tables), *self.sequences)

    @property
    def score_columns(self) -> tuple[str, ...]:
        """Names of the scores, task by task."""
        return tuple(name for task in self.tasks for name in task.score_columns)
