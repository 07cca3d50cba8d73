"""One run: data, features, tasks, model, weighting, training, tracking, promotion, serving."""

from typing import Literal

from pydantic import Field

from fulcrum.features.config import Config
from fulcrum.features.declared.data import DataConfig
from fulcrum.features.kinds import FeatureConfig
from fulcrum.features.tasks import TaskConfig
from fulcrum.models.objectives.masked import DivideBy
from fulcrum.models.regularisers import NoRegulariserConfig, RegulariserChoice
from fulcrum.models.trunks import ModelConfig
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.models.weightings import StaticConfig, WeightingChoice
from fulcrum.pipelines.designs import DesignChoice
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.publishing.store import STORE


class DenseOptimizerConfig(Config):
    """Adam for everything outside the tables."""

    lr: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay (AdamW)."""


class SparseOptimizerConfig(Config):
    """The optimizer fused into the tables' backward pass."""

    kind: Literal["rowwise_adagrad", "adam"] = "rowwise_adagrad"
    """Row-wise Adagrad keeps one number per row, Adam two per element."""
    lr: float = Field(0.02, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 weight decay on the rows that a batch touches."""


class TableConfig(Config):
    """How one embedding table is kept while it is trained."""

    sharding: Literal["table_wise", "row_wise", "column_wise"] = "table_wise"
    """How processes share it: one has it whole, or each has some of its rows or of its columns. In
    one process all are the same."""
    kernel: Literal["fused", "uvm_caching"] = "fused"
    """Where it lies: in the memory of the device that computes, or in the machine's, with the rows
    that are asked for most on a GPU."""
    precision: Literal["fp32", "fp16"] = "fp32"
    """Of its weights; what its optimizer keeps is always fp32."""


class EarlyStoppingConfig(Config):
    """Stop when the validation split no longer improves, and keep the best weights."""

    metric: str = "auc"
    """`auc` (mean over binary tasks), `log_loss`, or one task's, for example `auc/click`."""
    patience: int = Field(2, ge=1)
    """Evaluations without improvement before stopping."""


class PretrainConfig(Config):
    """A first phase that learns some tasks alone; the training of all tasks goes on from its
    weights, with learning rates that start anew."""

    tasks: tuple[str, ...] = Field(min_length=1)
    """Tasks to learn first: those with much data."""
    epochs: int = Field(1, ge=1)
    """Passes over the training split."""
    keep_optimizer: bool = False
    """Go on with the optimizers' moments, too, which start anew otherwise."""


class CalibrationConfig(Config):
    """After training, scores are made probabilities (or means) on the validation split; the graph
    that is served does so itself."""

    segments: tuple[str, ...] = ()
    """Categorical features; the run reports by each of their values whether scores are right
    there."""


class TrainConfig(Config):
    """The training loop."""

    epochs: int = Field(5, ge=1)
    """Passes over the training split at most."""
    batch_size: int = Field(1024, ge=1)
    """Rows per step, summed over processes."""
    seed: int = 0
    """Reaches initialisation, shuffling and dropout."""
    precision: Literal["fp32", "bf16", "auto"] = "auto"
    """Of the dense part; `auto` is bf16 where the processor has instructions for it, else fp32.
    Optimizers and export are always fp32, and so are tables unless `tables` says otherwise."""
    dense: DenseOptimizerConfig = DenseOptimizerConfig()
    sparse: SparseOptimizerConfig = SparseOptimizerConfig()
    tables: dict[str, TableConfig] = Field({}, exclude_if=lambda tables: not tables)
    """Tables that are kept in another way than whole, fused and in fp32, by the name of the feature
    whose values they hold."""
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of all steps over which learning rates rise linearly from 0."""
    decay: Literal["none", "linear", "cosine"] = "cosine"
    """How learning rates fall to 0 from the end of warm-up to the last step."""
    early_stopping: EarlyStoppingConfig | None = EarlyStoppingConfig()
    """Leave it out for the default; `null` trains all epochs and keeps the last weights."""
    evaluate_every: int | None = Field(None, ge=1)
    """Steps between evaluations; once an epoch when left out."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Steps between checkpoints; once an epoch when left out."""
    divide_by: DivideBy = Field("weights", exclude_if=lambda value: value == "weights")
    """A task's loss is the weighted sum over its observed rows by the sum of their weights, or by
    their number, as the theory of weighted training has it; equal where weights are 1."""
    pretrain: PretrainConfig | None = None
    """Some tasks first, then all."""
    from_: str | None = Field(None, alias="from", exclude_if=lambda value: value is None)
    """Model to learn on from, such as `models:/NAME@champion`: the first step begins with its
    weights, as far as they fit."""
    calibration: CalibrationConfig | None = Field(
        CalibrationConfig(), exclude_if=lambda value: value == CalibrationConfig()
    )
    """Leave it out for the default; `null` serves the network's own scores, and so does a run
    without a validation split."""


class TrackingConfig(Config):
    """MLflow."""

    uri: str = STORE
    """Tracking and registry store."""
    experiment: str = "fulcrum"
    """Experiment of the run."""
    model: str | None = None
    """Registered model's name; the run's name when left out."""


class PromotionConfig(Config):
    """What a version must show before it becomes champion."""

    tolerance: float = Field(0.01, ge=0, lt=1)
    """Share of the champion's metric that a task may lose."""
    calibration: float = Field(1.25, gt=1)
    """How many times too large or too small the mean score of a task may be."""
    auc: float = Field(0.99, gt=0.5, le=1)
    """From where on a task is taken for one that reads its own label."""
    rows: int = Field(100, ge=1)
    """Measured rows (of either class, for two classes) with which a task must be shown to be better
    than a constant. With fewer it must not be shown to be worse."""
    unripe: float = Field(0.5, ge=0, le=1)
    """Share of the measured rows that may still wait for their outcomes."""
    unknown: float = Field(0.95, ge=0, le=1)
    """Share of a feature's ids in the measured rows that its vocabulary may not hold."""
    latency: float = Field(0.1, gt=0)
    """Seconds that one row may take on a CPU."""


class RunConfig(Config):
    """A whole run, one YAML file."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.+-]+$")
    """Name of the run."""
    workspace: str = ".fulcrum"
    """Folder for prepared data sets and checkpoints."""
    data: DataConfig
    features: dict[str, FeatureConfig] = Field(min_length=1)
    """What the network sees, by name."""
    tasks: dict[str, TaskConfig] = Field(min_length=1)
    """What the network predicts, by name."""
    model: ModelConfig = MMoEConfig()
    """The network: what tasks share, and how."""
    weighting: WeightingChoice = StaticConfig()
    """How the task losses become one step."""
    experiment_design: DesignChoice | None = Field(None, exclude_if=lambda design: design is None)
    """Which rows of an A/B test train an arm's model, and what they weigh."""
    regulariser: RegulariserChoice = NoRegulariserConfig()
    """What is done beside the weighting, for flat minima or a better representation."""
    train: TrainConfig = TrainConfig()
    tracking: TrackingConfig = TrackingConfig()
    promotion: PromotionConfig = PromotionConfig()
    serving: ServingConfig = ServingConfig()


RENAMED = {"weighting_by": "experiment_design", "sequential": "plan"}
"""Keys of the past, and what they are called now."""
