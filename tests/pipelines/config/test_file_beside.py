"""A class in a file beside the config."""

import sys

import pytest

from fulcrum.pipelines.config.load import fingerprint, load, to_yaml
from tests.pipelines.config.small_run import SMALL, problems


@pytest.fixture
def trunk(write):
    """A trunk in `<name>.py` beside the configs, a name for each test: modules stay loaded."""

    def write_trunk(name: str) -> str:
        text = "from fulcrum.models.trunks.mmoe import MMoEConfig\n\nclass Wide(MMoEConfig):\n"
        write(f"{text}    width: int = 4\n", f"{name}.py")
        return f"{name}:Wide"

    return write_trunk


def test_a_file_beside_the_parent_is_found_and_its_class_merged(write, trunk, tmp_path):
    path = trunk("wide_parent")
    write(f"{SMALL}model: {{architecture: {path}, experts: 2, width: 6}}\n", "parent.yaml")
    (tmp_path / "child").mkdir()
    child = write("extends: ../parent.yaml\nmodel: {embedding_dim: 8}\n", "child/child.yaml")
    model = load(child, ["model.width=7"]).model
    assert (model.architecture, model.experts, model.embedding_dim, model.width) == (path, 2, 8, 7)
    plain = load(child, ["model.architecture=mmoe"]).model
    assert (plain.architecture, plain.experts, plain.embedding_dim) == ("mmoe", 2, 8)


def test_a_config_with_a_file_beside_it_round_trips(write, trunk):
    config = load(write(f"{SMALL}model: {trunk('wide_again')}\n"))
    again = load(write(to_yaml(config), "again.yaml"))
    assert again == config
    assert fingerprint(again) == fingerprint(config)


def test_the_fingerprint_moves_with_the_file_beside(write, trunk, tmp_path, monkeypatch):
    file = write(f"{SMALL}model: {trunk('wide_moved')}\n")
    before = fingerprint(load(file))
    monkeypatch.delitem(sys.modules, "wide_moved")  # as in a new process
    (tmp_path / "wide_moved.py").write_text((tmp_path / "wide_moved.py").read_text() + "# new\n")
    assert fingerprint(load(file)) != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("widht: 3", "run.yaml:14: model.widht: unknown key; did you mean `width`?"),
        ("width: x", "run.yaml:14: model.width: is 'x'; expected a whole number"),
        ("bottom: {kind: dtrm}", "run.yaml:14: model.bottom.kind: is 'dtrm'; expected one of"),
    ],
)
def test_a_wrong_setting_of_a_class_beside_is_placed_as_of_ours(write, trunk, change, message):
    assert message in problems(
        write(f"{SMALL}model:\n  architecture: {trunk('wide_set')}\n  {change}\n")
    )


def test_a_path_that_leads_nowhere_is_placed(write, trunk):
    path = trunk("wide_lost").replace("Wide", "Wid")
    text = problems(write(f"{SMALL}model: {path}\n"))
    assert "run.yaml:12: model: there is no `Wid` in " in text
    assert text.endswith("wide_lost.py; did you mean `Wide`?")
