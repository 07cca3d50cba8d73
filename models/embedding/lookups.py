"""Which row of which table every vector of a batch came from, and the gradients that rows get.

T  tasks        D  width of the tables        N  occurrences: an id of an input of a row of a batch

Pooling is linear, so the gradient of a table row is the sum over its occurrences o of a_o times the
gradient of the vector that o was pooled into: a_o is 1, or 1 / length under mean pooling.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torchrec import JaggedTensor, KeyedTensor

from fulcrum.features.layout import BagInput, Layout
from fulcrum.features.reading.batch import Batch
from fulcrum.models.embedding.tables import input_keys
from fulcrum.models.embedding.vectors import table_name


@dataclass(frozen=True)
class Occurrences:
    """Those of one input in one copy of a table."""

    table: int
    """Number of the table, copies counted apart."""
    ids: Tensor
    """`(N,)` rows of the table."""
    gradients: Tensor
    """`(N, T · D)` gradient of each task's loss with respect to the row, through this
    occurrence."""


class Lookups:
    """What the tables gave for a batch."""

    def __init__(
        self,
        layout: Layout,
        copies: int,
        pooled: KeyedTensor | None,
        unpooled: dict[str, JaggedTensor] | None,
        batch: Batch,
    ) -> None:
        self.layout, self.copies, self.batch = layout, copies, batch
        self.pooled = pooled
        # Of several processes the answer comes late, and is no dictionary until it is asked.
        keys = [key for source in layout.unpooled for key in input_keys(source, copies)]
        self.unpooled = {} if unpooled is None else {key: unpooled[key] for key in keys}

    @property
    def vectors(self) -> list[Tensor]:
        """The tensors to differentiate by: `(batch, keys · D)` pooled, then `(ids, D)` for each key
        that is not pooled."""
        first = [] if self.pooled is None else [self.pooled.values()]
        return [*first, *(jagged.values() for jagged in self.unpooled.values())]

    def occurrences(self, gradients: list[Tensor]) -> Iterator[Occurrences]:
        """From the gradients `(T, *shape)` of `vectors`, input by input."""
        numbers: dict[str, int] = {}
        queue = list(gradients)
        by_key: dict[str, Tensor] = {}
        if self.pooled is not None:
            keys = self.pooled.keys()
            blocks = queue.pop(0).chunk(len(keys), 2)
            by_key |= dict(zip(keys, blocks, strict=True))
        by_key |= dict(zip(self.unpooled, queue, strict=True))
        for source in (*self.layout.pooled, *self.layout.unpooled):
            for copy, key in enumerate(input_keys(source, self.copies)):
                gradient = by_key[key].transpose(0, 1).flatten(1)
                name = table_name(source.table, copy, self.copies)
                table = numbers.setdefault(name, len(numbers))
                if key in self.unpooled:
                    yield Occurrences(table, self.batch.sequences[source.name].values(), gradient)
                    continue
                looked_up = self.batch.ids[source.name]
                if isinstance(source, BagInput):
                    lengths = looked_up.lengths()
                    share = gradient / lengths.clamp(min=1)[:, None]
                    gradient = share.repeat_interleave(lengths, 0)
                yield Occurrences(table, looked_up.values(), gradient)
