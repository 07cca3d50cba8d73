"""The texts under the fields of a class, as its source has them."""

import ast
import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from textwrap import dedent

from pydantic import BaseModel


@cache
def explanations(model: type[BaseModel]) -> Mapping[str, str]:
    """The text under each field that has one, by its name in YAML.

    Read from the source when it is asked for: pydantic would read it for every class that is made,
    which takes a third of what a command needs to know its config."""
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            fields = inspect.get_annotations(base)
            texts = {name: text for name, text in texts.items() if name not in fields}
            texts |= {name: text for name, text in _texts(base) if name in model.model_fields}
    return {model.model_fields[name].alias or name: text for name, text in texts.items()}


def _texts(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Those of a class itself; none where it has no source."""
    try:
        (body,) = ast.parse(dedent(inspect.getsource(model))).body
    except (OSError, TypeError):
        return
    assert isinstance(body, ast.ClassDef)
    for field, below in pairwise(body.body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, inspect.cleandoc(text)
