"""What is wrong with a configuration, in words: path, value, expectation, nearest spelling."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from fulcrum.features.errors import nearest
from fulcrum.features.explanations import explanations
from fulcrum.features.spec import Problem
from fulcrum.pipelines.config import annotations
from fulcrum.pipelines.config.run import RENAMED
from fulcrum.pipelines.config.yaml_text import Path, dump

EXPECTATIONS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} entries",
    "string_too_short": "text of {min_length} or more characters",
    "string_pattern_mismatch": "text that matches {pattern}",
}
"""By pydantic's type of error, what should have stood there."""


def dotted_path(path: Path) -> str:
    """`features.user_id.min_count`."""
    return ".".join(map(str, path))


def right_key(key: str, keys: Sequence[str]) -> str:
    """What an unknown key is called now, or the nearest of the keys there are, for the end of a
    message; nothing when there is neither."""
    if RENAMED.get(key) in keys:
        return f"; it is called `{RENAMED[key]}` now"
    return nearest(key, keys)


def from_pydantic(errors: Sequence[ErrorDetails], annotation: Any, data: Any) -> list[Problem]:
    """One problem a path: the members of a union that a value fits none of are told together."""
    messages: dict[Path, list[str]] = {}
    values: dict[Path, Any] = {}
    for error in errors:
        path, holder, inside = annotations.locate(annotation, data, error["loc"])
        value, union = error["input"], annotations.below(holder, inside, path[-1])
        if error["type"].startswith("union_tag"):
            name = str(annotations.tag(union))
            path, value = (*path, name), value.get(name)
        message = _message(error, path, holder, inside, union)
        values[path] = value
        messages.setdefault(path, []).append(message)
    return [Problem(path, _join(messages[path], values.get(path))) for path in messages]


def _message(error: ErrorDetails, path: Path, holder: Any, inside: Any, annotation: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        keys = annotations.keys(holder, inside)
        hint = right_key(str(path[-1]), keys) or f"; the keys here are {_listing(keys)}"
        return f"unknown key{hint}"
    if kind == "missing":
        model = annotations.model_of(holder, inside)
        about = explanations(model).get(str(path[-1])) if model else None
        return f"missing{f' ({_sentence(about)})' if about else ''}"
    if kind == "union_tag_not_found":
        return f"missing; expected one of {_listing(annotations.tags(annotation))}"
    if kind == "union_tag_invalid":
        return _choice(annotations.tags(annotation), context["tag"])
    if kind == "literal_error":
        return _choice(annotations.literals(annotation), error["input"])
    if kind in EXPECTATIONS:
        return f"expected {EXPECTATIONS[kind].format(**context)}"
    text = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return text if text == error["msg"] or kind == "value_error" else f"expected {text}"


def _choice(choices: Iterable[Any], value: Any) -> str:
    return f"expected one of {_listing(choices)}{nearest(str(value), map(str, choices))}"


def _join(messages: list[str], value: Any) -> str:
    """`is 3, expected text or a list`."""
    unique = list(dict.fromkeys(messages))
    if all(m.startswith("expected ") for m in unique):
        expectations = " or ".join(m.removeprefix("expected ") for m in unique)
        return f"is {excerpt(value)}; expected {expectations}"
    return "; ".join(unique)


def excerpt(value: Any) -> str:
    """A value as the YAML would write it, cut short."""
    text = repr(value) if isinstance(value, str) else dump(value, inline=True)
    text = text.removesuffix("...\n")
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _listing(names: Iterable[Any]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _sentence(about: str) -> str:
    return " ".join(about.split()).rstrip(".")
