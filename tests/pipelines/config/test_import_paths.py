"""Import paths in the places of a config that may hold them, right and wrong in every way."""

from pathlib import Path

import pytest

from fulcrum.features.errors import ConfigError
from fulcrum.pipelines.config.load import fingerprint, load, to_yaml

PART = """\
from fulcrum.models.interactions.base import InteractionConfig

class Gate(InteractionConfig):
    start: float = 1.0
"""
OTHER = "from fulcrum.models.chains.base import ChainConfig\nclass Gate(ChainConfig): ...\n"
LATER = PART.replace("float = 1.0", "'Nowhere' = 1.0")
CHECK = """
    @__import__("pydantic").model_validator(mode="after")
    def check(self):
        raise RuntimeError("boom")
"""
YAML = """\
name: small
data: {{events: events.parquet, time: {{column: at}}}}
features: {{item: categorical}}
tasks: {{click: {{kind: binary, label: clicked}}}}
model: {{architecture: mmoe, interaction: {interaction}}}
"""
WAYS = {
    "alone": ("", "{path}", "", ()),
    "in a map": ("", "{{kind: '{path}', start: 1}}", "", ()),
    "by --set": ("", "none", "", ["model.interaction={path}"]),
    "by --set of the kind": ("", "none", "", ["model.interaction.kind={path}"]),
    "by --set of two keys": (
        *("", "none", ""),
        ["model.interaction.kind={path}", "model.interaction.start=1"],
    ),
    "under --set": ("", "{path}", "", ["model.interaction.start=1"]),
    "in a base elsewhere": ("base", "{path}", "{{}}", ()),
    "under a child": ("base", "{path}", "{{interaction: {{start: 1}}}}", ()),
    "in a child": ("base", "none", "{{interaction: {path}}}", ()),
}
"""By name: where the base and the module lie, its interaction, the child's model, overrides."""
FAULTS: dict[str, tuple[str | bytes | None, str, str]] = {
    "no file": (None, "{name}:Gate", "there is no module `{name}`"),
    "a name with dots": (PART, "{name}.sub:Gate", "there is no module `{name}.sub`"),
    "an extension": (PART, "{name}.py:Gate", "did you mean `{name}`"),
    "a path": (PART, "./{name}:Gate", "expected an import path"),
    "another class": (PART, "{name}:Gat", "there is no `Gat` in .*; did you mean `Gate`"),
    "the base": (PART, "{name}:InteractionConfig", "expected a subclass of InteractionConfig"),
    "another family": (OTHER, "{name}:Gate", "expected a subclass of InteractionConfig"),
    "no config": ("class Gate: ...", "{name}:Gate", "expected a subclass of InteractionConfig"),
    "no class": ("Gate = 3", "{name}:Gate", "expected a subclass of InteractionConfig, got 3"),
    "no Python": ("x = = 1", "{name}:Gate", "cannot be loaded .SyntaxError"),
    "no text": (b"\xff\x00", "{name}:Gate", "cannot be loaded .SyntaxError"),
    "a division by 0": ("\n1 / 0", "{name}:Gate", r"{name}\.py:2 cannot be loaded .ZeroDivision"),
    "an exit": ("raise SystemExit(0)", "{name}:Gate", r"{name}\.py:1 cannot be loaded .SystemExit"),
    "its own exit": (
        *("class Stop(BaseException): ...\nraise Stop", "{name}:Gate"),
        r"{name}\.py:2 cannot be loaded .Stop\)",
    ),
    "no end": ("def f(): f()\nf()", "{name}:Gate", "cannot be loaded .RecursionError"),
    "a missing import": ("import nowhere_", "{name}:Gate", "cannot be loaded .ModuleNotFound"),
    "a type of nowhere": (LATER, "{name}:Gate", "cannot be read .PydanticUserError"),
    "a check that fails": (PART + CHECK, "{name}:Gate", "cannot be read .RuntimeError: boom"),
}


def write(folder: Path, way: str, text: str | bytes | None, path: str, name: str) -> list[str]:
    """The file and its base, with the module beside the base; gives the overrides."""
    beside, interaction, child, overrides = WAYS[way]
    home = folder / beside
    home.mkdir(exist_ok=True)
    whole = YAML.format(interaction=interaction.format(path=path))
    (home / ("base.yaml" if beside else "run.yaml")).write_text(whole)
    if beside:
        (folder / "run.yaml").write_text(
            f"extends: base/base.yaml\nmodel: {child.format(path=path)}"
        )
    if text is not None:
        (home / f"{name}.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    return [override.format(path=path) for override in overrides]


def named(request: pytest.FixtureRequest) -> str:
    """A module's name that no other test has."""
    return "given_" + "".join(c if c.isalnum() else "_" for c in request.node.name)


@pytest.mark.parametrize("way", WAYS)
def test_a_path_is_followed_wherever_it_stands(tmp_path, request, way: str) -> None:
    name = named(request)
    overrides = write(tmp_path, way, PART, f"{name}:Gate", name)
    run = load(tmp_path / "run.yaml", overrides)
    assert run.model.interaction.model_dump() == {"kind": f"{name}:Gate", "start": 1.0}
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "run.yaml").write_text(to_yaml(run))
    (tmp_path / "again" / f"{name}.py").write_text(PART)
    assert fingerprint(load(tmp_path / "again" / "run.yaml")) == fingerprint(run)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_wrong_with_it_is_one_line(tmp_path, request, way: str, fault: str) -> None:
    name = named(request)
    text, path, message = FAULTS[fault]
    overrides = write(tmp_path, way, text, path.format(name=name), name)
    with pytest.raises(ConfigError, match=message.format(name=name)) as error:
        load(tmp_path / "run.yaml", overrides)
    assert "model.interaction" in str(error.value)
    assert "\n" not in str(error.value)


def test_two_files_of_one_name_are_told_apart(tmp_path, request) -> None:
    name = named(request)
    for folder, text in {"one": PART, "same": PART, "other": PART + "\n"}.items():
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, "alone", text, f"{name}:Gate", name)
    one, same = (load(tmp_path / folder / "run.yaml") for folder in ("one", "same"))
    assert one == same
    with pytest.raises(ConfigError, match=rf"another `{name}` is loaded already, from .*/one/"):
        load(tmp_path / "other" / "run.yaml")
