"""The online scorer of an experiment: every row is answered by its unit's arm, and logged."""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import polars as pl

from fulcrum.features.errors import ConfigError, DataError, nearest
from fulcrum.serving.experiments.arm_models import ArmModels
from fulcrum.serving.experiments.assignment import assign, instance, unit_texts
from fulcrum.serving.experiments.columns import EXPOSURE, SCORE, TIME, Schema, logged_name
from fulcrum.serving.experiments.experiment import ExperimentConfig
from fulcrum.serving.experiments.exposure_log import ExposureLog
from fulcrum.serving.http.body import Body
from fulcrum.serving.http.metrics import ExperimentMetrics
from fulcrum.serving.http.service import ROWS_PER_CALL, Service, Work, key_text, with_keys
from fulcrum.serving.scoring.json_rows import parse_rows
from fulcrum.serving.scoring.onnx_session import Device
from fulcrum.serving.scoring.scorer import Scorer

if TYPE_CHECKING:
    from fulcrum.serving.publishing.registry import Registry

LONGEST_REQUEST_ID = 200


class ExperimentService(Service):
    """The arms' models with their log.

    Units outside `traffic` are answered by the control's model, as if there were no experiment, and
    not logged."""

    metrics: ExperimentMetrics

    def __init__(
        self,
        experiment: ExperimentConfig,
        registry: "Registry",
        log: Path,
        device: Device = "auto",
        store: Path | None = None,
    ) -> None:
        """`log` is the folder of what was assigned, shown and came of it, `store` as for a model.

        Raises ConfigError where the experiment says no unit or an arm no model, and what
        `ArmModels`, `EventStore` and `ExposureLog` do."""
        if experiment.unit is None:
            raise ConfigError("unit: serving needs the column that says whose row it is")
        self.experiment = experiment
        self.unit = experiment.unit
        self.models = ArmModels(experiment, registry, device, ROWS_PER_CALL)
        self.metrics = ExperimentMetrics(self.unknown, self.seconds, self._refused, self._unread)
        limits = self.models.control.scorer.bundle.serving
        super().__init__(experiment.name, experiment.name, limits, store)
        self.log = ExposureLog(log, experiment, self._logged_columns())

    @property
    def scorers(self) -> Sequence[Scorer]:
        return [model.scorer for model in self.models.all]

    @property
    def posts(self) -> Mapping[str, Work]:
        return {**super().posts, "/assign": self.assign, "/outcomes": self.add_outcomes}

    def follow(self) -> None:
        self.models.follow(self.prepare)

    def close(self) -> None:
        self.log.close()
        super().close()

    def score(self, body: Body) -> dict[str, Any]:
        """Answer `POST /score`: `{"rows": [...], "request": "...", "events": [...]}`. The rows and
        their arms are in the log before the answer goes out; a request whose `request` is there
        already is answered and not logged again."""
        with self.stages.stage("parse"):
            request = body.decode()
            name = _request_id(request)
            rows, past = self.parse(request, self.models.row_columns)
        sent: list[dict[str, Any]] = request["rows"]
        answered = self._answer(rows, self._deal(self._units(sent)), past, body.due)
        content = hash(json.dumps(sent, sort_keys=True))
        logged = answered.filter(pl.col("arm").is_not_null())
        new = self.log.expose(name, self._exposures(name, sent, rows, logged), content)
        if new is not None:
            self._count(new, answered)
        with self.stages.stage("answer"):
            answer = answered.select("arm", "model", "version", *self.models.scores)
            scores = with_keys(answer, sent, self.models.keys)
            return {"request": name, "experiment": self.experiment.name, "scores": scores}

    def assign(self, body: Body) -> dict[str, Any]:
        """Answer `POST /assign`: `{"units": [...]}`. Logged as assigned, not as exposed; `arm` is
        null outside the experiment."""
        units = body.decode().get("units")
        if not isinstance(units, list):
            raise DataError("units: expected a list of texts or numbers")
        self.limit("units", len(units))
        dealt = self._deal(unit_texts(units, "units[{}]"))
        inside = dealt.filter(pl.col("arm").is_not_null()).with_columns(_now())
        self._count_assigned(self.log.assign(inside))
        answer = dealt.select(
            "unit", "arm", pl.when(pl.col("arm").is_not_null()).then("instance").alias("instance")
        )
        return {"experiment": self.experiment.name, "assignments": answer.to_dicts()}

    def add_outcomes(self, body: Body) -> dict[str, Any]:
        """Answer `POST /outcomes`: `{"outcomes": [{"request": "...", "row": 0, "click": 1}]}`. The
        last value of an outcome counts."""
        outcomes = body.decode().get("outcomes")
        names = self.experiment.outcomes
        if not isinstance(outcomes, list):
            raise DataError("outcomes: expected a list of objects")
        self.limit("outcomes", len(outcomes))
        for place, outcome in enumerate(outcomes):
            if not isinstance(outcome, dict):
                raise DataError(f"outcomes[{place}]: expected an object")
            for field in outcome.keys() - {"request", "row", *names}:
                raise DataError(
                    f"outcomes[{place}]: the experiment has no outcome `{field[:80]}`"
                    f"{nearest(field, names)} (it has {', '.join(names) or 'none'})"
                )
            for field in ("request", "row"):
                if outcome.get(field) is None:
                    raise DataError(f"outcomes[{place}].{field}: missing")
        whole = [{**dict.fromkeys(names), **outcome} for outcome in outcomes]
        columns: Schema = {
            "request": pl.String(),
            "row": pl.Int32(),
            **dict.fromkeys(names, pl.Float64()),
        }
        self.log.add_outcomes(parse_rows(whole, columns, "outcomes").with_columns(_now()))
        self.metrics.outcomes.inc(len(outcomes))
        return {"added": len(outcomes)}

    def _refused(self) -> list[tuple[str, str, str]]:
        return [(one.uri, one.version, one.reason) for one in self.models.refused]

    def _unread(self) -> list[tuple[str]]:
        return [(alias,) for alias in sorted(self.models.unread)]

    def _count_assigned(self, assigned: pl.DataFrame) -> None:
        for arm in assigned["arm"]:
            self.metrics.assignments.labels(arm).inc()

    def _units(self, rows: list[dict[str, Any]]) -> pl.Series:
        for place, row in enumerate(rows):
            if row.get(self.unit) is None:
                near = "" if self.unit in row else nearest(self.unit, row)
                raise DataError(
                    f"rows[{place}].{self.unit}: missing; it says which arm answers{near}"
                )
        return unit_texts([row[self.unit] for row in rows], f"rows[{{}}].{self.unit}")

    def _deal(self, units: pl.Series) -> pl.DataFrame:
        """Unit, arm (null outside), the arm that answers (`by`), and its instance."""
        unit, by = pl.col("unit"), pl.col("by")
        dealt = pl.DataFrame({"unit": units}).with_columns(arm=assign(unit, self.experiment))
        dealt = dealt.with_columns(by=pl.col("arm").fill_null(self.experiment.control))
        return dealt.with_columns(instance=instance(unit, by, self.experiment))

    def _answer(
        self, rows: pl.DataFrame, dealt: pl.DataFrame, past: pl.LazyFrame | None, due: float
    ) -> pl.DataFrame:
        """Row, unit, arm, instance, model, version and scores, in the order of the rows; null where
        a model has no such score or its number is not finite."""
        columns = dict.fromkeys(self.models.scores, pl.Float32())
        facts = {name: pl.String() for name in ("model", "version")}
        models = self.models.present
        parts = [pl.DataFrame(schema={"row": pl.Int32(), **dealt.schema, **facts, **columns})]
        numbered = dealt.with_row_index("row").cast({"row": pl.Int32})
        for part in numbered.partition_by("by", "instance", maintain_order=True):
            by, number = part.select("by", "instance").row(0)
            model, arm_rows = models[by, number], rows[part["row"]]
            started = time.perf_counter()
            scores = self.predict(model.scorer, arm_rows, past, due)
            self.metrics.scoring.labels(by).observe(time.perf_counter() - started)
            versioned = part.with_columns(model=pl.lit(model.name), version=pl.lit(model.version))
            parts.append(versioned.hstack(scores))
        return pl.concat(parts, how="diagonal").sort("row")

    def _logged_columns(self) -> Schema:
        """Columns of the log that come from the requests and the models; a key that no model reads
        is text."""
        keys = (key for key in self.models.keys if key not in self.models.row_columns)
        columns = {**self.models.row_columns, **dict.fromkeys(keys, pl.String())}
        raw = {logged_name(n, self.experiment.outcomes): dtype for n, dtype in columns.items()}
        return raw | {f"{SCORE}{name}": pl.Float64() for name in self.models.scores}

    def _exposures(
        self, name: str, sent: list[dict[str, Any]], rows: pl.DataFrame, logged: pl.DataFrame
    ) -> pl.DataFrame:
        """Rows of the log."""
        arm_rows = rows[logged["row"]]
        keys = [
            pl.Series(key, [key_text(sent[row].get(key)) for row in logged["row"]], pl.String)
            for key in self.models.keys
            if key not in rows.columns
        ]
        outcomes = self.experiment.outcomes
        raw = arm_rows.hstack(keys).rename(lambda column: logged_name(column, outcomes))
        scores = logged.select(
            pl.col(n).cast(pl.Float64).alias(f"{SCORE}{n}") for n in self.models.scores
        )
        facts = logged.with_columns(_now(), request=pl.lit(name)).select(*EXPOSURE)
        return facts.hstack(raw).hstack(scores)

    def _count(self, assigned: pl.DataFrame, answered: pl.DataFrame) -> None:
        self._count_assigned(assigned)
        self.metrics.rows.inc(answered.height)
        labels = ("arm", "instance", "model", "version")
        for *values, rows in answered.group_by(labels).len().iter_rows():
            if values[0] is None:
                self.metrics.outside.inc(rows)
            else:
                self.metrics.exposures.labels(*values).inc(rows)


def _request_id(request: Mapping[str, Any]) -> str:
    """The client's, or a new one."""
    name = request.get("request")
    if name is None:
        return uuid4().hex
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_REQUEST_ID or not name.isascii():
        raise DataError(f"request: expected an id of 1 to {LONGEST_REQUEST_ID} ASCII characters")
    return name


def _now() -> pl.Expr:
    return pl.lit(datetime.now(UTC), TIME).alias("time")
