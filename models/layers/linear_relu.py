"""Linear layers that share inputs, and the ReLU behind them as one step, forward and backward.

S  sources        n  layers that read each        N = S · n        B  rows

    y = max(x W + b, 0)        dx = d W^T        dW = d^T x        db = sum of d over rows
    d = dy where y > 0

In two steps, training would keep and walk through twice as many activations, and the products of
the backward pass would first have dy copied into the order in which one wide product left y.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, layers: int, relu: bool = False
) -> Tensor:
    """`x (S, B, inputs)`, `weight (S, n · outputs, inputs)` and `bias (S, 1, n · outputs)` to `(N,
    B, outputs)`, the N `layers` in order; with `relu`, max(y, 0)."""
    # Transforms of `torch.func` cannot see into the one step.
    plain = not torch.is_grad_enabled() or torch._C._are_functorch_transforms_active()
    if relu and bias is not None and not plain:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        return _LinearReLU.apply(x.to(dtype), weight.to(dtype), bias.to(dtype), layers)
    y = affine(x, weight, bias)
    return by_layer(F.relu(y) if relu else y, layers)


class _LinearReLU(Function):
    """The same numbers as PyTorch's two functions give; in bf16, up to how dW is added up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layers: int) -> Tensor:
        y = by_layer(affine(x, weight, bias).relu_(), layers)
        ctx.save_for_backward(x, weight, y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        d = by_source(_masked(gradient, y, len(x)))
        dx = products(d, weight) if ctx.needs_input_grad[0] else None
        dw = products(d.transpose(1, 2), x) if _wanted(ctx, 1) else None
        db = d.sum(1, keepdim=True) if _wanted(ctx, 2) else None
        return dx, dw, db, None


def _masked(gradient: Tensor, y: Tensor, sources: int) -> Tensor:
    """d as `(S, n, B, outputs)`, in memory as `by_source` has it."""
    gradient, y = (t.unflatten(0, (sources, -1)) for t in (gradient, y))
    if torch.is_grad_enabled():  # to be differentiated again
        return gradient * (y > 0)
    _, layers, rows, outputs = y.shape
    d = y.new_empty(sources, rows, layers, outputs).transpose(1, 2)
    return torch.ops.aten.threshold_backward.grad_input(gradient, y, 0, grad_input=d)


def _wanted(ctx: Any, place: int) -> bool:
    """Whether this backward pass asks for the gradient of an argument: one that looks at gradients
    of tables alone needs none of weights. Of a parameter itself torch would not tell."""
    node = ctx.next_functions[place][0]
    return node is not None and torch._C._will_engine_execute_node(node)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x W + b`: `(S, B, n · outputs)`, or `(B, N · outputs)` of one source."""
    if len(x) == 1:
        return F.linear(x.squeeze(0), weight.squeeze(0), None if bias is None else bias.flatten())
    weight = weight.transpose(1, 2)
    return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias, x, weight)


def by_layer(y: Tensor, layers: int) -> Tensor:
    """From `affine` to `(N, B, outputs)`, in place unless S and n are both above 1."""
    if y.ndim == 2:
        return y.unflatten(1, (layers, -1)).transpose(0, 1)
    if len(y) == layers:
        return y
    return y.unflatten(2, (layers // len(y), -1)).transpose(1, 2).flatten(0, 1)


def by_source(y: Tensor) -> Tensor:
    """`(S, n, B, outputs)` to `(S, B, n · outputs)`."""
    return y.transpose(1, 2).flatten(2)


def products(a: Tensor, b: Tensor) -> Tensor:
    """Of S matrices each; of one it is a product that all threads share."""
    return (a[0] @ b[0])[None] if len(a) == 1 else torch.bmm(a, b)
