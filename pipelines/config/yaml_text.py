"""A YAML text as plain data, with the place of every value and everything that is wrong with it.

Scalars follow YAML 1.2's core schema, so `no`, `12:30` and `2022-04-08` are text and `1e-3` is a
number; PyYAML's own YAML 1.1 reads a boolean, a count of minutes, a date and text. Keys are text.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from fulcrum.features.cause import first_line

Path = tuple[str | int, ...]
"""Keys and list positions from the top of the document."""

SCALARS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(?:0|[1-9][0-9]*)",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "merge": r"<<",
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the strings that `_Loader` would take for something else."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # Only double quotes keep control characters and foreign line breaks.
        style = None if data.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)
for _tag, _pattern in SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), None
        )


@dataclass
class Document:
    """What one text says."""

    name: str
    """File name, or the override that gave the text."""
    data: Any = None
    """Maps, lists and scalars."""
    lines: dict[Path, int] = field(default_factory=dict)
    """Line of every key and list entry, counted from 1."""
    problems: list[tuple[Path, int | None, str]] = field(default_factory=list)
    """Path, line and message of what makes the text itself wrong, such as a key given twice."""


def parse(text: str, name: str) -> Document:
    """Read one YAML text. A bad text does not raise: the document lists its problems."""
    document = Document(name)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            document.data = _build(loader, node, (), document, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        what = " ".join(filter(None, [error.context, error.problem]))
        document.problems.append(((), line, f"not valid YAML: {what}"))
    except (yaml.YAMLError, ValueError, KeyError) as error:
        document.problems.append(((), None, f"not valid YAML: {first_line(error)}"))
    except RecursionError:
        document.problems.append(((), None, "not valid YAML: nested too deeply, or within itself"))
    return document


def dump(data: Any, inline: bool = False) -> str:
    """Plain data as YAML that `parse` reads back to equal data."""
    return yaml.dump(
        data,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        default_flow_style=inline,
    )


def _build(
    loader: _Loader, node: yaml.Node, path: Path, document: Document, above: tuple[int, ...]
) -> Any:
    if id(node) in above:
        raise RecursionError
    above = (*above, id(node))
    if isinstance(node, yaml.SequenceNode):
        for position, entry in enumerate(node.value):
            document.lines[*path, position] = entry.start_mark.line + 1
        return [
            _build(loader, entry, (*path, position), document, above)
            for position, entry in enumerate(node.value)
        ]
    if node.tag.removeprefix("tag:yaml.org,2002:") not in (*SCALARS, "str", "map"):
        raise yaml.MarkedYAMLError(problem=f"tag {node.tag}", problem_mark=node.start_mark)
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    _refuse_repeats(node, path, document)
    loader.flatten_mapping(node)
    data = {}
    for key, value in node.value:
        below = (*path, str(key.value))
        document.lines[below] = key.start_mark.line + 1
        data[str(key.value)] = _build(loader, value, below, document, above)
    return data


def _refuse_repeats(node: yaml.MappingNode, path: Path, document: Document) -> None:
    first_lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key.start_mark)
        name, line = str(key.value), key.start_mark.line + 1
        if name in first_lines:
            message = f"key given twice, first in line {first_lines[name]}"
            document.problems.append(((*path, name), line, message))
        first_lines.setdefault(name, line)
