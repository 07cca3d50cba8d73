"""Models in MLflow: log, register, alias, resolve. No other file speaks to MLflow about models."""

import json
import re
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256 as new_hash
from pathlib import Path

import mlflow.artifacts
from mlflow.entities import LoggedModelOutput, Metric
from mlflow.entities.logged_model import LoggedModel
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from fulcrum.features.errors import FulcrumError, ModelError, nearest
from fulcrum.features.staging import full_disk
from fulcrum.serving.bundle.bundle import FACTS, Bundle
from fulcrum.serving.publishing.mlflow_store import answering, client
from fulcrum.serving.publishing.resolve import ResolvedModel, described, holds_bundle
from fulcrum.serving.publishing.store import address

MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow says of an id that it does not know, and of one that is none."""
CACHE = Path(".fulcrum", "models")
"""Where files of a remote server are kept."""


@dataclass(frozen=True)
class AliasMove:
    """One change of an alias."""

    previous: int | None
    """Version that had the alias before."""
    version: int
    time: str
    """UTC, ISO 8601."""


class Registry:
    """The models of one MLflow tracking server or store."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @cached_property
    def _client(self) -> mlflow.MlflowClient:
        """Made when first needed: a model in a local folder needs no store."""
        return client(self.uri)

    def log(
        self,
        bundle: Bundle,
        run_id: str,
        name: str = "model",
        step: int = 0,
        metrics: dict[str, float] | None = None,
    ) -> str:
        """Log a bundle as a model of a run; gives its URI, `models:/m-...`.

        The folder is an MLflow model: `mlflow.onnx` loads it for tensors and `mlflow.pyfunc` for
        raw rows. It holds the bundle's files unchanged beside `MLmodel`. `metrics` become the
        model's own, by which MLflow ranks models.
        """
        from fulcrum.serving.publishing.mlflow_model import save

        with self._answering():
            run = self._client.get_run(run_id)
            model = self._client.create_logged_model(
                run.info.experiment_id,
                name=name,
                source_run_id=run_id,
                tags={"fulcrum.fingerprint": bundle.fingerprint},
            )
            if is_local_uri(model.artifact_location, is_tracking_or_registry_uri=False):
                save(bundle, Path(local_file_uri_to_path(model.artifact_location)), model, run_id)
            else:
                with tempfile.TemporaryDirectory(dir=bundle.folder.parent) as temporary:
                    folder = Path(temporary, "model")
                    save(bundle, folder, model, run_id)
                    self._client.log_model_artifacts(model.model_id, str(folder))
            self._client.finalize_logged_model(model.model_id, "READY")
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=step)])
            now = int(datetime.now(UTC).timestamp() * 1000)
            self._client.log_batch(
                run_id,
                metrics=[
                    Metric(key, value, now, step, model_id=model.model_id, run_id=run_id)
                    for key, value in (metrics or {}).items()
                ],
            )
        return f"models:/{model.model_id}"

    def register(self, uri: str, name: str) -> int:
        """Make a logged model (`models:/m-...` or `runs:/<run>/<model>`) a version of `name`."""
        model = self._logged_model(uri)
        with self._answering():
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            created = self._client.create_model_version(
                name,
                source=model.artifact_location,
                run_id=model.source_run_id,
                model_id=model.model_id,
            )
        return int(created.version)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point `alias` at a version, and record on the registered model what it pointed at.

        A record that a killed process left out is written by the next one."""
        previous = self.aliased(name, alias)
        if previous != version:
            with self._answering():
                self._client.set_registered_model_alias(name, alias, str(version))
        moves = self.moves(name, alias)
        before = moves[-1].version if moves else None
        if before == version:
            return
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        move = {"from": before if previous == version else previous, "to": version, "time": time}
        with self._answering():
            self._client.set_registered_model_tag(name, f"alias.{alias}.{time}", json.dumps(move))

    def aliased(self, name: str, alias: str) -> int | None:
        """The version that has an alias."""
        version = self._registered(name).aliases.get(alias)
        return int(version) if version else None

    def run(self, name: str, version: int) -> str:
        """Id of the run that a version comes from."""
        with self._answering():
            return str(self._client.get_model_version(name, str(version)).run_id)

    def origin(self, uri: str) -> tuple[str, str]:
        """The URI of what `models:/...` or `runs:/...` means now, which holds no alias, and the id
        of the run that the model comes from. Raises as `resolve` does."""
        if uri.startswith("runs:") or MODEL_ID.fullmatch(uri.removeprefix("models:/")):
            model = self._logged_model(uri)
            return f"models:/{model.model_id}", str(model.source_run_id)
        name, version = self._version(uri)
        return f"models:/{name}/{version}", self.run(name, int(version))

    def describe(
        self, name: str, version: int, heading: str, text: str, tags: Mapping[str, str]
    ) -> None:
        """Put a section below what the description of a version says already, in place of the one
        that has the same heading, and set tags."""
        with self._answering():
            old = self._client.get_model_version(name, str(version)).description or ""
            above = old.partition(heading)[0].rstrip()
            section = f"{heading}\n\n{text}"
            self._client.update_model_version(
                name, str(version), "\n\n".join(filter(None, [above, section]))
            )
            for key, value in tags.items():
                self._client.set_model_version_tag(name, str(version), key, value)

    def moves(self, name: str, alias: str) -> list[AliasMove]:
        """Every move of an alias, oldest first."""
        tags = self._registered(name).tags
        moves = (json.loads(tags[tag]) for tag in sorted(tags) if tag.startswith(f"alias.{alias}."))
        return [AliasMove(move["from"], move["to"], move["time"]) for move in moves]

    def resolve(self, uri: str, cache: Path = CACHE) -> ResolvedModel:
        """The bundle behind `models:/name@alias`, `models:/name/3`, `models:/m-...`,
        `runs:/<run>/<model>` or a local folder.

        Files of a remote server are kept in `cache`. Raises ModelError, naming the nearest models,
        when there is none.
        """
        if not uri.startswith(("models:", "runs:")):
            return described(self._local(uri))
        if uri.startswith("runs:") or MODEL_ID.fullmatch(uri.removeprefix("models:/")):
            return described(self._download(self._logged_model(uri).artifact_location, cache))
        name, version = self._version(uri)
        with self._answering():
            location = self._client.get_model_version_download_uri(name, version)
        return ResolvedModel(Bundle.load(self._download(location, cache)), name, version)

    def version(self, uri: str) -> str:
        """The version that `models:/name@alias` means now; raises as `resolve` does."""
        return self._version(uri)[1]

    def _local(self, uri: str) -> Path:
        folder = Path(uri)
        try:
            if holds_bundle(folder):
                return folder
        except OSError as error:  # a name that is too long, a folder that is another user's
            raise ModelError(f"{uri}: {error.strerror}") from None
        if folder.exists():
            raise ModelError(f"{uri}: not a Fulcrum model ({FACTS} is missing)")
        names: list[str] = []
        with suppress(FulcrumError), self._answering():
            names = [f"models:/{name}" for name in self._names()]
        raise ModelError(f"{uri}: no such folder{nearest(uri, names)}")

    def _version(self, uri: str) -> tuple[str, str]:
        """Name and version behind `models:/name@alias` or `models:/name/version`."""
        path = uri.removeprefix("models:/").strip("/")
        name, at, alias = path.partition("@")
        if not at:
            name, _, alias = path.rpartition("/")
        if not name or not alias:
            raise ModelError(f"{uri}: expected models:/<name>@<alias> or models:/<name>/<version>")
        aliases = self._registered(name).aliases
        if at and alias not in aliases:
            names = [f"models:/{name}@{a}" for a in aliases]
            raise ModelError(f"{uri}: no such alias{nearest(uri, names)}")
        number = str(aliases[alias]) if at else alias
        with self._answering():
            versions = self._client.search_model_versions(f"name='{name}'")
            names = [f"models:/{name}/{version.version}" for version in versions]
            if f"models:/{name}/{number}" not in names:
                raise ModelError(f"{uri}: no such version{nearest(uri, names)}")
        return name, number

    def _logged_model(self, uri: str) -> LoggedModel:
        path = uri.partition(":/")[2]
        with self._answering():
            if uri.startswith("runs:/"):
                return self._model_of_run(uri, *path.strip("/").partition("/")[::2])
            if not MODEL_ID.fullmatch(path):
                raise ModelError(f"{uri}: expected models:/m-<id> or runs:/<run>/<model>")
            try:
                return self._client.get_logged_model(path)
            except MlflowException as error:
                if error.error_code not in NOT_THERE:
                    raise
                raise ModelError(f"{uri}: no such model in {self.uri}") from error

    def _model_of_run(self, uri: str, run_id: str, name: str) -> LoggedModel:
        """The run's model of that name with the largest step; any name when it is empty."""
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in NOT_THERE:
                raise
            raise ModelError(f"{uri}: no such run in {self.uri}") from error
        outputs = run.outputs.model_outputs if run.outputs else []
        models = [
            self._client.get_logged_model(output.model_id)
            for output in sorted(outputs, key=lambda output: -output.step)
        ]
        for model in models:
            if name in ("", model.name):
                return model
        names = [f"runs:/{run_id}/{model.name}" for model in models]
        raise ModelError(f"{uri}: the run has no such model{nearest(uri, names)}")

    def _download(self, location: str, cache: Path) -> Path:
        """The artifacts as a local folder: where they are, or a copy in `cache`."""
        if is_local_uri(location, is_tracking_or_registry_uri=False):
            return self._checked(Path(local_file_uri_to_path(location)), location)
        folder = cache / new_hash(location.encode()).hexdigest()[:32]
        if not folder.exists():
            with full_disk(cache):
                cache.mkdir(parents=True, exist_ok=True)
                with (
                    tempfile.TemporaryDirectory(dir=cache) as partial,
                    self._answering(),
                ):
                    download = mlflow.artifacts.download_artifacts(
                        location,
                        dst_path=partial,
                        tracking_uri=address(self.uri),
                        registry_uri=address(self.uri),
                    )
                    self._checked(Path(download), location).rename(folder)
        return folder

    def _checked(self, folder: Path, location: str) -> Path:
        if not holds_bundle(folder):
            raise ModelError(f"{location}: not logged by Fulcrum ({FACTS} is missing)")
        return folder

    def _names(self) -> list[str]:
        return [model.name for model in self._client.search_registered_models()]

    def _registered(self, name: str) -> RegisteredModel:
        with self._answering():
            try:
                return self._client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                message = f"no registered model named {name!r} in {self.uri}"
                raise ModelError(message + nearest(name, self._names())) from error

    def _answering(self) -> AbstractContextManager[None]:
        return answering(self.uri, ModelError)
