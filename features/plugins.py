"""Parts that other distributions bring: what their entry points declare joins a family."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any, get_args

from fulcrum.features import import_path
from fulcrum.features.config import Config
from fulcrum.features.errors import ConfigError

_installed = cache(entry_points)
"""Reads the metadata of every installed distribution, once."""
_brought: dict[type[Config], str] = {}
"""Config classes of plugins, with what to install for each."""


def add_plugins(members: dict[str, Any], family: str, base: type[Config], tag: str) -> None:
    """Add the config classes, subclasses of `base`, that installed distributions declare in the
    group `fulcrum.<family>`, by their entry points' names. `tag` is the key of the YAML that picks
    the class.

    Raises ConfigError, which names the distribution, for a name that the family has already, a
    class that cannot be imported, and one that is not of the family or has another name.
    """
    for entry in sorted(_installed().select(group=f"fulcrum.{family}")):
        distribution = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "a plugin"
        place = f"{distribution}: entry point `{entry.name} = {entry.value}` of {entry.group}"
        if entry.name in members:
            owner = members[entry.name].__module__
            raise ConfigError(f"{place}: `{entry.name}` is taken by {owner}; choose another name")
        try:
            member = entry.load()
        except Exception as error:
            raise ConfigError(
                f"{place}: cannot be loaded ({type(error).__name__}: {error}); repair or uninstall "
                "the distribution"
            ) from error
        if not (isinstance(member, type) and issubclass(member, base)):
            raise ConfigError(f"{place}: expected a subclass of {base.__name__}, got {member!r}")
        field = member.model_fields.get(tag)
        names = get_args(field.annotation) if field else ()
        if names != (entry.name,):
            expected = f'{tag}: Literal["{entry.name}"] = "{entry.name}"'
            raise ConfigError(f"{place}: expected the field `{expected}` of {member.__name__}")
        members[entry.name] = member
        if entry.dist:
            _brought[member] = f"{entry.dist.name}=={entry.dist.version}"


def requirements(value: Any) -> tuple[str, ...]:
    """What to install (`shop-parts==1.2`) for the parts of plugins that a config, or a map or
    sequence of them, names."""
    return tuple(sorted({_brought[kind] for kind in _classes(value) if kind in _brought}))


def other_versions(requirements: Iterable[str]) -> dict[str, str | None]:
    """Of what there was to install, all that is not here in that version, with the version that
    is; None where there is none."""
    here = {requirement: _version(requirement.partition("==")[0]) for requirement in requirements}
    return {r: v for r, v in here.items() if v != r.partition("==")[2]}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def sources(value: Any) -> dict[str, bytes]:
    """By name, the files beside a config that hold its parts, as they were when they were read."""
    modules = sorted({kind.__module__ for kind in _classes(value)} & import_path.TEXTS.keys())
    return {f"{module}.py": import_path.TEXTS[module] for module in modules}


def _classes(value: Any) -> Iterable[type[Config]]:
    """Those of a config and of every config in it."""
    if isinstance(value, Config):
        yield type(value)
        value = vars(value)
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for part in value:
        yield from _classes(part)
