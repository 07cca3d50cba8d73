"""Masked means: what is not observed does not count."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.models.objectives.masked import masked_mean


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 4), st.integers(0, 2**31))
def test_only_observed_rows_count(rows: int, tasks: int, seed: int) -> None:
    torch.manual_seed(seed)
    losses = torch.rand(rows, tasks, requires_grad=True)
    observed, weight = torch.rand(rows, tasks) < 0.5, torch.rand(rows) + 0.1
    local, everywhere, active = masked_mean(losses, observed, weight)
    assert active.tolist() == observed.any(0).tolist()
    torch.testing.assert_close(local, everywhere)
    for t in range(tasks):
        seen = observed[:, t]
        share = (weight * losses[:, t])[seen].sum() / weight[seen].sum() if seen.any() else 0.0
        assert local[t].item() == pytest.approx(float(share), rel=1e-5)
    local.sum().backward()
    assert losses.grad is not None
    assert losses.grad.isfinite().all() and not losses.grad[~observed].any()


def test_an_empty_mask_gives_zero_and_no_gradient() -> None:
    losses = torch.rand(3, 2, requires_grad=True)
    observed = torch.tensor([[False, True]] * 3)
    local, everywhere, active = masked_mean(losses, observed, torch.ones(3))
    assert active.tolist() == [False, True]
    assert local[0] == 0 and everywhere[0] == 0
    local.sum().backward()
    assert losses.grad is not None
    assert losses.grad.tolist() == [[0.0, pytest.approx(1 / 3)]] * 3


def test_a_row_of_weight_two_is_two_rows() -> None:
    losses, observed = torch.rand(3, 2), torch.tensor([[True, True], [False, True], [True, True]])
    doubled = masked_mean(losses, observed, torch.tensor([1.0, 1.0, 2.0]))
    again = [0, 1, 2, 2]
    repeated = masked_mean(losses[again], observed[again], torch.ones(4))
    torch.testing.assert_close(doubled[0], repeated[0])


def test_rows_of_weight_zero_alone_give_zero() -> None:
    local, everywhere, active = masked_mean(torch.rand(3, 1), torch.ones(3, 1) > 0, torch.zeros(3))
    assert local.item() == everywhere.item() == 0 and not active.any()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 4), st.integers(0, 2**31))
def test_divided_by_rows_each_loss_is_its_weighted_sum_by_its_rows(
    rows: int, tasks: int, seed: int
) -> None:
    torch.manual_seed(seed)
    losses, observed = torch.rand(rows, tasks), torch.rand(rows, tasks) < 0.5
    weight = torch.rand(rows) * 2
    local, everywhere, active = masked_mean(losses, observed, weight, "rows")
    assert active.tolist() == observed.any(0).tolist()
    torch.testing.assert_close(local, everywhere)
    for t in range(tasks):
        own = [i for i in range(rows) if observed[i, t]]
        total = sum(float(weight[i]) * float(losses[i, t]) for i in own)
        assert local[t].item() == pytest.approx(total / max(len(own), 1), rel=1e-5)


def test_weights_of_1_divide_alike() -> None:
    losses, observed = torch.rand(9, 3), torch.rand(9, 3) < 0.5
    for one, other in zip(
        masked_mean(losses, observed, torch.ones(9)),
        masked_mean(losses, observed, torch.ones(9), "rows"),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_a_task_seen_in_rows_of_weight_zero_alone_is_not_active_by_rows_either() -> None:
    local, _, active = masked_mean(torch.rand(3, 1), torch.ones(3, 1) > 0, torch.zeros(3), "rows")
    assert local.item() == 0 and not active.any()
