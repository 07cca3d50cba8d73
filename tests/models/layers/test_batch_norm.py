"""Batch norms side by side: torch's own mathematics. Two processes: see `test_sharded.py`."""

import torch
from torch import nn

from fulcrum.models.layers.batch_norm import StackedBatchNorm

N, ROWS, D = 3, 11, 5


def make() -> StackedBatchNorm:
    norm = StackedBatchNorm(N, D).double()
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    return norm


def test_training_is_that_of_a_batch_norm_each() -> None:
    norm = make()
    u = torch.randn(N, ROWS, D, dtype=torch.float64, requires_grad=True)
    taught = torch.randn(N, ROWS, D, dtype=torch.float64)
    y = norm(u)
    together = torch.autograd.grad((y * taught).sum(), [u, norm.weight, norm.bias])
    for n in range(N):
        alone = nn.BatchNorm1d(D).double()
        with torch.no_grad():
            alone.weight.copy_(norm.weight[n, 0])
            alone.bias.copy_(norm.bias[n, 0])
        v = u[n].detach().requires_grad_()
        z = alone(v)
        torch.testing.assert_close(y[n], z, rtol=0, atol=1e-10)
        apart = torch.autograd.grad((z * taught[n]).sum(), [v, alone.weight, alone.bias])
        for grad, expected in zip(together, apart, strict=True):
            torch.testing.assert_close(grad[n].reshape(expected.shape), expected, rtol=0, atol=1e-9)


def test_eval_uses_the_moments_that_training_followed() -> None:
    norm, u = make(), 3 + 2 * torch.randn(N, ROWS, D, dtype=torch.float64)
    norm(u)
    mean, var = 0.1 * u.mean(1), 0.9 + 0.1 * u.var(1, correction=0)
    norm.eval()
    row = torch.randn(N, 1, D, dtype=torch.float64)
    expected = (row[:, 0] - mean) / (var + 1e-5).sqrt() * norm.weight[:, 0] + norm.bias[:, 0]
    torch.testing.assert_close(norm(row)[:, 0], expected, rtol=0, atol=1e-10)
    before = norm.running_mean.clone()
    norm(u)
    assert torch.equal(norm.running_mean, before)


def test_a_lone_row_is_beta_and_has_finite_gradients() -> None:
    norm = make()
    u = torch.randn(N, 1, D, dtype=torch.float64, requires_grad=True)
    y = norm(u)
    assert torch.equal(y, norm.bias)
    y.square().sum().backward()
    for x in (u, norm.weight, norm.bias):
        assert x.grad is not None and x.grad.isfinite().all()
    assert norm.running_var.isfinite().all()


def test_low_precision_has_float32_moments() -> None:
    """bfloat16 holds 256 values between 256 and 512: their mean and variance need more."""
    norm, u = StackedBatchNorm(N, D), (300 + 20 * torch.randn(N, 4096, D)).bfloat16()
    y = norm(u)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, StackedBatchNorm(N, D)(u.float()).bfloat16())
    assert norm.running_mean.dtype == torch.float32
