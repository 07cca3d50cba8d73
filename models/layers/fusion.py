"""The one operator behind most multi-task networks: experts, and a masked, gated sum of them.

B  rows    S  sources    E  experts    G  outputs, one gate each    D  expert width    u  gate input

    h_e = Expert_e(x_source(e))                                                h  (B, E, D)
    a_g = softmax over the experts that g sees of W_g u_g                      a  (B, G, E)
    z_g = sum_e (a_ge + r_ge) · (Δ_ge h_e + (1 - Δ_ge) stop_gradient(h_e))     z  (B, G, D)
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fulcrum.models.layers.expert_usage import Level
from fulcrum.models.layers.stacked import ALL, StackedLinear, StackedMLP
from fulcrum.models.layers.task_rows import TaskRows, needs, run, task_rows

HIDDEN = torch.finfo(torch.float32).min
"""Gate logit of an expert out of sight: finite, so it exports, and its softmax is exactly 0."""


class Experts(nn.Module):
    """E MLPs of one shape: `(batch, sources, inputs) -> (batch, experts, hidden[-1])`.

    They are ReLU MLPs unless `network(experts, inputs, hidden, dropout, counts)` makes others.
    `source` names the input that each expert reads. Where experts of one source are neighbours, in
    the order of the sources, they read it together; else each gets a copy of its own.
    """

    source: Tensor

    def __init__(
        self,
        source: Sequence[int],
        inputs: int,
        hidden: Sequence[int],
        dropout: float = 0.0,
        network: Callable[..., nn.Module] = StackedMLP,
    ) -> None:
        super().__init__()
        sources = list(source)
        ordered = sources == sorted(sources)
        self.sources = max(sources) + 1 if ordered else 0
        counts = [sources.count(s) for s in range(self.sources)] if ordered else None
        self.mlp = network(len(sources), inputs, hidden, dropout, counts)
        self.width = (inputs, *hidden)[-1]
        self.rows: TaskRows | None = None
        self.register_buffer("source", torch.tensor(sources), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.rows is not None:
            return self.rows(self.mlp, x)
        x = x.transpose(0, 1)
        if not self.sources:
            x = x.index_select(0, self.source)
        elif len(x) > self.sources:
            x = x[: self.sources]
        return self.mlp(x).transpose(0, 1)

    def restrict(self, takes: Tensor) -> None:
        """See `Fusion.restrict`; `takes (tasks, experts)`."""
        self.rows = task_rows(takes, self.source.tolist())


class Gate(nn.Module):
    """Softmax over the visible experts: `(batch, 1 or gates, inputs) -> (batch, gates, experts)`.

    One input serves all gates, or each gate has its own. `visible (gates, experts)` says which
    experts a gate may use: all others get weight exactly 0 and no gradient. `hidden` are the units
    of ReLU layers before the logits. Never below float32.
    """

    visible: Tensor

    def __init__(
        self, visible: Tensor, inputs: int, bias: bool = True, hidden: Sequence[int] = ()
    ) -> None:
        super().__init__()
        if not visible.any(1).all():
            raise ValueError("a gate that sees no expert has no softmax")
        gates, experts = visible.shape
        self.mlp = StackedMLP(gates, inputs, hidden, dropout=0.0)
        self.linear = StackedLinear(gates, self.mlp.width, experts, bias)
        self.rows: TaskRows | None = None
        self.register_buffer("visible", visible, persistent=False)
        self.masked = not bool(visible.all())

    def forward(self, u: Tensor) -> Tensor:
        logits = run(self._logits, u, self.rows)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.masked:
            logits = logits.masked_fill(~self.visible, HIDDEN)
        return logits.softmax(-1)

    def _logits(self, u: Tensor, gates: slice = ALL) -> Tensor:
        return self.linear(self.mlp(u, gates), gates)

    def restrict(self, outputs: Tensor) -> None:
        """See `Fusion.restrict`."""
        self.rows = task_rows(outputs, range(len(self.visible)))

    def used(self, rows: int) -> Tensor | None:
        """`Level.used` of a batch."""
        return None if self.rows is None else self.rows.used(rows)


def mix(weights: Tensor, h: Tensor, gradient: Tensor | None = None) -> Tensor:
    """Weighted sums of experts: `(batch, gates, experts), (batch, experts, width) -> (batch, gates,
    width)`.

    `gradient (gates, experts)` in {0, 1} says from which outputs gradient flows into which experts;
    the values are the same with any. Without a batch dimension the weights hold for every row.
    """
    if gradient is None:
        return weights @ h
    return (weights * gradient) @ h + (weights * (1 - gradient)) @ h.detach()


class Fusion(nn.Module):
    """One level: experts, then per output a sum of those it sees.

    experts    module `(batch, sources, inputs) -> (batch, experts, width)` with `.width`
    gate       None for static weights alone
    native     `(gates, experts)` static weights r added to the gate's; learned where not 0 when
               `learn_native`
    gradient   `(gates, experts)` gradient mask Δ; None for 1 throughout
    """

    support: Tensor | None
    gradient: Tensor | None

    def __init__(
        self,
        experts: nn.Module,
        gate: Gate | None = None,
        native: Tensor | None = None,
        learn_native: bool = False,
        gradient: Tensor | None = None,
    ) -> None:
        super().__init__()
        if gate is None and native is None:
            raise ValueError("a fusion needs a gate, native weights, or both")
        self.experts, self.gate, self.width = experts, gate, experts.width
        if native is not None and learn_native:
            self.native: Tensor | None = nn.Parameter(native.clone())
            self.register_buffer("support", native != 0, persistent=False)
        else:
            self.register_buffer("native", native, persistent=False)
            self.register_buffer("support", None)
        self.register_buffer("gradient", gradient, persistent=False)

    def restrict(self, outputs: Tensor) -> Tensor:
        """Compute for the rows of each task, which then follow one another, only what `outputs
        (tasks, gates)` take, and return which inputs that is: `(tasks, inputs)`."""
        assert isinstance(self.experts, Experts) and self.gate is not None
        experts, inputs = needs(outputs, self.gate.visible, self.experts.source)
        self.experts.restrict(experts)
        self.gate.restrict(outputs)
        return inputs

    def weights(self, u: Tensor | None) -> Tensor:
        """Weight of every expert in every output: `(batch, gates, experts)`, or `(gates, experts)`
        without a gate."""
        native = self.native
        if native is not None and self.support is not None:
            native = native * self.support
        if self.gate is None:
            assert native is not None
            return native
        return self.gate(u) if native is None else self.gate(u) + native

    def forward(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        """`(batch, sources, inputs)` and the gates' input -> `(batch, gates, width)`."""
        return mix(self.weights(u), self.experts(x), self.gradient)

    def diagnostics(
        self,
        x: Tensor,
        u: Tensor | None = None,
        *,
        outputs: Sequence[str],
        owners: Sequence[str],
    ) -> Level:
        """What the level does with a batch; `outputs` and `owners` name whose each output and each
        expert is."""
        weights, h = self.weights(u), self.experts(x)
        if self.gate is None:
            weights = weights.expand(len(x), *weights.shape)
            return Level(weights, None, h, weights[0] != 0, tuple(outputs), tuple(owners))
        visible, used = self.gate.visible, self.gate.used(x.shape[0])
        return Level(weights, self.gate(u), h, visible, tuple(outputs), tuple(owners), used)
