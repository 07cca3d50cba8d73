"""One entry of the YAML for many windows: `key` and `over` of a window may be lists.

    clicks: {kind: window, key: [user_id, item_id], over: [1d, null], statistic: count}

is `user_clicks_1d`, `user_clicks`, `item_clicks_1d` and `item_clicks`: a list of keys puts the key
before the name, without a final `_id`; a list of lengths puts the length behind it, and nothing for
the whole past. Anything but letters, digits and `_` in them becomes `_`.

Entries are written out once files and overrides are merged: nothing behind knows of the lists.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby, product
from typing import Any, NamedTuple

from fulcrum.features.kinds.window import WindowConfig
from fulcrum.features.spec import Problem
from fulcrum.pipelines.config import annotations
from fulcrum.pipelines.config.messages import dotted_path
from fulcrum.pipelines.config.yaml_text import Path


class Feature(NamedTuple):
    """An entry without lists."""

    name: str
    value: Any
    entry: str
    """Name of the entry that it comes from."""
    places: Mapping[str, int]
    """The position of its value in each list of that entry."""


class WrittenOut(NamedTuple):
    """A config as plain data without lists of windows."""

    data: Any
    origin: Callable[[Path], Path]
    """From a path of `data` to that of what the user wrote."""
    problems: list[Problem]
    """Names that come up twice; one for each pair of entries."""


def features(annotation: Any, data: Any) -> Iterator[Feature]:
    """The features of a map of them; none for other data.

    Neighbours with the same lists are dealt together, key by key and then length by length, so that
    all about one key stands together. The order is that of the network's inputs.
    """
    if not isinstance(data, Mapping) or WindowConfig not in annotations.models(annotation):
        return
    for lists, neighbours in groupby(data.items(), lambda item: _lists(item[1])):
        entries = list(neighbours)
        for positions in product(*(range(len(values)) for values in lists.values())):
            places = dict(zip(lists, positions, strict=True))
            values = {field: lists[field][place] for field, place in places.items()}
            for name, value in entries:
                single = {**value, **values} if values else value
                yield Feature(_name(name, **values), single, name, places)


def write_out(annotation: Any, data: Any) -> WrittenOut:
    """Write out every map of features in a config's data."""
    sources: dict[Path, Feature] = {}
    clashes: dict[tuple[Path, str], str] = {}

    def build(annotation: Any, value: Any, path: Path) -> Any:
        if not isinstance(value, Mapping):
            return value
        single = {}
        for feature in features(annotations.entries(annotation), value):
            first = sources.setdefault((*path, feature.name), feature)
            if first is feature:
                single[feature.name] = feature.value
                continue
            owner = dotted_path((*path, first.entry))
            message = f"the name `{feature.name}` is taken by `{owner}`; rename one of them"
            place: Path = (*path, feature.entry)
            if first.entry == feature.entry:
                message = f"makes `{feature.name}` twice; list each value once"
                place += (next(f for f, n in first.places.items() if feature.places[f] != n),)
            clashes.setdefault((place, first.entry), message)
        return single or {
            key: build(annotations.below(annotation, value, key), inner, (*path, key))
            for key, inner in value.items()
        }

    def origin(path: Path) -> Path:
        for depth in range(len(path)):
            if source := sources.get(path[: depth + 1]):
                rest = path[depth + 1 :]
                place = [source.places[str(key)] for key in rest[:1] if key in source.places]
                return (*path[:depth], source.entry, *rest[:1], *place, *rest[1:])
        return path

    data = build(annotation, data, ())
    return WrittenOut(data, origin, [Problem(path, text) for (path, _), text in clashes.items()])


def _lists(value: Any) -> dict[str, list[Any]]:
    """The lists of an entry; the first changes slowest."""
    if not isinstance(value, Mapping) or value.get("kind") != "window":
        return {}
    return {f: value[f] for f in ("key", "over") if value.get(f) and isinstance(value[f], list)}


def _name(name: str, key: Any = None, over: Any = None) -> str:
    parts = (None if key is None else str(key).removesuffix("_id"), over)
    before, behind = ("" if p is None else re.sub(r"\W", "_", str(p), flags=re.A) for p in parts)
    return "_".join(filter(None, (before, name, behind)))
