"""A config file becomes a config, or one line for each thing that is wrong in it."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from fulcrum.features.config import Config
from fulcrum.features.errors import ConfigError
from fulcrum.features.explanations import explanations
from fulcrum.models.trunks import TRUNKS
from fulcrum.models.weightings import WEIGHTINGS
from fulcrum.models.weightings.refused import REFUSED
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.experiment import problems as problems_of_test
from fulcrum.pipelines.ab.simulation.config import Simulation
from fulcrum.pipelines.config.load import fingerprint, load, merge, read, schema, to_yaml
from fulcrum.pipelines.config.rules import problems as problems_of_run
from fulcrum.pipelines.config.run import RENAMED, RunConfig
from fulcrum.pipelines.config.yaml_text import dump, parse
from tests.pipelines.config.small_run import SMALL, problems


class Parent(Config):
    text: int
    """Of the parent."""
    silent: int
    other: int = Field(0, description="Said in the field.")
    """Under the field."""


class Child(Parent):
    text: int = 1
    """Of the child."""
    silent: int = 1

    more: int = 2
    """Two lines
    of text."""


class Silent(Parent):
    text: int = 3


def test_the_text_under_a_field_explains_it():
    assert explanations(Parent) == {"text": "Of the parent.", "other": "Under the field."}
    assert explanations(Child) == {
        "other": "Under the field.",
        "text": "Of the child.",
        "more": "Two lines\nof text.",
    }
    assert explanations(Silent) == {"other": "Under the field."}
    assert explanations(type("Unwritten", (Parent,), {})) == explanations(Parent)
    properties = Child.model_json_schema()["properties"]
    assert {name: facts.get("description") for name, facts in properties.items()} == {
        "text": "Of the child.",
        "silent": None,
        "other": "Said in the field.",
        "more": "Two lines\nof text.",
    }


def test_defaults_fill_in(write):
    config = load(write(SMALL))
    assert config.model.architecture == "mmoe"
    assert config.features["user_id"].min_count == 2
    assert config.data.split.kind == "time"


def test_resolved_yaml_loads_to_an_equal_config(write):
    config = load(write(SMALL), ["train.early_stopping=null", "train.dense.lr=1e-5"])
    again = load(write(to_yaml(config), "again.yaml"))
    assert again == config
    assert fingerprint(again) == fingerprint(config)


TEXT = st.text(st.characters(codec="utf-8"), max_size=10)


@settings(max_examples=30)
@given(
    salt=TEXT,
    lr=st.floats(min_value=1e-12, max_value=1e12),
    outcomes=st.lists(TEXT),
    classes=st.lists(TEXT | st.integers(), min_size=2, unique_by=lambda c: (type(c), c)),
)
def test_any_config_round_trips(tmp_path_factory, salt, lr, outcomes, classes):
    folder = tmp_path_factory.mktemp("round")
    (folder / "small.yaml").write_text(SMALL)
    tasks = {"t": {"kind": "multiclass", "label": "paid", "classes": classes}}
    child = {"extends": "small.yaml", "tasks": tasks, "train": {"dense": {"lr": lr}}}
    split = {"kind": "hash", "key": "user_id", "salt": salt}
    child["data"] = {"outcomes": [f"after {text}" for text in outcomes], "split": split}
    (folder / "child.yaml").write_text(dump(child))
    config = load(folder / "child.yaml")
    assert config.tasks["t"].classes == tuple(classes)
    assert config.train.dense.lr == lr
    assert config.data.split.salt == salt
    (folder / "resolved.yaml").write_text(to_yaml(config))
    assert load(folder / "resolved.yaml") == config


def test_every_problem_in_one_go_with_file_line_value_and_spelling(write):
    text = SMALL.replace("min_count: 2", "min_cuont: 2").replace("log1p", "logp")
    file = write(text + "train:\n  epochs: 0\n  precision: bf61\nmodle: {}\n")
    assert problems(file).splitlines() == [
        "5 problems in the configuration",
        f"  {file}:7: features.user_id.min_cuont: unknown key; did you mean `min_count`?",
        f"  {file}:8: features.price.transform: is 'logp'; expected one of `standardise`, `log1p`,"
        " `quantile`, `raw`; did you mean `log1p`?",
        f"  {file}:13: train.epochs: is 0; expected at least 1",
        f"  {file}:14: train.precision: is 'bf61'; expected one of `fp32`, `bf16`, `auto`;"
        " did you mean `bf16`?",
        f"  {file}:15: modle: unknown key; did you mean `model`?",
    ]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("kind: numeric", "kind: numerik"), "features.price.kind: is 'numerik'; expected one of"),
        (("kind: numeric, ", ""), "features.price.kind: missing; expected one of `categorical`"),
        (("logs/*.parquet", "3"), "data.events: is 3; expected text or a list"),
        (("name: small\n", ""), "name: missing (Name of the run)"),
        (("[click]", "[[click]]"), "data.outcomes.0: is [click]; expected text"),
        (("min_count: 2", "min_count: {a: 1}"), "min_count: is {a: 1}; expected a whole number"),
        (("name: small", "name: small\nname: twice"), "name: key given twice, first in line 1"),
        (("statistic: count", "statistic: [count]"), "features.seen.statistic"),
    ],
)
def test_one_problem_names_its_path(write, change, line):
    assert line in problems(write(SMALL.replace(*change)))


def test_problems_between_the_parts_are_told_with_those_inside_them(write):
    text = SMALL.replace("label: click", "label: click, given: klick")
    text = text.replace("price: {kind: numeric", "price: {kind: numeric, column: click")
    text += "train: {epochs: 0, early_stopping: {metric: auc/clck}}\n"
    file = write(text + "weighting: {method: static, weights: {clik: 2}}\nodd: 1\n")
    assert problems(file).splitlines() == [
        "6 problems in the configuration",
        f"  {file}:8: features.price.column: reads the outcome `click`, which a row to be scored"
        " lacks",
        f"  {file}:11: tasks.click.given: expected a binary task, got `klick`",
        f"  {file}:12: train.epochs: is 0; expected at least 1",
        f"  {file}:12: train.early_stopping.metric: is 'auc/clck', which the tasks do not have;"
        " did you mean `auc/click`?",
        f"  {file}:13: weighting.weights.clik: there is no task `clik`; did you mean `click`?",
        f"  {file}:14: odd: unknown key; the keys here are `name`, `workspace`, `data`,"
        " `features`, `tasks`, `model`, `weighting`, `experiment_design`, `regulariser`, `train`,"
        " `tracking`, `promotion`, `serving`",
    ]


@pytest.mark.parametrize(
    ("block", "line"),
    [
        (
            "{kind: samm}",
            "kind: is 'samm'; expected one of `none`, `sam`, `f_mtl`, `samo`, `rep_mtl`",
        ),
        ("{kind: sam, rho: -1}", "rho: is -1; expected at least 0"),
        ("{kind: f_mtl, rh: 1}", "rh: unknown key; did you mean `rho`?"),
        ("{kind: samo, a: 2}", "a: is 2; expected at most 1"),
        ("{kind: rep_mtl, rows: 1}", "rows: is 1; expected at least 2"),
    ],
)
def test_a_wrong_setting_of_a_regulariser_is_told(write, block, line):
    file = write(SMALL + f"regulariser: {block}\n")
    assert f"{file}:12: regulariser.{line}" in problems(file)


@pytest.mark.parametrize("method", REFUSED)
def test_a_method_that_is_no_weighted_sum_is_told_why(write, method):
    text = SMALL + f"weighting: {{method: {method}}}\n"
    assert f"weighting: `{method}` {REFUSED[method]}" in problems(write(text))
    assert method not in WEIGHTINGS


@pytest.mark.parametrize(
    ("name", "hint"),
    [("user_ids", "; did you mean `user_id`?"), ("price", "; expected some of user_id")],
)
def test_a_segment_is_a_categorical_feature(write, name, hint):
    text = SMALL + f"train: {{calibration: {{segments: [{name}]}}}}\n"
    line = f"train.calibration.segments.0: there is no categorical feature `{name}`{hint}"
    assert line in problems(write(text))


def test_a_declared_table_is_that_of_a_feature(write):
    text = SMALL + "train: {tables: {user_ids: {sharding: row_wise}}}\n"
    line = "train.tables.user_ids: no feature has a table `user_ids`; did you mean `user_id`?"
    assert line in problems(write(text))


@pytest.mark.parametrize("width", [4, 10])
def test_columns_that_make_no_two_pieces_are_refused(write, width):
    text = SMALL + "train: {tables: {user_id: {sharding: column_wise}}}\n"
    path = write(text)
    load(path)
    with pytest.raises(ConfigError, match=f"`model.embedding_dim` is {width}; expected a mul"):
        load(path, [f"model={{architecture: mmoe, embedding_dim: {width}}}"])


def test_what_is_said_of_no_table_leaves_the_fingerprint(write):
    plain, said = write(SMALL), write(SMALL + "train: {tables: {}}\n", "said.yaml")
    assert fingerprint(load(said)) == fingerprint(load(plain))


def test_calibration_is_on_and_can_be_switched_off(write):
    assert load(write(SMALL)).train.calibration is not None
    assert load(write(SMALL), ["train.calibration=null"]).train.calibration is None
    assert "train.calibration: is false; expected" in problems(
        write(SMALL), "train.calibration=false"
    )


def test_a_chain_needs_a_task_that_is_given_another(write):
    text = SMALL + "model: {architecture: mmoe, chain: aitm}\n"
    line = "model.chain: there is no chain: no task is `given` another one; say so in `tasks`"
    assert line in problems(write(text))
    chained = text.replace("label: click", "label: click, given: like")
    assert "model.chain" not in problems(write(chained))


@pytest.mark.parametrize("architecture", TRUNKS)
def test_no_task_is_called_as_the_experts_of_all_are(write, architecture):
    text = SMALL.replace("  click: {kind", "  shared: {kind")
    [line] = problems(write(f"{text}model: {{architecture: {architecture}}}\n")).splitlines()
    assert line.endswith("a task is called `shared`, which names what all tasks share; rename it")


@pytest.mark.parametrize("name", ["constant", "single-task"])
def test_no_run_is_called_as_what_it_is_measured_beside(write, name):
    [line] = problems(write(SMALL), f"name={name}").splitlines()
    assert line.endswith(f"beside one that is called `{name}`; choose another name")


@pytest.mark.parametrize("text", ["", "3", "[a]", "a: [", "name: x\n---\nname: y", "\t: x"])
def test_a_file_that_is_no_map_gives_one_line(write, text):
    assert len(problems(write(text)).splitlines()) == 1


def test_missing_file_names_its_neighbour(write):
    assert "did you mean `run.yaml`" in problems(write(SMALL).with_name("rum.yaml"))


def leaves(node, path=()):
    if not isinstance(node, dict):
        return [path]
    return [leaf for key, value in node.items() for leaf in leaves(value, (*path, key))]


RESOLVED = parse(SMALL, "small").data


@settings(max_examples=60)
@given(
    leaf=st.sampled_from(leaves(RESOLVED)),
    junk=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
        max_leaves=4,
    ),
)
def test_a_wrong_value_is_refused_by_path_or_accepted_never_a_traceback(
    tmp_path_factory, leaf, junk
):
    data = json.loads(json.dumps(RESOLVED))
    holder = data
    for key in leaf[:-1]:
        holder = holder[key]
    holder[leaf[-1]] = junk
    file = tmp_path_factory.mktemp("junk") / "run.yaml"
    file.write_text(dump(data))
    try:
        load(file)
    except ConfigError as error:
        assert ".".join(leaf) in str(error)


@settings(max_examples=60)
@given(
    holder=st.sampled_from(sorted({leaf[:-1] for leaf in leaves(RESOLVED)})),
    key=st.text(st.characters(codec="utf-8", categories=["L"]), min_size=13),
)
def test_a_wrong_key_is_refused_by_path(tmp_path_factory, holder, key):
    data = json.loads(json.dumps(RESOLVED))
    inner = data
    for part in holder:
        inner = inner[part]
    inner[key] = 1
    file = tmp_path_factory.mktemp("key") / "run.yaml"
    file.write_text(dump(data))
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert ".".join([*holder, key]) in str(caught.value)


def test_overrides_are_yaml_and_the_last_one_wins(write):
    config = load(
        write(SMALL),
        [
            "train.epochs=3",
            "train.epochs=4",
            "train.dense.lr=1e-4",
            "data.outcomes=[click, like]",
            "weighting.method=static",
            "weighting.weights.click=2",
            "features.genre={kind: multi, separator: '|'}",
        ],
    )
    assert config.train.epochs == 4
    assert config.train.dense.lr == 1e-4
    assert config.data.outcomes == ("click", "like")
    assert config.weighting.weights == {"click": 2.0}
    assert config.features["genre"].separator == "|"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("train.epoch=3", "unknown key `epoch`; did you mean `epochs`?"),
        ("lr=3", "unknown key `lr`; did you mean `train.dense.lr` or `train.sparse.lr`?"),
        ("features.user.min_count=3", "there is no `features.user`; did you mean `user_id`?"),
        ("train.epochs.x=3", "`train.epochs` has no keys"),
        ("train.epochs", "expected path=value"),
        ("=3", "expected path=value"),
        ("train.epochs=[", "not valid YAML"),
        ("train.dense.lr=.inf", "train.dense.lr: is .inf; expected a finite number"),
        ("train.epochs=few", "train.epochs: is 'few'; expected a whole number"),
    ],
)
def test_a_wrong_override_is_named(write, override, line):
    text = problems(write(SMALL), override)
    assert text.startswith(f"--set {override}: ")
    assert line in text


NOW = [(old, new) for old, new in RENAMED.items() if new in RunConfig.model_fields]
"""Other files have had other names."""


@pytest.mark.parametrize(("old", "new"), NOW)
def test_a_key_of_the_past_is_refused_with_its_name_of_today(write, old, new):
    line = f"{old}: unknown key; it is called `{new}` now"
    base = write(SMALL + f"{old}: {{arm: a}}\n", "base.yaml")
    for file in (base, write("extends: base.yaml\n")):
        assert problems(file) == f"{base}:12: {line}"
    text = problems(write(SMALL), f"{old}.arm=a")
    assert text == f"--set {old}.arm=a: {old}.arm: unknown key `{old}`; it is called `{new}` now"


def test_overrides_and_file_are_told_together(write):
    file = write(SMALL.replace("log1p", "logp"))
    assert len(problems(file, "train.epoch=3", "train.seed=x").splitlines()) == 4


def test_fingerprint_moves_with_any_value_and_not_with_spelling(write):
    plain = fingerprint(load(write(SMALL)))
    respelled = dump(dict(reversed(RESOLVED.items())))
    assert fingerprint(load(write(respelled, "b.yaml"))) == plain
    assert fingerprint(load(write(SMALL), ["train.seed=1"])) != plain
    assert fingerprint(load(write(SMALL), ["train.seed=0"])) == plain


def test_a_key_that_is_a_word_of_python_is_one_as_any_other(write):
    plain = load(write(SMALL))
    text = to_yaml(plain)
    assert "from" not in text and "from" not in plain.model_dump()["train"]
    config = load(write(SMALL), ["train.from=models:/small@champion"])
    assert config.train.from_ == "models:/small@champion"
    assert load(write(to_yaml(config), "again.yaml")) == config
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
    assert fingerprint(config) != fingerprint(plain)
    told = "train.form: unknown key `form`; did you mean `from`?"
    assert told in problems(write(SMALL), "train.form=models:/small@champion")
    assert "train.from_: unknown key" in problems(write(SMALL + "train: {from_: x}\n"))
    assert "train.from: is 3; expected text" in problems(write(SMALL), "train.from=3")
    folder = problems(write(SMALL), "train.from=runs/bundle")
    assert "train.from: is 'runs/bundle'; expected models:/<name>@<alias>" in folder
    about = schema()["$defs"]["TrainConfig"]["properties"]["from"]["description"]
    assert about.startswith("Model to learn on from")


def test_merge_keeps_its_arguments():
    parent, child = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merge(None, parent, child) == {"a": {"b": 1, "c": 2}}
    assert (parent, child) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_schema_needs_data_unless_a_file_extends():
    document = schema()
    assert "data" in document["then"]["required"]
    assert document["if"] == {"not": {"required": ["extends"]}}
    assert "extends" in document["properties"]
    assert "oneOf" not in json.dumps(document)
    assert document["additionalProperties"] is False


@pytest.mark.parametrize("file", sorted(Path("configs").glob("*/*.yaml")), ids=str)
def test_every_shipped_config_loads(file, tmp_path):
    kinds = {"experiments": (Experiment, problems_of_test), "worlds": (Simulation, lambda _: ())}
    kind, wrong_in = kinds.get(file.parent.name, (RunConfig, problems_of_run))
    config = read(kind, file, wrong_in=wrong_in)
    assert config.name
    (tmp_path / "again.yaml").write_text(to_yaml(config))
    assert read(kind, tmp_path / "again.yaml", wrong_in=wrong_in) == config
