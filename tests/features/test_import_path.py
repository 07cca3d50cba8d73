"""Config classes that a YAML names by module and class."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from fulcrum.features.import_path import PATTERN, beside
from fulcrum.features.kinds import FeatureConfig
from fulcrum.features.plugins import sources
from fulcrum.models.bottoms import BottomChoice
from fulcrum.models.chains import ChainChoice
from fulcrum.models.interactions import InteractionChoice
from fulcrum.models.regularisers import RegulariserChoice
from fulcrum.models.trunks import ModelConfig
from fulcrum.models.weightings import WeightingChoice
from fulcrum.pipelines.designs import DesignChoice
from tests.features.test_plugins import FAMILIES

CHOICES = {
    "kinds": FeatureConfig,
    "trunks": ModelConfig,
    "bottoms": BottomChoice,
    "interactions": InteractionChoice,
    "chains": ChainChoice,
    "weightings": WeightingChoice,
    "regularisers": RegulariserChoice,
    "designs": DesignChoice,
}
KIND: TypeAdapter[Any] = TypeAdapter(FeatureConfig)
ROOT = """\
from fulcrum.features.kinds.base import FeatureKind

class Root(FeatureKind):
    power: float = 0.5
"""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_takes_one_that_changes_ours(tmp_path: Path, family: str) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(CHOICES[family])
    module, ours, tag = FAMILIES[family]
    text = f"from {module} import {ours}\n\nclass Changed({ours}):\n    extra: int = 3\n"
    (tmp_path / f"my_{family}.py").write_text(text)
    path = f"my_{family}:Changed"
    needed = {"arm": "a"} if family == "designs" else {}
    with beside(tmp_path):
        part = adapter.validate_python({tag: path, "extra": 5, **needed})
        if not needed:
            assert adapter.validate_python(path) == adapter.validate_python({tag: path})
    assert part.extra == 5
    dumped = adapter.dump_python(part, mode="json")
    assert dumped[tag] == path
    assert adapter.validate_python(dumped) == part
    assert adapter.validate_python(part) is part
    assert sources({"a": [part]}) == {f"my_{family}.py": text.encode()}


def test_one_that_starts_from_the_base_needs_no_name_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "plain_root.py").write_text(ROOT)
    with beside(tmp_path):
        assert KIND.validate_python("plain_root:Root").kind == "plain_root:Root"


def test_the_first_folder_goes_before_what_python_finds(tmp_path, monkeypatch) -> None:
    """As a worker and a resumed run must read the text that they were given."""
    for name, power in {"given": 0.1, "second": 0.2, "installed": 0.3}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "rival_root.py").write_text(ROOT.replace("0.5", str(power)))
    monkeypatch.syspath_prepend(tmp_path / "installed")
    with beside(tmp_path / "given", tmp_path / "second"):
        assert KIND.validate_python("rival_root:Root").power == 0.1


def test_a_module_that_python_finds_stays_where_it_is(tmp_path, monkeypatch) -> None:
    (tmp_path / "root_parts").mkdir()
    (tmp_path / "root_parts" / "root.py").write_text(ROOT)
    monkeypatch.syspath_prepend(tmp_path)
    with beside():
        part = KIND.validate_python("root_parts.root:Root")
    assert part.kind == "root_parts.root:Root"
    assert sources(part) == {}


def test_nothing_is_imported_where_no_config_is_read(tmp_path, monkeypatch) -> None:
    """However near the module lies: the text may be a stranger's."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "strange_root.py").write_text(ROOT)
    with pytest.raises(ValidationError, match="only where a config is read"):
        KIND.validate_python("strange_root:Root")
    assert "strange_root" not in sys.modules
    with beside(tmp_path):
        assert KIND.validate_python("strange_root:Root").power == 0.5


@pytest.mark.parametrize(
    ("name", "text", "path", "message"),
    [
        ("wrong_a", ROOT, "wrong_b_c:Root", r"no module `wrong_b_c` in /.* or what"),
        ("wrong_d", ROOT, "worng_d:Root", "did you mean `wrong_d`"),
        ("wrong_e", ROOT, "wrong_e.py:Root", "did you mean `wrong_e`"),
        ("wrong_f", ROOT, "wrong_f:Roots", r"no `Roots` in .*wrong_f\.py; did you mean `Root`"),
        ("wrong_m", ROOT, "sys:Root", "no `Root` in sys"),
        ("wrong_g", "Root = 3", "wrong_g:Root", "expected a subclass of FeatureKind, got 3"),
        ("wrong_h", "class Root: ...", "wrong_h:Root", "expected a subclass of FeatureKind, got"),
        ("wrong_i", "x = 1\n1 / 0", "wrong_i:Root", r"wrong_i\.py:2 cannot be loaded \(ZeroDivis"),
        ("wrong_j", "x = = 1", "wrong_j:Root", r"cannot be loaded \(SyntaxError: .*line 1"),
        ("wrong_k", "import nowhere_", "wrong_k:Root", r"cannot be loaded \(ModuleNotFoundError"),
        ("random", ROOT, "random:Root", r"`random` is a module of Python's own; rename the file"),
        ("wrong_l", ROOT, "wrong_l:", "expected an import path"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, name, text, path, message) -> None:
    (tmp_path / f"{name}.py").write_text(text)
    with beside(tmp_path), pytest.raises(ValidationError) as error:
        KIND.validate_python({"kind": path})
    [problem] = error.value.errors()
    assert re.search(message, problem["msg"])
    assert "\n" not in problem["msg"]


def test_a_changed_file_asks_for_a_new_process(tmp_path: Path) -> None:
    """Rather than that the text of a run is another one than what it ran."""
    file = tmp_path / "changed_root.py"
    file.write_text(ROOT)
    with beside(tmp_path):
        KIND.validate_python("changed_root:Root")
        file.write_text(ROOT.replace("0.5", "0.6"))
        with pytest.raises(ValidationError, match="start a new process if it has changed"):
            KIND.validate_python("changed_root:Root")


@pytest.mark.parametrize("path", ["mine:Mine", "shop.parts.mine:Mine_2"])
def test_the_schema_takes_a_path_beside_the_names(path: str) -> None:
    *_, alone, spelled = KIND.json_schema()["anyOf"]
    for text in (alone, spelled["properties"]["kind"]):
        assert re.match(text["pattern"], path)
        assert not re.match(text["pattern"], "categorical")
    assert alone["pattern"] == PATTERN
