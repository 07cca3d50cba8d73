"""What may stand at a path of the configuration, read off the config classes' annotations.

The classes are the one description of a run. Merging, overrides and error messages all ask here
which keys a map may have, so none of them knows a key by name.
"""

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from fulcrum.features import import_path
from fulcrum.features.config import Config
from fulcrum.pipelines.config.yaml_text import Path


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; any other annotation alone."""
    if get_origin(annotation) is Annotated:
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(x for member in get_args(annotation) for x in alternatives(member))
    return (annotation,)


def models(annotation: Any) -> tuple[type[Config], ...]:
    """The config classes among the alternatives."""
    return tuple(
        a for a in alternatives(annotation) if isinstance(a, type) and issubclass(a, Config)
    )


def literals(annotation: Any) -> tuple[Any, ...]:
    """The values that `Literal` alternatives allow."""
    return tuple(
        value for a in alternatives(annotation) if get_origin(a) is Literal for value in get_args(a)
    )


def tag(annotation: Any) -> str | None:
    """The key whose value picks the config class (`kind`, `architecture`, `method`), if any."""
    members = models(annotation)
    for name, info in members[0].model_fields.items() if members else ():
        fields = [member.model_fields.get(name) for member in members]
        if len(literals(info.annotation)) == 1 and all(fields):
            return name
    return None


def tags(annotation: Any) -> dict[str, type[Config]]:
    """From the tag's values to the config classes."""
    name = tag(annotation)
    if name is None:
        return {}
    return {literals(m.model_fields[name].annotation)[0]: m for m in models(annotation)}


def as_map(annotation: Any, value: Any) -> Any:
    """The map that a name alone stands for (`ple` is `{architecture: ple}`, see
    `features.config.choice`); any other value as it is."""
    name = tag(annotation)
    if name is None or not isinstance(value, str) or str in alternatives(annotation):
        return value
    return {name: value}


def model_of(annotation: Any, value: Any) -> type[Config] | None:
    """The config class that `value`, a map of the YAML or a name, is meant for; None if its tag
    does not say."""
    value = as_map(annotation, value)
    members = models(annotation)
    if len(members) == 1:
        return members[0]
    name = tag(annotation)
    if name is not None and (value is None or (isinstance(value, Mapping) and name not in value)):
        return next((member for member in members if member.assumed), None)
    if name is None or not isinstance(value, Mapping) or not isinstance(value.get(name), str):
        return None
    return tags(annotation).get(value[name]) or _by_path(value[name], name)


def _by_path(text: str, tag: str) -> type[Config] | None:
    try:
        return import_path.member(text, Config, tag)
    except ValueError:  # which validation will tell
        return None


def fields(model: type[Config]) -> dict[str, FieldInfo]:
    """Those of a class by their names in YAML."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def entries(annotation: Any) -> Any:
    """What the entries of a map with names of the user's own choice are; None for other types."""
    for a in alternatives(annotation):
        if get_origin(a) is dict:
            return get_args(a)[1]
    return None


def below(annotation: Any, value: Any, key: str | int) -> Any:
    """Annotation of `value[key]`; None where no such key may stand."""
    model = model_of(annotation, value)
    if model is not None and key in (known := fields(model)):
        return known[str(key)].annotation
    if isinstance(key, int):
        lists = [a for a in alternatives(annotation) if get_origin(a) is tuple]
        return get_args(lists[0])[0] if lists else None
    return entries(annotation)


def keys(annotation: Any, value: Any) -> tuple[str, ...]:
    """The keys that the map `value` may have: fields of its class, or the names it already uses."""
    model = model_of(annotation, value)
    if model is not None:
        return tuple(fields(model))
    if models(annotation):
        name = tag(annotation)
        return (name,) if name else ()
    return tuple(map(str, value)) if isinstance(value, Mapping) else ()


def paths(annotation: Any, value: Any) -> Iterator[Path]:
    """Every path that may stand below a map, the value's own entries included."""
    for key in keys(annotation, value):
        yield (key,)
        inner = below(annotation, value, key)
        yield from ((key, *rest) for rest in paths(inner, _child(value, key)))


def locate(annotation: Any, value: Any, loc: Path) -> tuple[Path, Any, Any]:
    """Path in the YAML of a pydantic error location, with the annotation and the value of what
    holds its last key. Where a union begins, the location names a tag or a member, which is no key
    of the YAML."""
    path: Path = ()
    holder = (annotation, value)
    inside_union = False
    for part in loc:
        named = model_of(annotation, value) in (None, *models(annotation))
        if _is_union(annotation) and named and not inside_union:
            inside_union = True
            continue
        path, holder = (*path, part), (annotation, value)
        annotation, value = below(annotation, value, part), _child(value, part)
        inside_union = False
    return path, *holder


def _is_union(annotation: Any) -> bool:
    return sum(a is not types.NoneType for a in alternatives(annotation)) > 1


def _child(value: Any, key: str | int) -> Any:
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return None
