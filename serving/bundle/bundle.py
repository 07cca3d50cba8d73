"""The served model as one folder: graph, feature state, config and an example, all checksummed."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from pydantic import ValidationError

from fulcrum.features.cause import cause
from fulcrum.features.errors import FulcrumError, ModelError, StateError
from fulcrum.features.staging import full_disk
from fulcrum.features.transform.state import FeatureState
from fulcrum.features.values.schema import dump_schema
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.bundle.facts import FORMAT, Facts

FACTS, EXAMPLE = "bundle.json", "example.json"
PACKAGES = ("fulcrum-recsys", "torch", "polars", "onnx", "onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class Bundle:
    """A folder that holds all that scoring needs, and nothing that runs when it is read.

    `model.onnx` (and `model.onnx.data` when the tables are large), `state/`, `config.yaml`,
    `example.json` (the body of a `POST /score`) and `bundle.json` (versions, fingerprints, score
    columns, checksums).
    """

    folder: Path
    state: FeatureState
    config: dict[str, Any]
    """The resolved run config, as in `config.yaml`."""
    serving: ServingConfig
    """Its section on serving."""
    facts: dict[str, Any]
    """What `bundle.json` says."""

    @property
    def graph(self) -> Path:
        """The ONNX file."""
        return self.folder / "model.onnx"

    @property
    def name(self) -> str:
        """Name of the run that made the model."""
        return str(self.facts["name"])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the checksums of every file: two bundles with the same one score alike."""
        return fingerprint(self.facts["files"])

    @property
    def example(self) -> Any:
        """A few raw rows, as `POST /score` takes them. Raises StateError when they are no JSON."""
        return _read(self.folder / EXAMPLE, json.loads).get("rows")

    @classmethod
    def load(cls, folder: Path) -> "Bundle":
        """Read a bundle and check that it is whole.

        Raises ModelError where there is no bundle, StateError where a file that is read is damaged,
        missing, without a checksum, a link that leads out of the folder, or of another model.
        """
        facts = _read_facts(folder)
        _check_files(folder, facts["files"])
        config = _read(folder / "config.yaml", yaml.safe_load)
        state = FeatureState.load(folder / "state")
        try:
            state.check()
        except FulcrumError as error:
            raise StateError(f"{folder / 'state'}: {cause(error)}") from error
        _check_owner(folder, facts, config, state)
        try:
            serving = ServingConfig.model_validate(config.get("serving", {}))
        except ValidationError as error:
            raise StateError(f"{folder / 'config.yaml'}: serving: {cause(error)}") from error
        return cls(folder, state, config, serving, facts)


def write_bundle(
    folder: Path,
    *,
    state: FeatureState,
    config: Mapping[str, Any],
    config_fingerprint: str,
    example: pl.DataFrame,
    write_graph: Callable[[Path], Mapping[str, Any]],
    plugins: Sequence[str] = (),
) -> Bundle:
    """Write a bundle under a temporary name, then rename; an older one of that name is replaced.
    `plugins` are the distributions that brought parts of the run.

    `write_graph(path)` writes `model.onnx` and gives the facts to keep about it; when it raises,
    nothing is left behind. Raises ResourceError when the disk is full.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    with full_disk(folder):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            graph_facts = write_graph(partial / "model.onnx")
            state.save(partial / "state")
            _write_text(partial / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
            rows = json.loads(example.select(list(state.row_columns)).write_json())
            _write_text(partial / EXAMPLE, _json({"rows": rows}))
            facts = {
                "format": FORMAT,
                "name": config["name"],
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "config": config_fingerprint,
                "state": state.fingerprint,
                "keys": list(state.keys),
                "scores": list(state.layout.score_columns),
                "rows": dump_schema(state.row_columns),
                "past": dump_schema(state.past_columns),
                "versions": _versions(),
                "plugins": list(plugins),
                **graph_facts,
                "files": _checksums(partial),
            }
            _write_text(partial / FACTS, _json(facts))
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Bundle.load(folder)


def fingerprint(files: Mapping[str, str]) -> str:
    """SHA-256 of names and checksums, in the order of the names."""
    return hashlib.sha256(json.dumps(dict(sorted(files.items()))).encode()).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / FACTS
    if not path.is_file():
        raise ModelError(f"{folder}: not a Fulcrum model ({FACTS} is missing)")
    facts = _read(path, json.loads)
    if facts.get("format") != FORMAT:
        raise StateError(
            f"{path}: format {facts.get('format')}, this version of Fulcrum reads format {FORMAT}"
        )
    try:
        Facts.model_validate(facts)
    except ValidationError as error:
        raise StateError(f"{path}: damaged ({cause(error)})") from error
    return facts


def _read(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """The map that a text file holds."""
    try:
        document = parse(path.read_text(encoding="utf-8"))
    except Exception as error:  # a stranger's text may break anything
        raise StateError(f"{path}: damaged ({cause(error)})") from error
    if not isinstance(document, dict):
        raise StateError(f"{path}: damaged (expected a map, got {document!r:.40})")
    return document


def _check_files(folder: Path, checksums: Mapping[str, str]) -> None:
    """Raises StateError unless the files that are read are those of the checksums."""
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name, checksum in checksums.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise StateError(f"{folder / FACTS}: lists a file outside the model: {name}")
        if name not in files:
            raise StateError(f"{path}: missing, although {FACTS} lists it")
        if sha256(path) != checksum:
            raise StateError(f"{path}: damaged (its checksum is not the one in {FACTS})")
    for path in (folder / name for name in (FACTS, *checksums)):
        if not path.resolve().is_relative_to(folder.resolve()):
            raise StateError(f"{path}: a link that leads out of the model")
    read = {name for name in files if name.startswith(("model.onnx", "state/"))}
    for name in sorted((read | {"model.onnx", "config.yaml", EXAMPLE}) - checksums.keys()):
        raise StateError(f"{folder / name}: {FACTS} has no checksum for it")


def _check_owner(
    folder: Path, facts: Mapping[str, Any], config: Mapping[str, Any], state: FeatureState
) -> None:
    """Raises StateError when the files are not of one model."""
    for name, said, value in (
        ("config.yaml", "name", config.get("name")),
        ("state", "state", state.fingerprint),
        ("state", "keys", list(state.keys)),
        ("state", "scores", list(state.layout.score_columns)),
        ("state", "rows", dump_schema(state.row_columns)),
        ("state", "past", dump_schema(state.past_columns)),
    ):
        if facts[said] != value:
            raise StateError(
                f"{folder / name}: belongs to another model (its {said}: {value!r:.80}; {FACTS} "
                f"says {facts[said]!r:.80})"
            )


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
