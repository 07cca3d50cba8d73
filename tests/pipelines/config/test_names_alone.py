"""A name in place of the map that says nothing else."""

import pytest

from fulcrum.models.trunks import TRUNKS
from fulcrum.models.weightings import WEIGHTINGS
from fulcrum.pipelines.config.load import load, schema
from tests.pipelines.config.small_run import problems

SHORT = """\
name: small
data: {events: logs/*.parquet, time: {column: t}, outcomes: [click, like], split: order}
features: {user_id: categorical, price: numeric}
tasks:
  click: {kind: binary, label: click}
  like: {kind: binary, label: like}
model: ple
weighting: upgrad
"""


def test_a_name_alone_is_the_map_that_says_nothing_else(write):
    long = SHORT.replace("categorical", "{kind: categorical}").replace("numeric", "{kind: numeric}")
    long = long.replace("order", "{kind: order}").replace("ple\n", "{architecture: ple}\n")
    long = long.replace("upgrad", "{method: upgrad}")
    assert load(write(SHORT)) == load(write(long, "long.yaml"))


@pytest.mark.parametrize(
    ("child", "overrides"),
    [
        ("model: {levels: [[8]]}\nfeatures: {user_id: {min_count: 3}}\n", []),
        ("", ["model.levels=[[8]]", "features.user_id.min_count=3"]),
    ],
)
def test_settings_may_be_added_to_a_name(write, child, overrides):
    write(SHORT, "parent.yaml")
    config = load(write("extends: parent.yaml\n" + child), overrides)
    assert (config.model.architecture, config.model.levels) == ("ple", ((8,),))
    assert config.features["user_id"].min_count == 3


def test_a_name_keeps_of_the_parent_what_its_map_would(write):
    write(SHORT.replace("model: ple", "model: {architecture: mmoe, embedding_dim: 8, experts: 2}"))
    by_name = load(write("extends: run.yaml\nmodel: ple\n", "name.yaml"))
    by_map = load(write("extends: run.yaml\nmodel: {architecture: ple}\n", "map.yaml"))
    assert by_name.model == by_map.model
    assert by_name.model.embedding_dim == 8


def test_a_wrong_name_is_told_as_in_its_map(write):
    text = problems(write(SHORT.replace("model: ple", "model: plle").replace("numeric", "window")))
    assert "model.architecture: is 'plle'" in text and "did you mean `ple`" in text
    assert "features.price.key: missing" in text


def test_the_schema_offers_the_names_that_need_nothing_else():
    document = schema()

    def names(node):
        return {name for part in node["anyOf"] for name in part.get("enum", ())}

    assert names(document["properties"]["model"]) == set(TRUNKS)
    assert names(document["properties"]["weighting"]) == set(WEIGHTINGS)
    features = document["properties"]["features"]["additionalProperties"]
    assert names(features) >= {"categorical", "numeric", "multi"}
    assert not names(features) & {"window", "expression", "history"}
