"""From YAML to a config: a run, an experiment, a simulated world.

A file may name one parent by `extends:`, relative to itself. Maps merge key by key; lists and
values replace. A map that picks another `kind`, `architecture` or `method` keeps those keys of the
parent that the new choice has with the same type. `null` for an entry that the parent named (a
feature, a task, a side table) removes the entry. Overrides (`--set train.batch_size=8192`) are one
more layer on top. A name alone (`model: ple`) is merged as the map that it stands for. An entry
for many windows is merged as it is written and written out at the end (`windows`).

Paths to data, workspace and tracking store are relative to the working directory, not to the file.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as File
from typing import Any, TypeVar

from pydantic import ValidationError

from fulcrum.features.config import Config
from fulcrum.features.errors import ConfigError, nearest
from fulcrum.features.import_path import beside
from fulcrum.features.plugins import sources
from fulcrum.features.spec import Problem
from fulcrum.pipelines.config import annotations, rules, windows
from fulcrum.pipelines.config.messages import dotted_path, from_pydantic, right_key
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.config.yaml_text import Document, Path, dump, parse

C = TypeVar("C", bound=Config)
Check = Callable[[C], Sequence[Problem]]
"""What is wrong between the parts of a config, each being right by itself."""


def load(file: str | File, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run; raises as `read` does."""
    return read(RunConfig, file, overrides, rules.problems)


def read(
    kind: type[C],
    file: str | File,
    overrides: Sequence[str] = (),
    wrong_in: Check[C] = lambda config: (),
) -> C:
    """Read a config of a kind.

    Raises ConfigError with every problem of the files and overrides at once, each with its place,
    its path, the value, what was expected and the nearest right spelling. No data are read.
    """
    files = _read_files(File(file))
    with beside(*(File(layer.name).parent for layer in reversed(files))):
        return _resolve(kind, files, overrides, wrong_in)


def _resolve(
    kind: type[C], files: Sequence[Document], overrides: Sequence[str], wrong_in: Check[C]
) -> C:
    layers = list(files)
    data: Any = {}
    for layer in files:
        data = merge(kind, data, layer.data)
    for text in overrides:
        layer = _read_override(kind, text, data)
        data = merge(kind, data, layer.data)
        layers.append(layer)
    problems = [
        (rank, line or 0, Problem(path, message))
        for rank, layer in enumerate(layers)
        for path, line, message in layer.problems
    ]
    config = None
    if not any(path == () for layer in files for path, _, _ in layer.problems):
        config, wrong = _validate(kind, data, wrong_in)
        problems += [(*_place(layers, problem.path), problem) for problem in wrong]
    if problems or config is None:
        raise ConfigError(_report(layers, problems))
    return config


def merge(annotation: Any, parent: Any, child: Any) -> Any:
    """`child` over `parent`, where `annotation` says what both are."""
    parent, child = (annotations.as_map(annotation, value) for value in (parent, child))
    if not isinstance(parent, Mapping) or not isinstance(child, Mapping):
        return child
    base = _still_valid(annotation, parent, child)
    both = {**base, **child}
    for key, value in child.items():
        if value is None and key in base and annotations.entries(annotation) is not None:
            del both[key]
        elif key in base:
            both[key] = merge(annotations.below(annotation, both, key), base[key], value)
    return both


def to_yaml(config: Config) -> str:
    """The resolved config: reading this text gives an equal one."""
    return dump(config.model_dump(mode="json"))


def fingerprint(config: Config) -> str:
    """16 hexadecimal digits that change with any resolved value and file beside the config."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode() + b"".join(sources(config).values())).hexdigest()[:16]


def schema(kind: type[Config] = RunConfig) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the YAML of a kind, for editors. A file that extends another
    may leave out what its parent says."""
    document = _any_of(kind.model_json_schema())
    document["properties"]["extends"] = {
        "type": "string",
        "description": "File whose keys this one adds to or replaces, relative to this file.",
    }
    document["if"] = {"not": {"required": ["extends"]}}
    document["then"] = {"required": document.pop("required")}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}


def _read_files(file: File, above: tuple[File, ...] = ()) -> list[Document]:
    """The parents' documents first, then the file's own."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file{_neighbour(file)}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 text ({error})") from None
    document = parse(text, str(file))
    if not isinstance(document.data, dict):
        if not document.problems:
            document.problems.append(((), None, "expected a map of keys such as `name`, `data`"))
        document.data = {}
        return [document]
    parent = document.data.pop("extends", None)
    if parent is None:
        return [document]
    if not isinstance(parent, str):
        message = "expected the name of one file"
        document.problems.append((("extends",), document.lines.get(("extends",)), message))
        return [document]
    chain = (*above, file.resolve())
    target = file.parent / parent
    if target.resolve() in chain:
        names = " -> ".join(str(f.name) for f in (*chain, target))
        raise ConfigError(f"{file}:{document.lines['extends',]}: extends itself: {names}")
    return [*_read_files(target, chain), document]


def _read_override(kind: type[Config], text: str, data: Any) -> Document:
    """One `a.b=value` as a document that holds nothing else."""
    name = f"--set {text}"
    path_text, separator, value_text = text.partition("=")
    path = tuple(path_text.strip().split("."))
    document = Document(name, data={})
    if not separator or not all(path):
        document.problems.append(((), None, "expected path=value, for example train.epochs=3"))
        return document
    value = parse(value_text, name)
    messages = [message for _, _, message in value.problems]
    if problem := _path_problem(kind, path, data):
        messages.append(problem)
    if messages:
        document.problems = [(path, None, message) for message in messages]
        return document
    document.data = value.data
    for key in reversed(path):
        document.data = {key: document.data}
    document.lines = dict.fromkeys([path, *((*path, *inner) for inner in value.lines)], 0)
    return document


def _path_problem(kind: type[Config], path: tuple[str, ...], data: Any) -> str | None:
    """What is wrong with the path of an override, if anything."""
    annotation: Any = kind
    whole = data
    for depth, key in enumerate(path):
        data = annotations.as_map(annotation, data)
        last = depth == len(path) - 1
        choices = annotations.keys(annotation, data)
        entries = annotations.entries(annotation)
        if annotations.below(annotation, data, key) is None and key not in choices:
            above = dotted_path(path[:depth])
            if not choices:
                return f"`{above}` has no keys"
            if choices == (annotations.tag(annotation),):
                if isinstance(data, Mapping) and choices[0] in data:
                    return None  # what it names is wrong, which validation will tell
                return (
                    f"there is no `{above}.{choices[0]}` yet, which says what keys there are; set "
                    f"it in the same map: {above}={{{choices[0]}: ..., {key}: ...}}"
                )
            namesakes = [
                dotted_path(p) for p in annotations.paths(kind, whole) if p[-1] == path[-1]
            ]
            return f"unknown key `{key}`" + (right_key(key, choices) or _suggest(namesakes))
        if entries is not None and not last and key not in choices:
            owners = {feature.name: feature.entry for feature in windows.features(entries, data)}
            if key in owners:
                return f"is one of the windows of `{owners[key]}`; set it there"
            return f"there is no `{dotted_path(path[: depth + 1])}`{nearest(key, choices)}"
        annotation = annotations.below(annotation, data, key)
        data = data.get(key) if isinstance(data, Mapping) else None
    return None


def _suggest(paths: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(f'`{path}`' for path in paths[:3])}?" if paths else ""


def _validate(kind: type[C], data: Any, wrong_in: Check[C]) -> tuple[C | None, list[Problem]]:
    """The config, and what is wrong with it, by the paths of `data`."""
    single, origin, repeats = windows.write_out(kind, data)
    config, wrong = _validate_single(kind, single, wrong_in)
    problems = (*repeats, *(Problem(origin(path), message) for path, message in wrong))
    return config, list(dict.fromkeys(problems))


def _validate_single(
    kind: type[C], data: Any, wrong_in: Check[C]
) -> tuple[C | None, list[Problem]]:
    try:
        config = kind.model_validate(data)
        return config, list(wrong_in(config))
    except ValidationError as error:
        wrong = from_pydantic(error.errors(), kind, data)
    try:
        rest = kind.model_validate(_without(data, [problem.path for problem in wrong]))
    except ValidationError:
        return None, wrong
    return None, [*wrong, *wrong_in(rest)]


def _without(data: Any, paths: Sequence[Path]) -> Any:
    """A copy that lacks the values at those paths, or the list that holds them."""
    data = copy.deepcopy(data)
    for path in paths:
        holder = data
        for depth, key in enumerate(path):
            last = depth == len(path) - 1 or not isinstance(holder.get(key), Mapping)
            if last:
                holder.pop(key, None)
                break
            holder = holder[key]
    return data


def _still_valid(annotation: Any, parent: Mapping[str, Any], child: Mapping[str, Any]) -> Any:
    """The parent's map, less what means something else or nothing when the child picks another
    class."""
    tag = annotations.tag(annotation)
    if tag is None or tag not in child or child[tag] == parent.get(tag):
        return parent
    old, new = annotations.model_of(annotation, parent), annotations.model_of(annotation, child)
    if old is None or new is None:
        return parent
    types = {name: field.annotation for name, field in old.model_fields.items()}
    return {
        k: v
        for k, v in parent.items()
        if k in new.model_fields and types.get(k) == new.model_fields[k].annotation
    }


def _place(layers: Sequence[Document], path: Path) -> tuple[int, int]:
    """Which layer last gave the value at a path, or the nearest map around it, and in which line;
    0 for no line."""
    for depth in range(len(path), 0, -1):
        for rank in reversed(range(len(layers))):
            if path[:depth] in layers[rank].lines:
                return rank, layers[rank].lines[path[:depth]]
    return max(i for i, layer in enumerate(layers) if not layer.name.startswith("--set")), 0


def _report(layers: Sequence[Document], problems: Sequence[tuple[int, int, Problem]]) -> str:
    lines = []
    for rank, line, (path, message) in sorted(problems, key=lambda problem: problem[:2]):
        place = f"{layers[rank].name}:{line}" if line else layers[rank].name
        lines.append(": ".join(filter(None, [place, dotted_path(path), message])))
    if len(lines) == 1:
        return lines[0]
    return "\n  ".join([f"{len(lines)} problems in the configuration", *lines])


def _neighbour(file: File) -> str:
    siblings = [f.name for f in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
    return nearest(file.name, siblings)


def _any_of(node: Any) -> Any:
    """Unions by `anyOf`: a file that extends another may leave out the key that tells them apart,
    and then fits several members."""
    if isinstance(node, dict):
        return {"anyOf" if k == "oneOf" else k: _any_of(v) for k, v in node.items()}
    return [_any_of(entry) for entry in node] if isinstance(node, list) else node
