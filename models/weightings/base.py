"""What every loss weighting shares: one signature, called once a step, and the house rules."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch import distributed as dist

from fulcrum.features.config import Config
from fulcrum.features.layout import TaskSpec
from fulcrum.features.tasks import TASKS
from fulcrum.models.gramians import GramianConfig, SketchConfig
from fulcrum.models.step import After, Rows, Step


@dataclass(frozen=True)
class Setting:
    """What a weighting is made for."""

    tasks: tuple[TaskSpec, ...]
    epoch: int = 1
    """Steps in an epoch."""
    steps: int = 1
    """Steps of the whole training."""
    state: int = 0
    """Width of `Rows.state`."""
    rows: int = 0
    """Rows of the training split."""
    seed: int = 0


@dataclass(frozen=True)
class Declared:
    """What a config says around its weighting."""

    tasks: Mapping[str, str]
    """Kind by name."""
    chained: Collection[str] = ()
    """Tasks that are `given` another one."""
    sessions: bool = False
    valid: bool = True
    """Whether there is a validation split."""

    @property
    def binary(self) -> list[str]:
        return [name for name, kind in self.tasks.items() if TASKS[kind].two_classes]


class WeightingConfig(Config):
    """A subclass adds `method` and its own settings."""

    source: ClassVar[str]
    """Paper, year and section or equation."""
    summary: ClassVar[str]
    """One line for `fulcrum weightings`."""
    family: ClassVar[Literal["losses", "gradients", "agent"]] = "losses"
    """What the weights are made from."""
    sessions: ClassVar[bool] = False
    """Whether it learns from whole sessions before training, see `Weighting.lessons`."""

    method: str
    apply: Literal["loss", "representation"] = "loss"
    """Where weights enter: they multiply the losses, towers included, or the gradient that each
    tower sends down to what the tasks share, which leaves the towers unscaled."""
    normalise: bool = True
    """Scale the weights to sum to the number of tasks, so that the learning rate keeps its
    meaning."""

    def build(self, setting: Setting) -> "Weighting":
        """Make the weighting."""
        raise NotImplementedError

    def problems(self, declared: Declared) -> Iterator[tuple[tuple[str, ...], str]]:
        """Path below `weighting` and message of whatever does not fit the run."""
        if self.apply == "representation" and declared.chained:
            yield (
                ("apply",),
                f"`representation` scales what a tower sends down, and the loss of a chained task "
                f"({', '.join(declared.chained)}) comes down several towers; expected `loss`",
            )
        if self.sessions and not declared.sessions:
            yield (
                ("method",),
                "learns from sessions, and there are none: say `data: {session: {key: <user "
                "column>, gap: 30m}}`",
            )

    @property
    def pretraining(self) -> "WeightingConfig | None":
        """The weighting under which the network is trained first, to go on from there; None for a
        training from nothing."""
        return None

    @property
    def place(self) -> GramianConfig:
        """Where `Step.gramian` takes the gradients."""
        return SketchConfig()


class Weighting(nn.Module):
    """Turns T task losses into T weights, or a weight per row and task; the step is one backward of
    the weighted sum.

    Weights are detached, finite, float32, equal on all processes, and 0 for a task that is observed
    nowhere in the global batch. A subclass gives raw weights by `weigh`; the rules are kept here.
    It lives in main memory, outside the network: no gradient of the network reaches it, and it
    trains what it learns by itself. All its state is in its state dict, in tensors that are there
    from the start, so checkpoints fill them in place; draws are seeded by the step's number.
    """

    steps: Tensor
    clipped: Tensor

    def __init__(self, config: WeightingConfig, setting: Setting) -> None:
        super().__init__()
        self.config, self.seed = config, setting.seed
        self.names = tuple(task.name for task in setting.tasks)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("clipped", torch.zeros((), dtype=torch.int64))

    def forward(self, step: Step) -> Tensor:
        """Weights `(tasks,)`, or `(batch, tasks)` of which no rule but finiteness is kept here;
        called while training alone."""
        raw = self.weigh(step)
        self.steps += 1
        return raw.float() if raw.ndim == 2 else self._published(raw, step.active)

    def weigh(self, step: Step) -> Tensor:
        """Raw weights `(tasks,)` float64 in main memory, those of inactive tasks being of no
        meaning; or final ones `(batch, tasks)` on the rows' device. `self.steps` counts the steps
        before this one."""
        raise NotImplementedError

    def after_step(self, after: After) -> None:
        """Learn from the step that was taken; nothing by default."""

    def lessons(self, epoch: int) -> int:
        """Batches of whole sessions to learn from before training, where an epoch has so many; none
        by default."""
        return 0

    def learn(self, rows: Rows) -> None:
        """One lesson: a batch of whole sessions in order, as the pretrained network sees them."""

    def taught(self) -> None:
        """The last lesson is over."""

    def facts(self) -> dict[str, float]:
        """What to log of the latest step beside the weights."""
        return {"clipped": float(self.clipped)} if self.clipped else {}

    def random(self) -> torch.Generator:
        """A generator for the draws of this step, the same on every process."""
        generator = torch.Generator()
        generator.manual_seed((self.seed * 1_000_003 + int(self.steps)) % 2**63)
        return generator

    def _published(self, raw: Tensor, active: Tensor) -> Tensor:
        """A negative weight would train a task backwards, its tower included: it becomes 0, and
        how many steps had one is counted."""
        self.clipped += (raw[active] < 0).any().long()
        weights = torch.where(active, raw, 0.0).clamp(min=0)
        if self.config.normalise:
            weights = self._normalised(weights, active)
        weights = weights.float()
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.broadcast(weights, 0)
        return weights

    def _normalised(self, weights: Tensor, active: Tensor) -> Tensor:
        """Weights `(tasks,)` that sum to the number of active tasks."""
        return weights * (active.sum() / weights.sum().clamp(min=1e-300))
