"""DTRN: the contract, the equations, what tasks share and what they do not."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fulcrum.models.bottoms.dtrn import DTRN, ConditionalTransformer, DTRNConfig
from fulcrum.models.embedding.fields import by_history, events
from fulcrum.models.embedding.vectors import Vectors
from fulcrum.models.predictor import Predictor
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.models.trunks.ple import PLEConfig
from fulcrum.testing.networks import NetworkContract
from tests.models.bottoms.parts import B, D, build, layout, some_numbers, some_vectors
from tests.models.debug import MODELS
from tests.models.trunks.test_ple import reorder

CONDITION = 5
CONFIG = DTRNConfig(condition=CONDITION)
OWN = ("interests.task", "refinement.")
"""Parameters with the task first."""


def make(tasks: int = 3, histories: bool = True) -> DTRN:
    bottom = build(CONFIG, layout(tasks, histories))
    assert isinstance(bottom, DTRN)
    return bottom


def fields_of(dtrn: DTRN, vectors: Vectors, dense: Tensor) -> Tensor:
    """`(B, T, n, D)`."""
    return dtrn(vectors, dense).unflatten(1, (dtrn.tasks, -1))


def some_inputs() -> tuple[Vectors, Tensor]:
    return some_vectors(layout()), some_numbers(layout())


def zero_hypernetwork(dtrn: DTRN) -> None:
    assert dtrn.interests is not None
    for transformer in dtrn.interests.transformers:
        assert isinstance(transformer, ConditionalTransformer)
        torch.nn.init.zeros_(transformer.norms.weight)
        torch.nn.init.zeros_(transformer.norms.bias)


def close(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=0, atol=1e-10)


class TestDTRN(NetworkContract):
    block = MODELS["dtrn"]

    def swap_tasks(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        model = self.model()
        assert isinstance(model, PLEConfig)
        swapped = super().swap_tasks(state)
        for name, value in swapped.items():
            if any(f".bottom.{own}" in name for own in OWN):
                swapped[name] = value[[1, 0, 2]]
        return reorder(swapped, (1, 0, 2), model.task_experts, model.shared_experts)


def naive_interest(transformer: ConditionalTransformer, past: Tensor, condition: Tensor) -> Tensor:
    """One task's interest in one row's events `(events, W)`, all of them there, as in the paper:
    gamma and beta inside the norms, one head at a time, the mean last."""
    if not len(past):
        return past.new_zeros(past.shape[1])
    width = past.shape[1]
    gamma_1, beta_1, gamma_2, beta_2 = (
        F.linear(condition, transformer.norms.weight, transformer.norms.bias)
        + torch.tensor([1, 0, 1, 0]).repeat_interleave(width)
    ).split(width)
    placed = past + transformer.position[: len(past)].flip(0)
    q, k, v = (placed @ w.T for w in transformer.project.weight.split(width))
    heads = [
        (q[:, h] @ k[:, h].T / D**0.5).softmax(1) @ v[:, h]
        for h in (slice(i, i + D) for i in range(0, width, D))
    ]
    attention = transformer.join(torch.cat(heads, 1))
    u = F.layer_norm(past + attention, (width,), gamma_1, beta_1)
    return F.layer_norm(u + transformer.feedforward(u), (width,), gamma_2, beta_2).mean(0)


def naive_fields(dtrn: DTRN, vectors: Vectors, dense: Tensor) -> Tensor:
    """`(B, T, n, D)`, one row, task and history after another."""
    fields, interests = dtrn.fields(vectors, dense), dtrn.interests
    assert interests is not None
    out = []
    for row in range(B):
        for t in range(dtrn.tasks):
            z = list(fields[row])
            for k, history in enumerate(by_history(layout())):
                past, present = events(history, vectors)
                pair = torch.cat([interests.task[t], interests.behaviour[k]])
                interest = naive_interest(
                    interests.transformers[k],  # type: ignore[arg-type]
                    past[row, 0, present[row]],
                    interests.hidden(pair).relu(),
                )
                z += interest.split(D)
            s = torch.stack([field.mean() for field in z])
            hidden = (dtrn.refinement.reduce.weight[t] @ s).relu()
            w = 2 * (dtrn.refinement.excite.weight[t] @ hidden).sigmoid()
            out.append(w[:, None] * torch.stack(z))
    return torch.stack(out).unflatten(0, (B, -1))


def test_it_is_the_loop_over_tasks_and_histories() -> None:
    """Attention once per history, tasks at once, padding masked: the same as none of it."""
    dtrn, inputs = make(), some_inputs()
    close(fields_of(dtrn, *inputs), naive_fields(dtrn, *inputs))


def test_its_fields_are_named_in_order() -> None:
    dtrn = make()
    histories = ("viewed.item", "viewed.author", "viewed.age", "liked.author", "liked.age")
    assert dtrn.names == (*dtrn.fields.names, *histories)
    assert dtrn(*some_inputs()).shape == (B, 3 * len(dtrn.names), D)


def test_without_hypernetwork_and_with_equal_senets_tasks_are_equal() -> None:
    dtrn, inputs = make(), some_inputs()
    zero_hypernetwork(dtrn)
    with torch.no_grad():
        for parameter in dtrn.refinement.parameters():
            parameter[:] = parameter[0].clone()
    x = fields_of(dtrn, *inputs)
    close(x[:, 1], x[:, 0])
    close(x[:, 2], x[:, 0])


def test_tasks_differ_by_either_part() -> None:
    """By their interests with equal SENets, by their SENets with equal interests."""
    inputs = some_inputs()
    norms, senets = make(), make()
    torch.nn.init.zeros_(norms.refinement.excite.weight)
    zero_hypernetwork(senets)
    F_ = len(norms.fields.names)
    x = fields_of(norms, *inputs)
    assert torch.equal(x[:, 0, :F_], x[:, 1, :F_])
    assert not torch.isclose(x[1:, 0, F_:], x[1:, 1, F_:]).any()
    x = fields_of(senets, *inputs)
    assert not torch.isclose(x[1:, 0, :F_], x[1:, 1, :F_]).all(2).any()


def test_i12_a_head_on_plain_dtrn_is_the_head_on_a_shared_bottom() -> None:
    """I12: zero hypernetwork and all-ones TRM."""
    model = MMoEConfig(embedding_dim=D, experts=3, expert=(8, 6), bottom=CONFIG)
    predictor, inputs = Predictor(layout(), model).double(), some_inputs()
    dtrn = predictor.bottom
    assert isinstance(dtrn, DTRN) and dtrn.interests is not None
    zero_hypernetwork(dtrn)
    torch.nn.init.zeros_(dtrn.refinement.excite.weight)
    vectors, dense = inputs
    shared = [dtrn.fields(vectors, dense)]
    for history, transformer in zip(by_history(layout()), dtrn.interests.transformers, strict=True):
        past, present = events(history, vectors)
        nothing = past.new_zeros(2 * CONDITION)
        rows = [
            naive_interest(transformer, past[row, 0, present[row]], nothing)  # type: ignore[arg-type]
            for row in range(B)
        ]
        shared.append(torch.stack(rows).unflatten(1, (-1, D)))
    trunk = MMoEConfig(embedding_dim=D, experts=3, expert=(8, 6)).build(dtrn.names, predictor.names)
    trunk.load_state_dict(predictor.trunk.state_dict())
    expected = trunk.double()(torch.cat(shared, 1))
    close(predictor.represent(dtrn(vectors, dense)), expected)


def test_isolation_a_task_moves_no_other_tasks_embedding_or_senet() -> None:
    """The DTRN row of the isolation matrix: p_A and SE_A get exactly 0 from another task."""
    dtrn = make()
    fields_of(dtrn, *some_inputs())[:, 1].square().sum().backward()
    for name, parameter in dtrn.named_parameters():
        grad = parameter.grad
        assert grad is not None
        if name.startswith(OWN):
            assert grad.flatten(1).any(1).tolist() == [False, True, False], name
        elif name.startswith("interests."):
            assert grad.any(), name
    assert dtrn.interests is not None
    assert dtrn.interests.behaviour.grad.any(1).all()  # type: ignore[union-attr]


def test_padding_neither_counts_nor_learns() -> None:
    dtrn, (vectors, dense) = make(), some_inputs()
    noisy = {}
    for name, vector in vectors.unpooled.items():
        present = vectors.present.get(name)
        noisy[name] = (
            vector if present is None else torch.where(present[:, None, :, None], vector, 1e3)
        ).requires_grad_()
    x = dtrn(vectors._replace(unpooled=noisy), dense)
    close(x, dtrn(vectors, dense))
    x.square().sum().backward()
    for name, present in vectors.present.items():
        grad = noisy[name].grad
        assert grad is not None and not grad.squeeze(1)[~present].any()
        assert grad.squeeze(1)[present].any(1).all()


def test_an_empty_history_is_zero_and_learns_without_harm() -> None:
    dtrn, (vectors, dense) = make(), some_inputs()
    nobody = {name: torch.zeros_like(present) for name, present in vectors.present.items()}
    empty = {
        name: torch.zeros_like(v) if name in nobody else v for name, v in vectors.unpooled.items()
    }
    x = fields_of(dtrn, Vectors(vectors.pooled, empty, nobody), dense)
    assert not x[:, :, len(dtrn.fields.names) :].any()
    x.square().sum().backward()
    for name, parameter in dtrn.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_the_order_of_events_counts_from_the_newest() -> None:
    """Places are those before the newest event, so an event more in front changes no place."""
    transformer, condition = ConditionalTransformer(4, 1, D, 3).double(), torch.randn(2, 3).double()
    past = torch.randn(1, 4, D, dtype=torch.float64)
    torch.nn.init.normal_(transformer.position)
    here = torch.tensor([[True, True, False, False]])
    last = transformer.position.detach().clone()
    before = transformer(past, here, condition)
    with torch.no_grad():
        transformer.position[2:] = 7.0
    assert torch.equal(transformer(past, here, condition), before)
    with torch.no_grad():
        transformer.position.copy_(last)
    swapped = transformer(past[:, [1, 0, 2, 3]], here, condition)
    assert not torch.isclose(swapped, before).any()


def test_swapping_embeddings_and_senets_swaps_tasks() -> None:
    dtrn, swapped, inputs = make(), make(), some_inputs()
    swapped.load_state_dict(
        {k: v[[1, 0, 2]] if k.startswith(OWN) else v for k, v in dtrn.state_dict().items()}
    )
    close(fields_of(swapped, *inputs), fields_of(dtrn, *inputs)[:, [1, 0, 2]])


@pytest.mark.parametrize("histories", [True, False])
def test_one_more_task_costs_its_embedding_and_its_senet(histories: bool) -> None:
    def count(tasks: int) -> int:
        return sum(p.numel() for p in make(tasks, histories).parameters())

    n = len(make(3, histories).names)
    senet = 2 * n * (n // CONFIG.reduction)
    assert count(4) - count(3) == senet + (CONDITION if histories else 0)


def test_without_histories_it_is_senet_per_task() -> None:
    """K = 0: no hypernetwork, nothing but the fields and their weights."""
    dtrn = make(histories=False)
    assert dtrn.interests is None
    vectors, dense = some_vectors(layout(histories=False)), some_numbers(layout())
    fields = dtrn.fields(vectors, dense)
    weights = dtrn.refinement(fields.expand(3, -1, -1, -1))
    for t, x in enumerate(fields_of(dtrn, vectors, dense).unbind(1)):
        close(x, weights[t][..., None] * fields)


def test_histories_alone_are_enough() -> None:
    alone = layout().model_copy(update={"ids": (), "bags": (), "dense": ()})
    dtrn = build(CONFIG, alone)
    vectors = some_vectors(alone)
    assert len(dtrn.names) == 5
    assert dtrn(vectors, torch.empty(B, 0, dtype=torch.float64)).shape == (B, 3 * 5, D)
