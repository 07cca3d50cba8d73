"""The trained network: TorchRec tables, then everything else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torchrec import JaggedTensor, KeyedTensor

from fulcrum.features.layout import Layout
from fulcrum.features.reading.batch import Batch
from fulcrum.models.embedding.lookups import Lookups
from fulcrum.models.embedding.tables import Gather, Tables
from fulcrum.models.embedding.vectors import Vectors
from fulcrum.models.gramians import Graph
from fulcrum.models.layers.expert_usage import Level
from fulcrum.models.layers.head_scale import HeadScale
from fulcrum.models.objectives.masked import DivideBy, masked_mean
from fulcrum.models.part import AUXILIARY
from fulcrum.models.predictor import Predictor
from fulcrum.models.random_state import RandomState
from fulcrum.models.regularisers import Look, Regulariser
from fulcrum.models.step import Rows, Step
from fulcrum.models.trunks import TrunkConfig
from fulcrum.models.weightings import StaticConfig, Weighting


class Objective(nn.Module):
    """From the tables' output to one loss, with no table inside.

    `loss` is this process's share of the weighted sum of task losses: its gradient, averaged over
    processes, is the gradient of the loss over the global batch. Without a weighting every weight
    is 1.
    """

    def __init__(
        self,
        layout: Layout,
        model: TrunkConfig,
        weighting: Weighting | None = None,
        regulariser: Regulariser | None = None,
        precision: torch.dtype = torch.float32,
        divide_by: DivideBy = "weights",
    ) -> None:
        super().__init__()
        self.divide_by = divide_by
        self.layout, self.copies = layout, model.copies(len(layout.tasks))
        self.gather = Gather(layout, self.copies)
        self.predictor = Predictor(layout, model, precision)
        # In a tuple, which torch does not look into: the weighting trains itself, and its
        # parameters are none of the network's, its optimizer's or DDP's.
        self._weighting = (weighting,)
        self.regulariser = regulariser
        config = StaticConfig() if weighting is None else weighting.config
        self.place = config.place
        self.heads = HeadScale() if config.apply == "representation" else None
        self.watching = False
        """Whether the next step also tells the products of task gradients."""
        self.salt = 0
        """Of what is drawn to look at gradients: the number of the step."""
        self.latest: tuple[Batch, RandomState] | None = None
        """The batch of the latest training step, and the random state that its draws began at."""

    def forward(
        self, pooled: KeyedTensor | None, unpooled: dict[str, JaggedTensor] | None, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and, detached:

        losses      `(tasks,)` mean over observed rows of the global batch; 0 where there are none
        weights     `(tasks,)` of the weighting, a mean where rows have their own; all ones in eval
                    mode, where nothing is learned
        scores      `(batch, score columns)` probability, or value in its own unit
        row_losses  `(batch, tasks)` 0 where not observed
        products    `(tasks, tasks)` of task gradients, float64; in a step that is watched only
        auxiliary/  `()` by name: auxiliary losses of this process, unweighted; in train mode only

        In eval mode losses are what scores are measured by, without terms that guide training.
        """
        forward = self._pass(pooled, unpooled, batch, self.heads if self.training else None)
        local, losses, active = self._means(forward.row_losses, batch)
        out = {
            "losses": losses,
            "weights": torch.ones_like(losses),
            "scores": self.predictor.tasks.scores(forward.logits),
            "row_losses": forward.row_losses,
        }
        loss = local.sum()
        if self.training:
            # Before anything passes through the parts again.
            auxiliary = self.predictor.auxiliary_losses()
            assert forward.random is not None
            self.latest = batch, forward.random
            self.salt = self.salt if self.weighting is None else int(self.weighting.steps)
            self.predictor.tasks.follow(
                forward.logits.detach(), forward.labels, batch.observed, batch.weight
            )
            products = partial(self._products, forward, local, pooled, unpooled)
            step = Step(losses, active, products, partial(self._rows, forward))
            weights, row_weights = self._weights(step, batch, out)
            if self.watching:
                out["products"] = step.gramian
            loss = self._weighted(forward, local, weights, row_weights)
            for name, term in auxiliary.items():
                loss = loss + term.weight * term.value
                out[f"{AUXILIARY}{name}"] = term.value
        return loss, {name: value.detach() for name, value in out.items()}

    @property
    def weighting(self) -> Weighting | None:
        return self._weighting[0]

    def losses(
        self, pooled: KeyedTensor | None, unpooled: dict[str, JaggedTensor] | None, batch: Batch
    ) -> Tensor:
        """`(tasks,)` mean losses of the global batch in the present mode, and nothing else."""
        return self._means(self._pass(pooled, unpooled, batch).row_losses, batch)[1]

    def latest_losses(
        self, pooled: KeyedTensor | None, unpooled: dict[str, JaggedTensor] | None
    ) -> Tensor:
        """`(tasks,)` mean losses of the latest training batch at the weights of now, with the draws
        of its step: what differs from that step's losses is what the step has done. Nothing is
        drawn, and batch statistics are left alone."""
        assert self.latest is not None
        batch, random = self.latest
        parameters = dict(self.predictor.named_parameters(prefix="predictor"))
        vectors = self.gather(pooled, unpooled)
        return self._means(self._replayed(vectors, batch, random, parameters), batch)[1]

    def rows(
        self, pooled: KeyedTensor | None, unpooled: dict[str, JaggedTensor] | None, batch: Batch
    ) -> Rows:
        """What a weighting may know of the rows of a batch."""
        return self._rows(self._pass(pooled, unpooled, batch))

    def diagnostics(
        self, pooled: KeyedTensor | None, unpooled: dict[str, JaggedTensor] | None, batch: Batch
    ) -> list[Level]:
        """What each of the trunk's levels does with a batch, see `Trunk.diagnostics`."""
        fields = self.predictor.bottom(self.gather(pooled, unpooled), batch.dense)
        return self.predictor.diagnostics(fields)

    def _pass(
        self,
        pooled: KeyedTensor | None,
        unpooled: dict[str, JaggedTensor] | None,
        batch: Batch,
        scale: Callable[[Tensor], Tensor] | None = None,
    ) -> "_Pass":
        """From the tables' output to row losses. `scale` as for `Predictor.logits`."""
        vectors = self.gather(pooled, unpooled)
        random = RandomState() if self.training else None
        fields = self.predictor.bottom(vectors, batch.dense)
        logits = self.predictor.logits(fields, scale)
        return _Pass(batch, vectors, random, fields, logits, *self._row_losses(logits, batch))

    def _row_losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses and labels `(batch, tasks)`, both 0 where not observed."""
        labels = batch.labels.where(batch.observed, 0.0)
        tasks = self.predictor.tasks
        loss = tasks.losses if self.training else tasks.errors
        return loss(logits, labels).where(batch.observed, 0.0), labels

    def _means(self, row_losses: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        return masked_mean(row_losses, batch.observed, batch.weight, self.divide_by)

    def _products(
        self,
        forward: "_Pass",
        local: Tensor,
        pooled: KeyedTensor | None,
        unpooled: dict[str, JaggedTensor] | None,
    ) -> Tensor:
        """`(tasks, tasks)` of task gradients."""
        lookups = Lookups(self.layout, self.copies, pooled, unpooled, forward.batch)
        shared = self.predictor.shared_parameters()
        return self.place.products(Graph(local, lookups, forward.fields, shared, self.salt))

    @torch.no_grad()
    def _rows(self, forward: "_Pass") -> Rows:
        batch = forward.batch
        return Rows(
            forward.vectors.state(batch.dense).detach(),
            self.predictor.tasks.probabilities(forward.logits).detach(),
            forward.row_losses.detach(),
            forward.labels,
            batch.observed,
            batch.weight,
            batch.session,
            batch.row,
        )

    def _weights(
        self, step: Step, batch: Batch, out: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Weights `(tasks,)`, and `(batch, tasks)` where rows have their own; tells their mean."""
        ones = out["weights"]
        if self.weighting is None:
            return ones, None
        weights = self.weighting(step).to(ones.device)
        if weights.ndim == 1:
            out["weights"] = weights
            return weights, None
        out["weights"] = masked_mean(weights, batch.observed, batch.weight)[1]
        return ones, weights

    def _weighted(
        self, forward: "_Pass", local: Tensor, weights: Tensor, row_weights: Tensor | None
    ) -> Tensor:
        """The weighted sum of the task losses `local`, regularised."""
        weighted = local
        if row_weights is not None:
            weighted = self._means(forward.row_losses * row_weights, forward.batch)[0]
        total = (weights * weighted).sum()
        if self.heads is None:
            losses, extra = self._regularised(forward, weighted, total, row_weights)
            return (weights * losses).sum() + extra
        # Towers that scale leave the losses alone.
        losses, extra = self._regularised(forward, local, total, None)
        # Only now: whoever looked at gradients before saw those of the losses themselves.
        self.heads.weights = weights if row_weights is None else row_weights
        return losses.sum() + extra

    def _regularised(
        self, forward: "_Pass", local: Tensor, total: Tensor, row_weights: Tensor | None
    ) -> tuple[Tensor, Tensor | float]:
        """Task losses and a term beside their weighted sum; `row_weights` are those in `local`."""
        if self.regulariser is None:
            return local, 0.0
        shared = {id(p) for p in self.predictor.shared_parameters()}
        parameters = dict(self.predictor.named_parameters(prefix="predictor"))
        below = {name: p for name, p in parameters.items() if id(p) in shared}
        again = partial(self._again, forward, row_weights)
        look = Look(local, total, forward.fields, parameters, below, again, self.salt)
        losses, extra = self.regulariser(look)
        return losses, extra

    def _again(
        self, forward: "_Pass", row_weights: Tensor | None, parameters: Mapping[str, Tensor]
    ) -> Tensor:
        """The task losses at other dense parameters, with the same draws."""
        assert forward.random is not None
        row_losses = self._replayed(forward.vectors, forward.batch, forward.random, parameters)
        if row_weights is not None:
            row_losses = row_losses * row_weights
        return self._means(row_losses, forward.batch)[0]

    def _replayed(
        self, vectors: Vectors, batch: Batch, random: RandomState, parameters: Mapping[str, Tensor]
    ) -> Tensor:
        """Row losses at other dense parameters, with the draws of a pass before. Buffers are
        followed in copies that are thrown away."""
        buffers = dict(self.predictor.named_buffers(prefix="predictor"))
        copies = {name: buffer.clone() for name, buffer in buffers.items()}
        heads = None if self.heads is None else self.heads.again
        with random.restored():
            row_losses: Tensor = torch.func.functional_call(
                _RowLosses(self, heads), {**parameters, **copies}, (vectors, batch)
            )
        return row_losses


@dataclass(frozen=True)
class _Pass:
    """A batch on its way through the objective."""

    batch: Batch
    vectors: Vectors
    random: RandomState | None
    """The state before anything was drawn; None in eval mode, where nothing is."""
    fields: Tensor
    """`(batch, n · F, D)`."""
    logits: Tensor
    """`(batch, sum of outputs)`."""
    row_losses: Tensor
    """`(batch, tasks)` 0 where not observed."""
    labels: Tensor
    """`(batch, tasks)` 0 where not observed."""


class _RowLosses(nn.Module):
    """The way from vectors to row losses as a module, whose parameters may be stood in for."""

    def __init__(self, objective: Objective, heads: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.predictor = objective.predictor
        self.row_losses, self.heads = objective._row_losses, heads

    def forward(self, vectors: Vectors, batch: Batch) -> Tensor:
        fields = self.predictor.bottom(vectors, batch.dense)
        return self.row_losses(self.predictor.logits(fields, self.heads), batch)[0]


class Network(nn.Module):
    """Two modules, because TorchRec's pipelines trace this level and look for tables in it.

    Tables are made on `tables_device`: `meta` when left out, for `DistributedModelParallel` to make
    each where it will live; a real device for a network that is not sharded. `table_dtypes` are
    those of tables that are not float32, by name.
    """

    def __init__(
        self,
        layout: Layout,
        model: TrunkConfig,
        weighting: Weighting | None = None,
        regulariser: Regulariser | None = None,
        tables_device: torch.device | None = None,
        precision: torch.dtype = torch.float32,
        divide_by: DivideBy = "weights",
        table_dtypes: Mapping[str, torch.dtype] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        copies = model.copies(len(layout.tasks))
        device = torch.device("meta") if tables_device is None else tables_device
        self.tables = Tables(layout, model.embedding_dim, copies, device, table_dtypes)
        self.objective = Objective(layout, model, weighting, regulariser, precision, divide_by)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`."""
        return self.objective(*self.inputs(batch))

    def inputs(
        self, batch: Batch
    ) -> tuple[KeyedTensor | None, dict[str, JaggedTensor] | None, Batch]:
        """What the objective's methods take of a batch: the tables' output, and the batch."""
        pooled, unpooled = self.tables(batch.ids, batch.sequences)
        return pooled, unpooled, batch
