"""Fields: histories, bags and numbers as vectors, with nothing from what is not there."""

import pytest
import torch

from fulcrum.features.layout import SequenceInput
from fulcrum.models.embedding.fields import History, TargetAttention
from fulcrum.models.embedding.vectors import Vectors, mean_of_present

B, C, L, D = 6, 2, 5, 3


def some_events() -> tuple[torch.Tensor, torch.Tensor]:
    """Event vectors and which of them there are; row 0 has none, row 1 all."""
    lengths = torch.tensor([0, L, 1, 2, 3, 4])
    return torch.randn(B, C, L, D), torch.arange(L) < lengths[:, None]


def make_history(attention: bool) -> tuple[History, Vectors]:
    names = ("viewed.item", "viewed.author", "viewed.age")
    sequences = [
        SequenceInput(name=n, table=n, history="viewed", query=q, max_length=L)
        for n, q in zip(names, ("item", "author", None), strict=True)
    ]
    _, present = some_events()
    unpooled = {n: torch.randn(B, C, L, D, requires_grad=True) for n in names}
    unpooled |= {q: torch.randn(B, C, D) for q in ("item", "author")}
    vectors = Vectors(None, unpooled, dict.fromkeys(names, present))
    return History(sequences, D, C, attention), vectors


def test_the_mean_is_of_what_is_present() -> None:
    events, present = some_events()
    mean = mean_of_present(events, present)
    assert not mean[0].any()
    for row in range(1, B):
        torch.testing.assert_close(mean[row], events[row][:, present[row]].mean(1))


def test_attention_weighs_present_events_and_sums_to_one() -> None:
    events, present = some_events()
    weights = TargetAttention(C, D, D)(torch.randn(B, C, D), events, present)
    assert weights.shape == (B, C, L)
    assert not weights.masked_select(~present[:, None]).any()
    torch.testing.assert_close(weights[1:].sum(2), torch.ones(B - 1, C))


def test_attention_is_the_mlp_of_its_docstring() -> None:
    """W_e e + W_p (q * k) + W_q q, event by event and copy by copy."""
    attention, query = TargetAttention(C, 2 * D, 3 * D), torch.randn(B, C, 2 * D)
    events, present = torch.randn(B, C, L, 3 * D), torch.ones(B, L, dtype=torch.bool)
    weights = attention(query, events, present)
    for c in range(C):
        e, q = events[:, c], query[:, c, None]
        unit = e @ attention.event[c].T + (q * e[..., : 2 * D]) @ attention.product[c].T
        unit = unit + q @ attention.query.weight[c].T + attention.query.bias[c]  # type: ignore[index]
        scores = unit.relu() @ attention.score.weight[c].T
        torch.testing.assert_close(weights[:, c], scores.squeeze(2).softmax(1))


@pytest.mark.parametrize("attention", [True, False])
def test_a_history_gives_one_field_per_attribute(attention: bool) -> None:
    history, vectors = make_history(attention)
    fields = history(vectors)
    assert fields.shape == (B, C, 3, D)
    assert not fields[0].any()
    present = vectors.present["viewed.item"]
    for a, name in enumerate(("viewed.item", "viewed.author", "viewed.age")):
        one = vectors.unpooled[name][2, :, 0]
        assert present[2].tolist() == [True, False, False, False, False]
        torch.testing.assert_close(fields[2, :, a], one)


@pytest.mark.parametrize("attention", [True, False])
def test_padding_neither_counts_nor_learns(attention: bool) -> None:
    history, vectors = make_history(attention)
    present = vectors.present["viewed.item"]
    noise = {
        n: torch.where(present[:, None, :, None], v, 1e6) if v.ndim == 4 else v
        for n, v in vectors.unpooled.items()
    }
    fields = history(vectors)
    torch.testing.assert_close(history(vectors._replace(unpooled=noise)), fields)
    fields.square().sum().backward()
    for name in vectors.present:
        grad = vectors.unpooled[name].grad
        assert grad is not None and grad.isfinite().all()
        assert not grad.transpose(1, 2)[~present].any()


def test_attention_follows_the_candidate() -> None:
    history, vectors = make_history(attention=True)
    other = vectors.unpooled | {"item": torch.randn(B, C, D)}
    same = (history(vectors) == history(vectors._replace(unpooled=other))).flatten(1).all(1)
    assert same.tolist() == [True, False, True, False, False, False]
