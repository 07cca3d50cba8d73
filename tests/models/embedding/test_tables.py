"""Tables: which collection holds what, in how many copies, and how it comes back."""

import pytest
import torch
from torchrec import KeyedTensor, PoolingType

from fulcrum.features.layout import BagInput, IdInput
from fulcrum.features.reading.batch import from_arrays
from fulcrum.models.embedding.tables import Gather, Tables
from fulcrum.models.embedding.vectors import INITIAL
from fulcrum.testing.layouts import make_layout, random_arrays

CPU = torch.device("cpu")


@pytest.mark.parametrize("copies", [1, 3])
def test_vectors_are_rows_of_the_right_copy(copies: int) -> None:
    layout = make_layout()
    tables, arrays = Tables(layout, 4, copies, CPU), random_arrays(layout, 9)
    batch = from_arrays(layout, arrays)
    vectors = Gather(layout, copies)(*tables(batch.ids, batch.sequences))

    assert tables.pooled is not None and tables.unpooled is not None
    weights = {
        name: module.weight
        for bags in (tables.pooled.embedding_bags, tables.unpooled.embeddings)
        for name, module in bags.items()
    }
    assert vectors.pooled is not None
    assert vectors.pooled.shape == (9, copies, len(layout.pooled), 4)
    for c in range(copies):
        suffix = f"@{c}" if copies > 1 else ""
        for i, source in enumerate(layout.pooled):
            weight, ids = weights[source.table + suffix], torch.tensor(arrays[source.name])
            for row in range(9):
                own = weight[ids[row][ids[row] >= 0].flatten()]
                expected = own.mean(0) if len(own) else torch.zeros(4)
                torch.testing.assert_close(vectors.pooled[row, c, i], expected)
        for source in layout.unpooled:
            weight = weights[source.table.replace(".", ":") + suffix]
            ids = torch.tensor(arrays[source.name])
            expected = weight[ids.clamp(min=0)] * (ids >= 0)[..., None]
            torch.testing.assert_close(vectors.unpooled[source.name][:, c], expected)
            if not isinstance(source, IdInput):
                assert torch.equal(vectors.present[source.name], ids >= 0)


def test_only_tables_with_bags_pay_for_a_mean() -> None:
    tables = Tables(make_layout(), 4, 1, CPU)
    assert tables.pooled is not None
    pooling = {c.name: c.pooling for c in tables.pooled.embedding_bag_configs()}
    assert pooling == {
        "user": PoolingType.SUM,
        "tab_id": PoolingType.SUM,
        "tags": PoolingType.MEAN,
    }


def test_an_id_and_a_bag_may_share_a_pooled_table() -> None:
    layout = make_layout(histories=False)
    shared = BagInput(name="friends", table="user", max_length=3)
    layout = layout.model_copy(update={"bags": (*layout.bags, shared)})
    arrays = random_arrays(layout, 5)
    tables, batch = Tables(layout, 4, 1, CPU), from_arrays(layout, arrays)
    vectors = Gather(layout, 1)(*tables(batch.ids, batch.sequences))
    assert vectors.pooled is not None and tables.pooled is not None
    weight, last = tables.pooled.embedding_bags["user"].weight, [s.name for s in layout.pooled]
    users = torch.tensor(arrays["user"])
    torch.testing.assert_close(vectors.pooled[:, 0, last.index("user")], weight[users])
    ids = torch.tensor(arrays["friends"][2])
    expected = weight[ids[ids >= 0]].mean(0)
    torch.testing.assert_close(vectors.pooled[2, 0, last.index("friends")], expected)


def test_gather_does_not_rely_on_the_order_of_the_keys() -> None:
    """Sharded collections order their keys by rank."""
    layout = make_layout(histories=False)
    tables, batch = Tables(layout, 4, 1, CPU), from_arrays(layout, random_arrays(layout, 5))
    pooled, unpooled = tables(batch.ids, batch.sequences)
    assert pooled is not None
    keys = pooled.keys()[::-1]
    turned = KeyedTensor(keys, [4] * len(keys), torch.cat([pooled[k] for k in keys], 1))
    gather = Gather(layout, 1)
    torch.testing.assert_close(gather(turned, unpooled).pooled, gather(pooled, unpooled).pooled)


def test_tables_start_small_and_seeded() -> None:
    first, second = (
        (torch.manual_seed(7), Tables(make_layout(), 4, 2, CPU))[1].state_dict() for _ in range(2)
    )
    for name, weight in first.items():
        assert weight.abs().max() <= INITIAL and weight.any()
        assert torch.equal(weight, second[name])
    weights = [first[f"pooled.embedding_bags.user@{c}.weight"] for c in range(2)]
    assert not torch.equal(*weights)
