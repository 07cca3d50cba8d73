"""A bottom alone, in float64: its layout, and what the tables could give it."""

import torch
from torch import Tensor

from fulcrum.features.layout import IdInput, Layout
from fulcrum.models.bottoms import BottomConfig
from fulcrum.models.bottoms.base import Bottom
from fulcrum.models.embedding.vectors import Vectors
from fulcrum.testing.layouts import binary_tasks, make_layout

B, D = 6, 4


def layout(tasks: int = 3, histories: bool = True) -> Layout:
    """Histories of 3 and 2 attributes, 6 and 4 events long."""
    return make_layout(binary_tasks(tasks), histories)


def build(config: BottomConfig, layout: Layout) -> Bottom:
    return config.build(layout, D, 1, True).double()


def some_vectors(layout: Layout) -> Vectors:
    """Lists of a history are equally long; those of row 0 are empty, those of row 1 full."""
    unpooled, present, lengths = {}, {}, {}
    for source in layout.unpooled:
        if isinstance(source, IdInput):
            unpooled[source.name] = torch.randn(B, 1, D, dtype=torch.float64)
            continue
        key, longest = getattr(source, "history", source.name), source.max_length
        if key not in lengths:
            lengths[key] = torch.randint(1, longest + 1, (B,))
            lengths[key][:2] = torch.tensor([0, longest])
        unpooled[source.name] = torch.randn(B, 1, longest, D, dtype=torch.float64)
        present[source.name] = torch.arange(longest) < lengths[key][:, None]
    pooled = torch.randn(B, 1, len(layout.pooled), D, dtype=torch.float64)
    return Vectors(pooled if layout.pooled else None, unpooled, present)


def some_numbers(layout: Layout) -> Tensor:
    return torch.randn(B, len(layout.dense), dtype=torch.float64)
