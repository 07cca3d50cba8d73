"""The models that answer for an experiment's arms, and new versions of them as aliases move."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.errors import ConfigError, ModelError
from fulcrum.features.transform.state import FeatureState
from fulcrum.serving.experiments.experiment import ExperimentConfig
from fulcrum.serving.scoring.onnx_session import Device
from fulcrum.serving.scoring.scorer import Scorer

if TYPE_CHECKING:
    from fulcrum.serving.publishing.registry import Registry

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0
"""Seconds before a version that could not be loaded is tried again; each pause is twice the one
before."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArmModel:
    """What answers the users of one instance of an arm."""

    name: str
    """Registered name."""
    version: str
    scorer: Scorer


@dataclass(frozen=True)
class Refusal:
    """A version that an alias means and that is not taken over."""

    uri: str
    version: str
    reason: Literal["misfit", "fault"]
    """`misfit`, for good, or `fault`, which may pass."""
    pause: float
    due: float
    """When to try again, by the clock that never steps back."""


class Misfit(ModelError):
    """A version that needs what the service does not ask for."""


class ArmModels:
    """Every instance of every arm. Instances of one URI share one scorer."""

    def __init__(
        self,
        experiment: ExperimentConfig,
        registry: "Registry",
        device: Device = "auto",
        batch_size: int | None = None,
    ) -> None:
        """Load them all. Raises ConfigError for an arm without a model, ModelError, with the arm,
        for one that cannot be found or that reads a column in another type than others do."""
        self._registry, self._device, self._batch_size = registry, device, batch_size
        self._uris: dict[tuple[str, int], str] = {}
        self._by_uri: dict[str, ArmModel] = {}
        self._refused: dict[str, Refusal] = {}
        self.unread: set[str] = set()
        """Aliases of which the registry did not say at the last look what they mean."""
        self._said: dict[str, str] = {}
        for arm, config in experiment.arms.items():
            if not config.models:
                raise ConfigError(f"arms.{arm}.models: an arm needs a model to be served")
            for number, uri in enumerate(config.models):
                self._uris[arm, number] = uri
                if uri not in self._by_uri:
                    try:
                        self._by_uri[uri] = self._load(uri)
                    except ModelError as error:
                        raise ModelError(f"arms.{arm}.models: {error}") from error
        self.control = self.present[experiment.control, 0]
        states = [model.scorer.state for model in self._by_uri.values()]
        self.row_columns = _union([state.row_columns for state in states])
        """Columns that a row needs, whichever arm it is of."""
        self.past_columns = _union([state.past_columns for state in states])
        """Columns that a past event needs."""
        self.time = _time(states)
        """How all of them read times, where any does."""
        self.keys = tuple(dict.fromkeys(key for state in states for key in state.keys))
        self.scores = tuple(
            dict.fromkeys(name for state in states for name in state.layout.score_columns)
        )
        """Names of the tasks' scores, each given by one arm at least."""

    @property
    def present(self) -> dict[tuple[str, int], ArmModel]:
        """By arm and number of the instance, all of one moment."""
        by_uri = self._by_uri
        return {place: by_uri[uri] for place, uri in self._uris.items()}

    @property
    def all(self) -> list[ArmModel]:
        """Each once."""
        return list(self._by_uri.values())

    @property
    def refused(self) -> list[Refusal]:
        """Versions that the service should have and has not."""
        return list(self._refused.values())

    def follow(self, prepare: Callable[[Scorer], object] = Scorer.warm_up) -> None:
        """Load what the aliases mean by now, and `prepare` it before it answers. A version that
        needs other columns than the service asks for is not taken; one that cannot be loaded or
        prepared is tried again after a while."""
        for uri, model in list(self._by_uri.items()):
            if "@" not in uri:
                continue
            version = model.version
            try:
                version = self._registry.version(uri)
                self.unread.discard(uri)
                refusal = self._refused.get(uri)
                if refusal is not None and refusal.version != version:
                    del self._refused[uri]
                elif refusal is not None and time.monotonic() < refusal.due:
                    continue
                if version != model.version:
                    self._take(uri, prepare)
                self._said.pop(uri, None)
            # Networks, disks and the graph's runtime raise what they like.
            except Exception as error:
                if version != model.version:
                    self._refuse(uri, version, error)
                else:
                    self.unread.add(uri)
                # The same words once, not with every look.
                if self._said.get(uri) != str(error):
                    self._said[uri] = str(error)
                    logger.warning("%s stays at version %s: %s", uri, model.version, error)

    def _take(self, uri: str, prepare: Callable[[Scorer], object]) -> None:
        old, new = self._by_uri[uri], self._load(uri)
        self._check(new)
        prepare(new.scorer)
        # A new dictionary: whoever answers a request keeps to the one it began with.
        self._by_uri = {**self._by_uri, uri: new}
        self._refused.pop(uri, None)
        logger.info("%s is version %s from now on, was %s", uri, new.version, old.version)

    def _refuse(self, uri: str, version: str, error: Exception) -> None:
        before = self._refused.get(uri)
        pause = FIRST_PAUSE if before is None else min(2 * before.pause, LONGEST_PAUSE)
        if isinstance(error, Misfit):
            self._refused[uri] = Refusal(uri, version, "misfit", pause, math.inf)
        else:
            self._refused[uri] = Refusal(uri, version, "fault", pause, time.monotonic() + pause)

    def _load(self, uri: str) -> ArmModel:
        target = self._registry.resolve(uri)
        scorer = Scorer(target.bundle, self._device, self._batch_size)
        return ArmModel(target.name, target.version, scorer)

    def _check(self, new: ArmModel) -> None:
        """Raises Misfit for a model that reads or gives what the others do not."""
        state = new.scorer.state
        if self.time is not None and state.time not in (None, self.time):
            raise Misfit(
                f"version {new.version} reads times otherwise (`data.time`); restart the service "
                "to take it over"
            )
        for columns, known in (
            (state.row_columns, self.row_columns),
            (state.past_columns, self.past_columns),
            (dict.fromkeys(state.layout.score_columns), dict.fromkeys(self.scores)),
        ):
            for name, dtype in columns.items():
                if name not in known or known[name] != dtype:
                    raise Misfit(
                        f"version {new.version} has `{name}`, which is new or of another type; "
                        "restart the service to take it over"
                    )


def _time(states: Sequence[FeatureState]) -> TimeConfig | None:
    """Raises ModelError where two models read times differently."""
    times = list(dict.fromkeys(state.time for state in states if state.time is not None))
    if len(times) > 1:
        raise ModelError(
            f"the arms' models read times as {times[0]!r} and as {times[1]!r}; models of one "
            "experiment have to agree in `data.time`"
        )
    return next(iter(times), None)


def _union(schemas: Sequence[Mapping[str, pl.DataType]]) -> dict[str, pl.DataType]:
    """All columns. Raises ModelError where two models read one in two types."""
    columns: dict[str, pl.DataType] = {}
    for schema in schemas:
        for name, dtype in schema.items():
            if columns.setdefault(name, dtype) != dtype:
                raise ModelError(
                    f"the arms' models read `{name}` as {columns[name]} and as {dtype}; models of "
                    "one experiment have to agree"
                )
    return columns
