"""The default place: the table rows, through a count sketch.

    S_t[h(j, i)] += s(j, i) a_o Z_t[o]        for each occurrence o of row i of table j
    G = S S^T, S summed over processes first

h  a hash to `buckets`        s  a random sign        Z_t  gradient at the pooled vectors

The expectation of G over hashes is the product of the exact gradients of all tables, rows shared
between processes included, since the sketch is linear; the error of a cosine is about
1/sqrt(buckets). Charikar, Chen and Farach-Colton, "Finding frequent items in data streams", ICALP
2002, for the sketch.
"""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from fulcrum.models.gramians.base import (
    GramianConfig,
    Graph,
    dense_products,
    mean_over_processes,
    outer,
)
from fulcrum.models.gramians.task_gradients import task_gradients


class SketchConfig(GramianConfig):
    """Sketched gradients of the table rows."""

    summary: ClassVar[str] = "gradients of the table rows, sketched: close to exact, and cheap"

    kind: Literal["sketch"] = "sketch"
    buckets: int = Field(4096, ge=1)
    """Size of the sketch."""
    dense: bool = False
    """Also the dense parameters below the towers, for small trunks."""

    def products(self, graph: Graph) -> Tensor:
        products = outer(sketch(graph, self.buckets))
        return products + dense_products(graph) if self.dense else products


def sketch(graph: Graph, buckets: int) -> Tensor:
    """`(T, buckets · D)` sketched gradients of the global losses."""
    gradients = task_gradients(graph.losses, graph.lookups.vectors)
    tasks, dim = len(graph.losses), graph.fields.shape[2]
    summed = graph.fields.new_zeros(buckets, tasks * dim)
    for part in graph.lookups.occurrences(gradients):
        bits = random_bits(part.ids.long() + (part.table << 40), graph.salt)
        sign = ((bits & 1) * 2 - 1).to(summed.dtype)
        summed.index_add_(0, (bits >> 1) % buckets, part.gradients.float() * sign[:, None])
    mean_over_processes(summed)
    return summed.unflatten(1, (tasks, dim)).transpose(0, 1).flatten(1)


def random_bits(keys: Tensor, salt: int) -> Tensor:
    """63 random bits of each int64 key, the same on every machine: the finaliser of SplitMix64
    (Steele, Lea and Flood, OOPSLA 2014)."""
    x = keys + _wrapped(0x9E3779B97F4A7C15 * (salt + 1))
    x = (x ^ _shift(x, 30)) * _wrapped(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _wrapped(0x94D049BB133111EB)
    return (x ^ _shift(x, 31)) & 0x7FFFFFFFFFFFFFFF


def _shift(x: Tensor, bits: int) -> Tensor:
    """A logical shift to the right: torch's own keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _wrapped(value: int) -> int:
    """The int64 with the same 64 bits."""
    value %= 2**64
    return value - 2**64 if value >= 2**63 else value
