"""Config classes that installed distributions declare by entry points."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pytest

from fulcrum.features import plugins
from fulcrum.features.config import Config
from fulcrum.features.errors import ConfigError, StateError
from fulcrum.features.transform.state import FeatureState

ROOT = Path(__file__).parents[2]
FAMILIES = {
    "kinds": ("fulcrum.features.kinds.numeric", "NumericConfig", "kind"),
    "trunks": ("fulcrum.models.trunks.mmoe", "MMoEConfig", "architecture"),
    "bottoms": ("fulcrum.models.bottoms.none", "NoBottomConfig", "kind"),
    "interactions": ("fulcrum.models.interactions.none", "NoInteractionConfig", "kind"),
    "chains": ("fulcrum.models.chains.esmm", "ESMMConfig", "kind"),
    "weightings": ("fulcrum.models.weightings.equal", "EqualConfig", "method"),
    "regularisers": ("fulcrum.models.regularisers.none", "NoRegulariserConfig", "kind"),
    "designs": ("fulcrum.pipelines.designs.pooling", "PoolingConfig", "design"),
}
"""A member of each family, and the key that picks it."""
READ = """\
from pydantic import TypeAdapter
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.designs import DesignChoice

run = RunConfig.model_validate({
    "name": "plus",
    "data": {"events": "events.parquet"},
    "features": {"user": {"kind": "categorical"}, "price": {"kind": "plus"}},
    "tasks": {"click": {"kind": "binary", "label": "click"}},
    "model": {
        "architecture": "plus", "bottom": "plus", "interaction": {"kind": "plus"}, "chain": "plus",
    },
    "weighting": {"method": "plus"},
    "regulariser": "plus",
})
model = run.model
parts = [run.features["price"], model, model.bottom, model.interaction, model.chain]
parts += [run.weighting, run.regulariser]
parts.append(TypeAdapter(DesignChoice).validate_python({"design": "plus", "arm": "a"}))
print(*(type(part).__module__ for part in parts))
"""

SAVE = """\
import sys
from pathlib import Path
import polars as pl
from fulcrum.features.plugins import requirements
from fulcrum.features.prepared.manifest import fingerprint
from fulcrum.testing.specs import learn

log = pl.DataFrame({"user": ["ann", "bob"], "price": [1.0, 2.0]})
state = learn(log, {"user": {"kind": "categorical"}, "price": {"kind": "plus"}})
state.save(Path(sys.argv[1]))
print(*requirements(state.spec), fingerprint(state.spec, []))
"""
LOAD = """\
import sys
from pathlib import Path
from fulcrum.features.prepared.manifest import fingerprint
from fulcrum.features.transform.state import FeatureState

print(fingerprint(FeatureState.load(Path(sys.argv[1])).spec, []))
"""


class Part(Config):
    """The base of a family."""

    kind: str


class Ours(Part):
    """A member of the family."""

    kind: Literal["ours"] = "ours"


def distribution(folder: Path, code: str, entries: str) -> None:
    """What an installer leaves of `shop-parts` 1.2, with one package `shop_parts`."""
    info = folder / "shop_parts-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-parts\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(entries)
    (folder / "shop_parts").mkdir()
    (folder / "shop_parts" / "__init__.py").write_text(code)


@pytest.fixture
def family(tmp_path, monkeypatch) -> Callable[[str, str], dict[str, type[Config]]]:
    """A family of its own with what `shop-parts` declares for it: `family(code, entry)`."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shop_parts", raising=False)

    def build(code: str, entry: str) -> dict[str, type[Config]]:
        head = "from typing import Literal\nfrom tests.features.test_plugins import Ours, Part\n"
        distribution(tmp_path, head + code, f"[fulcrum.parts]\n{entry}\n")
        members: dict[str, type[Config]] = {"ours": Ours}
        plugins._installed.cache_clear()
        try:
            plugins.add_plugins(members, "parts", Part, "kind")
        finally:
            plugins._installed.cache_clear()
            sys.modules.pop("shop_parts", None)
        return members

    return build


MINE = 'class Mine(Part):\n    kind: Literal["mine"] = "mine"\n'


def test_a_declared_class_joins_behind_ours(family) -> None:
    members = family(MINE, "mine = shop_parts:Mine")
    assert list(members) == ["ours", "mine"]
    ours, mine = Ours(), members["mine"](kind="mine")
    assert plugins.requirements({"a": [ours, mine], "b": mine}) == ("shop-parts==1.2",)
    assert plugins.requirements([ours]) == ()


@pytest.mark.parametrize(
    ("code", "entry", "message"),
    [
        (MINE, "ours = shop_parts:Mine", "`ours` is taken by tests.features.test_plugins"),
        (MINE, "mine = shop_parts:Yours", "cannot be loaded .AttributeError"),
        (MINE, "mine = nowhere_at_all:Mine", "cannot be loaded .ModuleNotFoundError"),
        ("1 / 0", "mine = shop_parts:Mine", "cannot be loaded .ZeroDivisionError"),
        (MINE, "yours = shop_parts:Mine", r'expected the field `kind: Literal\["yours"\]'),
        ("class Mine: pass", "mine = shop_parts:Mine", "expected a subclass of Part"),
        ("Mine = 3", "mine = shop_parts:Mine", "expected a subclass of Part, got 3"),
    ],
)
def test_one_that_does_not_fit_names_its_distribution(family, code, entry, message) -> None:
    with pytest.raises(ConfigError, match=rf"^shop-parts 1.2: entry point .*{message}") as error:
        family(code, entry)
    assert "\n" not in str(error.value)


def environment(folder: Path) -> dict[str, str]:
    """Of a process that sees the distributions in a folder."""
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.mark.parametrize("first", ["fulcrum", "shop_parts.trunks"])
def test_every_family_takes_them(tmp_path: Path, first: str) -> None:
    """Whichever of the two sides is imported first."""
    entries = ""
    modules = {}
    for family, (module, base, tag) in FAMILIES.items():
        member = f"class Plus({base}):\n    {tag}: Literal['plus'] = 'plus'\n"
        text = f"from typing import Literal\nfrom {module} import {base}\n\n{member}"
        modules[family] = text
        entries += f"[fulcrum.{family}]\nplus = shop_parts.{family}:Plus\n"
    distribution(tmp_path, "import fulcrum.models.trunks\n", entries)
    for family, text in modules.items():
        (tmp_path / "shop_parts" / f"{family}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", f"import {first}\n{READ}"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    order = ["kinds", "trunks", "bottoms", "interactions", "chains", "weightings"]
    expected = [f"shop_parts.{family}" for family in (*order, "regularisers", "designs")]
    assert done.stdout.split() == expected


def test_a_state_says_what_its_kinds_come_from(tmp_path: Path) -> None:
    """A server that lacks the package is told its name and version, and one that has another
    version of it both; data are then prepared anew."""
    module, base, tag = FAMILIES["kinds"]
    member = f"class Plus({base}):\n    {tag}: Literal['plus'] = 'plus'\n"
    code = f"from typing import Literal\nfrom {module} import {base}\n\n{member}"
    distribution(tmp_path, code, "[fulcrum.kinds]\nplus = shop_parts:Plus\n")
    state = tmp_path / "state"

    def python(code: str) -> tuple[list[str], str]:
        done = subprocess.run(
            [sys.executable, "-c", code, state],
            env=environment(tmp_path),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split(), done.stderr

    (requirement, first), _ = python(SAVE)
    assert requirement == "shop-parts==1.2"
    assert python(LOAD) == ([first], "")
    metadata = tmp_path / "shop_parts-1.2.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.2", "1.3"))
    [second], warning = python(LOAD)
    assert second != first
    assert "feature `price` was made with shop-parts==1.2, and 1.3 is installed" in warning
    with pytest.raises(StateError, match=r"feature `price` is of kind `plus`.*shop-parts==1\.2"):
        FeatureState.load(state)


def test_what_is_not_here_in_that_version() -> None:
    here = version("polars")
    needs = f"polars=={here}", "polars==0.1", "no-such-package==1"
    assert plugins.other_versions(needs) == {"polars==0.1": here, "no-such-package==1": None}


def test_a_command_prints_one_message(tmp_path: Path) -> None:
    distribution(tmp_path, "", "[fulcrum.trunks]\nmmoe = shop_parts:Mine\n")
    done = subprocess.run(
        [sys.executable, "-m", "fulcrum", "models"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("shop-parts 1.2: entry point `mmoe = shop_parts:Mine`")
    assert len(done.stderr.splitlines()) == 1
