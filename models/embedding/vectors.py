"""The vectors that the tables give for a batch, apart from the tables: whoever reads them needs no
TorchRec, whose import takes longer than a config takes to check."""

from typing import NamedTuple

import torch
from torch import Tensor

from fulcrum.features.layout import Layout

INITIAL = 0.01
"""Tables start uniform in ±INITIAL, drawn from torch's generator: small, so that a row which
training never touches says little."""


class Vectors(NamedTuple):
    """What the tables give for B rows, in C copies of width D."""

    pooled: Tensor | None
    """`(B, C, inputs, D)` for `layout.pooled`; None when there are none."""
    unpooled: dict[str, Tensor]
    """By name for `layout.unpooled`: `(B, C, D)` for ids, `(B, C, max_length, D)` for lists."""
    present: dict[str, Tensor]
    """By name for the lists among them: `(B, max_length)`, true where there is an id."""

    def state(self, dense: Tensor) -> Tensor:
        """Everything that a row's vectors and numbers `(B, numbers)` say, side by side: `(B,
        state_width)`. Lists are pooled to their mean."""
        parts = [] if self.pooled is None else [self.pooled.flatten(1)]
        for name, vectors in self.unpooled.items():
            present = self.present.get(name)
            mean = vectors if present is None else mean_of_present(vectors, present)
            parts.append(mean.flatten(1))
        return torch.cat([*parts, dense], 1)


def table_name(table: str, copy: int, copies: int) -> str:
    """Name of a copy of a table. TorchRec keeps tables in a ModuleDict, whose keys hold no dots."""
    plain = table.replace(".", ":")
    return f"{plain}@{copy}" if copies > 1 else plain


def state_width(layout: Layout, dim: int, copies: int) -> int:
    """Width of `Vectors.state`."""
    inputs = len(layout.pooled) + len(layout.unpooled)
    return inputs * copies * dim + len(layout.dense)


def mean_of_present(vectors: Tensor, present: Tensor) -> Tensor:
    """`(B, C, L, D), (B, L) -> (B, C, D)`; zero where nothing is present."""
    share = present.to(vectors.dtype) / present.sum(1, keepdim=True).clamp(min=1)
    return (share[:, None, None] @ vectors).squeeze(2)
