"""A config that extends another one."""

from fulcrum.pipelines.config.load import load
from tests.pipelines.config.small_run import SMALL, problems


def test_child_merges_maps_and_replaces_lists(write):
    write(SMALL, "base.yaml")
    child = "extends: base.yaml\nname: child\ndata: {outcomes: [a, b]}\ntrain: {epochs: 2}\n"
    config = load(write(child))
    assert config.name == "child"
    assert config.data.outcomes == ("a", "b")
    assert config.data.events == "logs/*.parquet"
    assert config.train.epochs == 2


def test_grandparent(write):
    write(SMALL, "a.yaml")
    write("extends: a.yaml\ntrain: {epochs: 2, seed: 1}\n", "b.yaml")
    config = load(write("extends: b.yaml\ntrain: {seed: 7}\n", "c.yaml"))
    assert (config.train.epochs, config.train.seed) == (2, 7)


def test_another_architecture_keeps_the_settings_both_have(write):
    write(SMALL + "model: {architecture: mmoe, embedding_dim: 4, experts: 9}\n", "base.yaml")
    file = write("extends: base.yaml\nmodel: {architecture: shared_bottom}\n")
    for config in (
        load(file),
        load(file.with_name("base.yaml"), ["model.architecture=shared_bottom"]),
    ):
        assert config.model.architecture == "shared_bottom"
        assert config.model.embedding_dim == 4


def test_null_drops_an_entry_that_the_parent_named_and_nothing_else(write):
    write(SMALL + "train: {early_stopping: {patience: 5}}\n", "base.yaml")
    file = write("extends: base.yaml\nfeatures: {price: null}\ntrain: {early_stopping: null}\n")
    config = load(file)
    assert set(config.features) == {"user_id", "seen"}
    assert config.train.early_stopping is None
    empty = write("extends: base.yaml\nfeatures:\n  colour:\n", "empty.yaml")
    assert "features.colour: is null; expected a map" in problems(empty)


def test_cycle_is_refused(write):
    write("extends: b.yaml\n", "a.yaml")
    file = write("name: x\nextends: a.yaml\n", "b.yaml")
    assert problems(file).endswith("a.yaml:1: extends itself: b.yaml -> a.yaml -> b.yaml")
    assert "extends itself" in problems(write("extends: self.yaml\n", "self.yaml"))


def test_a_problem_in_the_parent_is_placed_there(write):
    base = write(SMALL + "train: {epochs: 0}\n", "base.yaml")
    text = problems(write("extends: base.yaml\n"))
    assert text == f"{base}:12: train.epochs: is 0; expected at least 1"


def test_another_kind_keeps_what_means_the_same(write):
    """`valid` is a share of one split and a list of values of the other; `test` is given anew."""
    write(
        SMALL.replace("data:", "data:\n  split: {kind: order, valid: 0.25, test: 0.5}"), "base.yaml"
    )
    column = "data: {split: {kind: column, column: part, train: [a], test: [b]}}\n"
    assert load(write(f"extends: base.yaml\n{column}")).data.split.valid == ()
    hashed = "data: {split: {kind: hash, key: user_id}}\n"
    assert load(write(f"extends: base.yaml\n{hashed}")).data.split.valid == 0.25
