"""The base of every config class: frozen, closed, and documented field by field."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializeAsAny,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from fulcrum.features import import_path
from fulcrum.features.explanations import explanations


class Config(BaseModel):
    """A frozen pydantic model that refuses unknown keys, infinity and NaN. A key that is a word of
    Python's is its field's alias."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True
    )
    assumed: ClassVar[bool] = False
    """Whether a map that does not name a member of the class's family means this one."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in explanations(cls).items():
            properties[name].setdefault("description", text)
        return schema


def choice(
    members: Mapping[str, type[Config]],
    tag: str = "kind",
    base: type[Config] | None = None,
    refused: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """Annotation of a field that holds one of a family's config classes, told apart by the key
    `tag`. A name alone stands for the map that says nothing else, `ple` for `{architecture: ple}`;
    the JSON Schema offers those of members whose settings all have defaults.
    A map without the key is the member that is `assumed`, if any. A name that is `refused` is told
    its reason. A family with a `base` also takes the import path of a subclass, `mine:Config`."""
    assumed = next((name for name, member in members.items() if member.assumed), None)
    classes = tuple(members.values())
    union: Any = Union[classes]  # noqa: UP007
    if len(classes) > 1:
        union = Annotated[union, Field(discriminator=tag)]
    alone = tuple(name for name, member in members.items() if _needs_nothing(member, tag))
    either = union | Literal[alone] if alone else union
    if base is not None:
        either |= _by_path(tag)

    def by_name(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        if base is not None and isinstance(value, base):
            return value
        value = {tag: value} if isinstance(value, str) else value
        if isinstance(value, Mapping) and assumed is not None:
            value = {tag: assumed, **value}
        name = value.get(tag) if isinstance(value, Mapping) else None
        if isinstance(name, str) and name in refused:
            raise ValueError(f"`{name}` {refused[name]}")
        if base is not None and isinstance(name, str) and ":" in name:
            return import_path.validate(value, name, base, tag)
        return handler(value)

    union = Annotated[union, WrapValidator(by_name, json_schema_input_type=either)]
    return union if base is None else Annotated[union, SerializeAsAny()]


def _by_path(tag: str) -> Any:
    """Of the JSON Schema: an import path alone, or as the tag of a map of whatever else."""
    path = {"type": "string", "pattern": import_path.PATTERN}
    spelled = {"type": "object", "properties": {tag: path}, "required": [tag]}
    return Annotated[Any, WithJsonSchema({"anyOf": [path, spelled]})]


def _needs_nothing(member: type[Config], tag: str) -> bool:
    return not any(
        field.is_required() for name, field in member.model_fields.items() if name != tag
    )
