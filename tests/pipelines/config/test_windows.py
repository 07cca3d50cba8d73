from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.features.errors import ConfigError
from fulcrum.pipelines.ab.log.experiment import InterferenceConfig
from fulcrum.pipelines.config.load import load, read, to_yaml
from fulcrum.pipelines.config.yaml_text import dump

RUN = """\
name: small
data: {events: logs/*.parquet, time: {column: t}, outcomes: [clicked]}
tasks:
  tap: {kind: binary, label: clicked}
features:
  user_id: {kind: categorical}
  click:
    kind: window
    key: [user_id, video]
    over: [null, 1d]
    statistic: rate
    where: clicked = 1
"""
NAMES = ["user_id", "user_click", "user_click_1d", "video_click", "video_click_1d"]


def problems(file: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, overrides)
    return str(caught.value).splitlines()


KEYS = st.lists(st.sampled_from(["user_id", "video_id", "author", "a b"]), min_size=1, unique=True)
LENGTHS = st.lists(st.sampled_from([None, "1h", "36h", "1.5d", "7d"]), min_size=1, unique=True)


@settings(max_examples=15)
@given(keys=KEYS, lengths=LENGTHS)
def test_lists_are_what_they_stand_for_written_by_hand(tmp_path_factory, keys, lengths):
    """Two neighbours: all of one key first, then all of one length."""
    settings = {
        "seen": {"kind": "window", "statistic": "count", "encode": {"transform": "log1p"}},
        "liked": {"kind": "window", "statistic": "rate", "where": "clicked = 1", "smoothing": 2},
    }
    by_hand = {
        "_".join(
            filter(
                None,
                [key.removesuffix("_id").replace(" ", "_"), name, (over or "").replace(".", "_")],
            )
        ): {**settings[name], "key": key, "over": over}
        for key in keys
        for over in lengths
        for name in settings
    }
    by_list = {name: {**entry, "key": keys, "over": lengths} for name, entry in settings.items()}
    file = tmp_path_factory.mktemp("lists") / "run.yaml"
    runs = []
    for entries in (by_list, by_hand):
        more = {"price": {"kind": "numeric"}, **entries, "age": {"kind": "numeric"}}
        file.write_text(RUN[: RUN.index("features:")] + dump({"features": more}))
        runs.append(load(file))
    assert runs[0] == runs[1]
    assert to_yaml(runs[0]) == to_yaml(runs[1])  # the order, too
    file.write_text(to_yaml(runs[0]))
    assert load(file) == runs[0]


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("features.click.smoothing=3", NAMES),
        ("features.click.key=video", ["user_id", "click", "click_1d"]),
        ("features.click.over=7d", ["user_id", "user_click", "video_click"]),
        ("features.click.over=[7d]", ["user_id", "user_click_7d", "video_click_7d"]),
        ("features.click.over=[]", None),
        ("features.click=null", ["user_id"]),
        ("features.click={kind: numeric}", ["user_id", "click"]),
    ],
)
def test_a_child_and_an_override_change_the_entry(write, override, names):
    path, _, value = override.partition("=")
    for key in reversed(path.split(".")):
        value = f"{{{key}: {value}}}"
    child = write(f"extends: run.yaml\n{value[1:-1]}\n", "child.yaml")
    file = write(RUN)
    if names is None:
        assert problems(child) == [f"{child}:2: features.click.over: is []; expected text"]
        return
    assert list(load(child).features) == list(load(file, [override]).features) == names


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("1d]", "7x]"), "10: features.click.over.1: is '7x'; expected `<number><s|m|h|d>`"),
        (("video]", "[a]]"), "9: features.click.key.1: is [a]; expected text"),
        (("[user_id, video]", "[clicked, v]"), "9: features.click.key.0: reads the outcome"),
        (("[user_id, video]", "3"), "9: features.click.key: is 3; expected text"),
        (("rate", "rat"), "11: features.click.statistic: is 'rat'; expected one of"),
        (("    where: clicked = 1\n", ""), "7: features.click: statistic 'rate' needs `where`"),
        (("clicked = 1", "clicked ="), "12: features.click.where: "),
        (("where:", "were:"), "12: features.click.were: unknown key; did you mean `where`?"),
        (("null, 1d", "1d, 1d"), "10: features.click.over: makes `user_click_1d` twice"),
        (("[user_id, video]", "[a, a]"), "9: features.click.key: makes `a_click` twice"),
        (("user_id:", "user_click:"), "7: features.click: the name `user_click` is taken by"),
        ((", time: {column: t}", ""), "7: features.click: looks at past events"),
    ],
)
def test_a_problem_is_told_once_where_it_was_written(write, change, line):
    file = write(RUN.replace(*change))
    told = [text.strip() for text in problems(file) if "features.click" in text]
    assert len(told) == 1 and told[0].startswith(f"{file}:{line}")


def test_a_value_of_an_override_is_told_there(write):
    override = "features.click.over=[1d, 7x]"
    assert problems(write(RUN), override)[0].startswith(f"--set {override}: features.click.over.1:")


def test_both_entries_of_a_name_are_told(write):
    file = write(RUN + "  video_click: {kind: numeric}\n")
    assert problems(file) == [
        f"{file}:13: features.video_click: the name `video_click` is taken by `features.click`;"
        " rename one of them"
    ]


def test_one_window_of_many_is_not_set_alone(write):
    text = problems(write(RUN), "features.user_click_1d.smoothing=3")[0]
    assert text.endswith("is one of the windows of `click`; set it there")


def test_others_name_the_features_that_come_of_it(write):
    prior = "model: {architecture: pepnet, prior: [user_clik]}\n"
    assert "did you mean `user_click`?" in problems(write(RUN + prior))[0]
    assert load(write(RUN + prior.replace("clik", "click"))).model.prior == ("user_click",)


def test_every_map_of_features_may_have_them(write):
    text = RUN[RUN.index("features:") :]
    config = read(InterferenceConfig, write(text))
    assert list(config.features) == NAMES
    wrong = write(text.replace("1d]", "7x]"))
    with pytest.raises(ConfigError, match=r"features\.click\.over\.1: "):
        read(InterferenceConfig, wrong)
