"""The training loop: one path for every network, weighting, device and number of processes.

Tables are sharded by `DistributedModelParallel`, batches flow through TorchRec's pipeline where it
has something to overlap, and the loop never asks which method it runs. Kill it at any moment and
resume: in one process the final weights are the same bits as those of a run that was never killed.
"""

import logging
import math
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fulcrum.features.errors import ConfigError, StateError, TrainError
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.reading.batch import Batch
from fulcrum.features.reading.reader import Reader
from fulcrum.models.embedding.vectors import state_width
from fulcrum.models.network import Network
from fulcrum.models.weightings import Setting
from fulcrum.pipelines.calibration import kept
from fulcrum.pipelines.calibration.fit import fit
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.console.progress import SilentProgress, TrainProgress
from fulcrum.pipelines.quality.metrics import Metrics, measure
from fulcrum.pipelines.tracking.protocol import PrefixTracker, SilentTracker, Tracker
from fulcrum.pipelines.training import checkpoint, precision, pretraining
from fulcrum.pipelines.training.early_stopping import EarlyStopping
from fulcrum.pipelines.training.learning_on import earlier_model
from fulcrum.pipelines.training.learning_on.carry_over import carry_over
from fulcrum.pipelines.training.losses_after_step import AfterStep
from fulcrum.pipelines.training.malloc import keep_freed_memory
from fulcrum.pipelines.training.optimizer import Optimizers
from fulcrum.pipelines.training.predict import examine, predict
from fulcrum.pipelines.training.processes import Process, process_group
from fulcrum.pipelines.training.session_lessons import teach
from fulcrum.pipelines.training.step import make_pipeline
from fulcrum.pipelines.training.tables.sharding import distribute, table_dtypes
from fulcrum.pipelines.training.throughput import Meter
from fulcrum.pipelines.training.weight_history import FACT, WEIGHT, Point, cosines, extend

logger = logging.getLogger(__name__)

REPORT_EVERY = 20
"""Steps between two looks at the loss; each look waits for the device."""
FROM = "from.txt"
"""What was taken of the model that a run learned on from, and what was not."""
INHERITANCE = {False: ("model",), True: ("model", "optimizers")}
"""Parts of a checkpoint that one phase passes on to the next, by whether moments are kept."""
DECIDES = ("tasks", "model", "weighting", "regulariser", "train")
"""Parts of a config that decide the weights, next to the prepared data."""


@dataclass(frozen=True)
class TrainResult:
    """What a finished training leaves."""

    checkpoint: Path
    """Folder of the best weights, or of the last ones where nothing was measured."""
    step: int
    """Optimizer steps behind those weights."""
    metrics: Metrics
    """Of the validation split at that step; empty without one."""
    history: list[tuple[int, Metrics]]
    """Every evaluation: steps done, metrics."""
    course: list[Point]
    """Weights and conflicts of the tasks over time, see `weight_history`."""


def train(
    run: RunConfig,
    dataset: PreparedDataset,
    folder: Path,
    *,
    tracker: Tracker | None = None,
    progress: TrainProgress | None = None,
    resume: bool = False,
) -> TrainResult:
    """Train a run and keep its best checkpoint under `folder`; with `resume`, go on from the latest
    checkpoint there, or start when there is none yet.

    Every process of a group calls it; only the first one's tracker and progress are used. Raises
    ConfigError when `folder` holds another run, TrainError when the loss is no longer a number,
    ResourceError when a checkpoint cannot be written.
    """
    with process_group() as process:
        if tracker is None or not process.main:
            tracker = SilentTracker()
        if progress is None or not process.main:
            progress = SilentProgress()
        with progress:
            return _train(run, dataset, folder, process, tracker, progress, resume)


def _train(
    run: RunConfig,
    dataset: PreparedDataset,
    folder: Path,
    process: Process,
    tracker: Tracker,
    progress: TrainProgress,
    resume: bool,
) -> TrainResult:
    """One phase, after those that come before it."""
    first, earlier = pretraining.before(run), None
    if first is not None and checkpoint.latest(folder) is None:
        logger.info(
            "first phase: %s weights, %d epochs", first.weighting.method, first.train.epochs
        )
        inner = PrefixTracker(tracker, "pretrain")
        below = folder / pretraining.FOLDER
        earlier = _train(first, dataset, below, process, inner, progress, resume=True).checkpoint
        logger.info("second phase, from %s", earlier)
    trainer = Trainer(run, dataset, folder, process, tracker, progress)
    trainer.start(resume, earlier)
    return trainer.run()


def read_result(folder: Path) -> TrainResult:
    """What training has left under `folder` so far. Raises StateError when that is nothing."""
    newest = checkpoint.latest(folder)
    if newest is None:
        raise StateError(f"{folder} holds no checkpoint")
    state = checkpoint.read_state(newest)
    history = [(step, metrics) for step, metrics in state["history"]]
    best = checkpoint.best_step(state)
    metrics = dict(history).get(best, {})
    course = [(step, values) for step, values in state.get("course", [])]
    return TrainResult(checkpoint.path(folder, best), best, metrics, history, course)


class Trainer:
    """One run in progress."""

    def __init__(
        self,
        run: RunConfig,
        dataset: PreparedDataset,
        folder: Path,
        process: Process,
        tracker: Tracker,
        progress: TrainProgress,
    ) -> None:
        config = run.train
        self.run_config, self.config, self.dataset, self.folder = run, config, dataset, folder
        self.process, self.tracker, self.progress = process, tracker, progress
        self.layout = dataset.state.layout
        self.names = [task.name for task in self.layout.tasks]
        dtype = precision.resolve(config.precision, process.device)
        world = f"{process.world} processes" if process.world > 1 else "1 process"
        logger.info("%s on %s, dense part in %s", world, process.device, dtype)
        keep_freed_memory()
        self.reader = Reader(
            dataset,
            "train",
            config.batch_size,
            seed=config.seed,
            shuffle=True,
            rank=process.rank,
            world=process.world,
            pin_memory=process.device.type == "cuda",
        )
        self.steps = config.epochs * len(self.reader)
        self.weighting = run.weighting.build(self._setting())
        seed_everything(config.seed)
        network = Network(
            self.layout,
            run.model,
            self.weighting,
            run.regulariser.build(),
            precision=dtype,
            divide_by=config.divide_by,
            table_dtypes=table_dtypes(config),
        )
        self.objective = network.objective
        self.model = distribute(network, config, process)
        logger.info("sharding plan of %d tables\n%s", len(self.layout.tables), self.model.plan)
        seed_everything(config.seed + 1 + process.rank)
        self.optimizers = Optimizers(self.model, config, self.steps)
        self.pipeline = make_pipeline(
            self.model, self.optimizers, process, tables=bool(self.layout.tables)
        )
        self.after = AfterStep(self.model, self.pipeline, self.optimizers, dataset, process)
        self.validates = dataset.rows("valid") > 0
        self.stopping = EarlyStopping(config.early_stopping if self.validates else None)
        self.history: list[tuple[int, Metrics]] = []
        self.course: list[Point] = []
        self.conflicts: dict[str, float] = {}
        self.meter = Meter()
        self.step = 0

    def start(self, resume: bool, earlier: Path | None = None) -> None:
        """Begin at step 0, from the weights of an earlier phase or model where there is one, or
        where the latest checkpoint was made."""
        newest = checkpoint.latest(self.folder)
        if newest is None:
            if self.process.main:
                self.folder.mkdir(parents=True, exist_ok=True)
                (self.folder / "plan.txt").write_text(f"{self.model.plan}\n")
            if earlier is not None:
                self._go_on_from(earlier)
            elif self.config.from_ is not None:
                self._learn_on_from(self.config.from_)
            teach(
                self.weighting,
                self.model,
                self.dataset,
                self.config,
                self.folder,
                self.process,
                self.tracker,
            )
            return
        if not resume:
            raise ConfigError(
                f"{self.folder} holds a run already: resume it or name another folder"
            )
        self._compare(newest)
        self.optimizers.make_state()
        state = checkpoint.load(newest, self._parts(), self.process)
        self.step = state["step"]
        self.optimizers.skip_to(self.step)
        self.reader.load_state_dict(state["reader"])
        self.stopping.load_state_dict(state["stopping"])
        before = read_result(self.folder)
        self.history, self.course = before.history, before.course
        logger.info("resumed %s at step %d of %d", self.folder, self.step, self.steps)

    def _go_on_from(self, earlier: Path) -> None:
        """Take the weights of an earlier phase, and its moments if the config says so."""
        moments = self.config.pretrain is not None and self.config.pretrain.keep_optimizer
        if moments:
            self.optimizers.make_state()
        checkpoint.load_parts(
            earlier, {k: v for k, v in self._parts().items() if k in INHERITANCE[moments]}
        )

    def _learn_on_from(self, uri: str) -> None:
        """Take what fits of the weights of another run's model."""
        found = earlier_model.find(uri, self.run_config.tracking.uri)
        lines = carry_over(self.model, self.run_config.model, self.dataset.state, found)
        lines.insert(0, f"learning on from {found.uri}")
        if self.process.main:
            (self.folder / FROM).write_text("".join(f"{line}\n" for line in lines))
        for line in lines:
            logger.info("%s", line)

    def run(self) -> TrainResult:
        """Train to the last step or until the validation split no longer improves, then
        calibrate."""
        self.meter = Meter()
        while self.step < self.steps and not self.stopping.over:
            with closing(iter(self.reader)) as batches:
                self._train(batches)
        result = read_result(self.folder)
        if self.config.calibration is not None and self.validates:
            self._calibrate(result.checkpoint)
        return result

    def _calibrate(self, best: Path) -> None:
        """Put the scores of the best weights right on the validation split, once."""
        done = kept.load(best) is not None
        if self.process.any(done):
            return
        self.pipeline.detach()
        checkpoint.load_model(best, self.model)
        calibrations = fit(predict(self.model, self.dataset, "valid", self.process))
        if self.process.main:
            kept.save(best, calibrations)
        self.process.wait()

    def _train(self, batches: Iterator[Batch]) -> None:
        """The rest of an epoch."""
        self.model.train()
        while not self.stopping.over:
            self.objective.watching = self._measures(self.step + 1)
            try:
                out = self.pipeline.progress(batches)
            except StopIteration:
                return
            self.step += 1
            self.meter.add(out, self.process.world)
            self.weighting.after_step(self.after)
            self.conflicts = cosines(out["products"], self.names) if "products" in out else {}
            self._after_step()

    def _after_step(self) -> None:
        evaluate = self._measures(self.step)
        save = self._due(self.step, self.config.checkpoint_every)
        if evaluate or save or self.step % REPORT_EVERY == 0:
            self._report()
        best = evaluate and self._evaluate()
        if best or save or self.stopping.over:
            self._save()
        if evaluate or save:
            self.meter = Meter()

    def _measures(self, step: int) -> bool:
        """Whether the validation split is looked at after a step."""
        return self.validates and self._due(step, self.config.evaluate_every)

    def _due(self, step: int, every: int | None) -> bool:
        """After the last step; before it every so many steps, or once an epoch."""
        return step == self.steps or step % (every or len(self.reader)) == 0

    def _report(self) -> None:
        """Look at the losses since the last report; stop when one of them is not a number."""
        losses = self.meter.mean_losses()
        bad = [
            name for name, loss in zip(self.names, losses, strict=True) if not math.isfinite(loss)
        ]
        if bad:
            raise TrainError(
                f"the loss of {', '.join(bad)} is not finite after step {self.step}: lower "
                "train.dense.lr or train.sparse.lr, or look for extreme labels; "
                f"the latest checkpoint is {checkpoint.latest(self.folder) or 'none'}"
            )
        mean, speed = sum(losses) / len(losses), self.meter.rows_per_second()
        metrics = {"train/loss": mean, "train/rows_per_second": speed}
        metrics["train/learning_rate"] = self.optimizers.dense.param_groups[0]["lr"]
        metrics |= {f"train/loss/{n}": loss for n, loss in zip(self.names, losses, strict=True)}
        weights = zip(self.names, self.meter.mean_weights(), strict=True)
        course = {f"{WEIGHT}/{name}": weight for name, weight in weights}
        course |= {f"{FACT}/{name}": fact for name, fact in self.weighting.facts().items()}
        extend(self.course, self.step, course)
        extend(self.course, self.step, self.conflicts)
        metrics |= {f"train/{name}": v for name, v in (course | self.conflicts).items()}
        metrics |= {f"train/{name}": v for name, v in self.meter.mean_auxiliary().items()}
        self.tracker.log_metrics(metrics, self.step)
        self.progress.advance(self.step, self.steps, mean, speed)
        self.meter = Meter()

    def _evaluate(self) -> bool:
        """Measure the validation split; whether it is the best so far."""
        self.pipeline.detach()
        metrics = measure(predict(self.model, self.dataset, "valid", self.process))
        health = examine(self.model, self.dataset, "valid", self.process)
        self.model.train()
        self.history.append((self.step, metrics))
        numbers = {f"valid/{name}": v for name, v in metrics.items() if v is not None}
        self.tracker.log_metrics(numbers | health.metrics(), self.step)
        self.progress.evaluated(self.step, metrics)
        stopping = self.config.early_stopping
        return stopping is not None and self.stopping.update(metrics[stopping.metric], self.step)

    def _save(self) -> None:
        state = {
            "step": self.step,
            # The pipeline reads ahead of the step, so the reader's own count is not the position.
            "reader": self.reader.state_dict() | {"position": self.step},
            "stopping": self.stopping.state_dict(),
            "history": self.history,
            "course": self.course,
            "config": self._config(),
            "data": self.dataset.fingerprint,
        }
        checkpoint.save(self.folder, self.step, self._parts(), state, self.process)
        if self.process.main:
            checkpoint.prune(self.folder, {self.step, self.stopping.best_step or self.step})

    def _parts(self) -> dict[str, Any]:
        return {
            checkpoint.MODEL: self.model.state_dict(),
            "optimizers": self.optimizers.state_dict(),
            "weighting": self.weighting.state_dict(),
        }

    def _setting(self) -> Setting:
        model, layout = self.run_config.model, self.layout
        return Setting(
            layout.tasks,
            epoch=len(self.reader),
            steps=self.steps,
            state=state_width(layout, model.embedding_dim, model.copies(len(layout.tasks))),
            rows=self.dataset.rows("train"),
            seed=self.config.seed,
        )

    def _config(self) -> dict[str, Any]:
        return self.run_config.model_dump(mode="json", include=set(DECIDES))

    def _compare(self, newest: Path) -> None:
        """Refuse to go on with other data or another config."""
        checkpoint.check_data(newest, self.dataset.fingerprint)
        changes = list(_differences(checkpoint.read_state(newest)["config"], self._config()))
        if changes:
            raise ConfigError(
                f"{newest} was trained with another config: {'; '.join(changes)}. "
                "Train anew, or set them back"
            )


def seed_everything(seed: int) -> None:
    """Seed every generator that training may draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """`train.batch_size was 512, is 1024` for every value that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
    elif old != new:
        yield f"{path} was {old}, is {new}"
