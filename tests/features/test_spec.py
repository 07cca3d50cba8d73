from typing import Any

import pytest

from fulcrum.features.errors import ConfigError
from fulcrum.features.spec import FeatureSpec, problems
from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.config.rules import spec as spec_of

DATA = {"events": "log.parquet", "time": {"column": "t"}, "outcomes": ["click", "play"]}
FEATURES = {
    "user": {"kind": "categorical"},
    "item": {"kind": "categorical"},
    "seen": {"kind": "history", "key": "user", "where": "click = 1", "attributes": ["item"]},
}
TASKS = {"click": {"kind": "binary", "label": "click"}}


def spec(
    data: dict[str, Any] | None = None,
    features: dict[str, Any] | None = None,
    tasks: dict[str, Any] | None = None,
) -> FeatureSpec:
    return FeatureSpec.model_validate(
        {
            "data": DATA | (data or {}),
            "features": FEATURES | (features or {}),
            "tasks": TASKS | (tasks or {}),
        }
    )


CONFIGS = [f"configs/{name}/mmoe.yaml" for name in ("kuairand", "kuairand-feedback", "census")]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_shipped_configs_are_right(config: str) -> None:
    assert problems(spec_of(load(config))) == []


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"features": {"play": {"kind": "numeric"}}}, "features.play.column", "outcome `play`"),
        (
            {"features": {"x": {"kind": "expression", "sql": "play + 1"}}},
            "features.x.sql",
            "outcome `play`",
        ),
        (
            {
                "data": {"derive": {"a": "play / 2", "b": "a + 1"}},
                "features": {"x": {"kind": "cross", "columns": ["user", "b"]}},
            },
            "features.x.columns.1",
            "outcome `play` through `b`",
        ),
        (
            {"features": {"x": {"kind": "window", "key": "click", "statistic": "count"}}},
            "features.x.key",
            "outcome `click`",
        ),
        ({"data": {"time": {"column": "play"}}}, "data.time.column", "outcome `play`"),
        (
            {"data": {"session": {"key": "play"}}},
            "data.session.key",
            "outcome `play`",
        ),
        (
            {
                "data": {
                    "session": {"key": "user"},
                    "time": None,
                    "split": {"kind": "order"},
                },
            },
            "data.session",
            "needs `data.time`",
        ),
        ({"data": {"keys": ["user", "play"]}}, "data.keys.1", "outcome `play`"),
        ({"features": {"a b": {"kind": "categorical"}}}, "features.a b", "letters, digits"),
        ({"features": {"label": {"kind": "categorical"}}}, "features.label", "is reserved"),
        ({"tasks": {"row": {"kind": "binary", "label": "click"}}}, "tasks.row", "is reserved"),
        (
            {"features": {"click": {"kind": "categorical", "column": "item"}}},
            "tasks.click",
            "a feature is called `click`, too",
        ),
        ({"data": {"derive": {"row.x": "t"}}}, "data.derive.row.x", "is reserved"),
        ({"data": {"keys": ["user", "user"]}}, "data.keys.1", "named twice"),
        (
            {"data": {"keys": ["click"], "outcomes": [], "known_before": ["click"]}},
            "data.keys.0",
            "a task is called `click`",
        ),
        (
            {"features": {"seen": FEATURES["seen"] | {"attributes": ["itme"]}}},
            "features.seen.attributes.0",
            "got `itme`; did you mean `item`",
        ),
        (
            {"features": {"x": {"kind": "categorical", "share": "itm"}}},
            "features.x.share",
            "got `itm`; did you mean `item`",
        ),
        (
            {"features": {"x": {"kind": "multi", "share": "seen"}}},
            "features.x.share",
            "categorical or multi feature",
        ),
        (
            {"features": {"x": {"kind": "categorical", "share": "item", "min_count": 3}}},
            "features.x.min_count",
            "vocabulary is that of `item`",
        ),
        (
            {
                "features": {
                    "x": {
                        "kind": "expression",
                        "sql": "t",
                        "encode": {"kind": "numeric", "column": "t"},
                    }
                }
            },
            "features.x.encode.column",
            "leave it out",
        ),
        (
            {"tasks": {"buy": {"kind": "binary", "label": "b", "given": "clik"}}},
            "tasks.buy.given",
            "got `clik`; did you mean `click`",
        ),
        (
            {
                "tasks": {
                    "watch": {"kind": "regression", "label": "play"},
                    "buy": {"kind": "binary", "label": "b", "given": "watch"},
                }
            },
            "tasks.buy.given",
            "expected a binary task",
        ),
        (
            {
                "tasks": {
                    "a": {"kind": "binary", "label": "x", "given": "b"},
                    "b": {"kind": "binary", "label": "x", "given": "a"},
                }
            },
            "tasks.a.given",
            "circle: a -> b -> a",
        ),
        ({"tasks": {"a": {"kind": "binary", "label": "x >"}}}, "tasks.a.label", "no SQL"),
        (
            {"tasks": {"a": {"kind": "binary", "label": "x", "when": "AVG(x)"}}},
            "tasks.a.when",
            "row",
        ),
        ({"data": {"where": "x ="}}, "data.where", "no SQL"),
        ({"data": {"weight": "nope(x)"}}, "data.weight", "no function `nope`"),
        ({"data": {"derive": {"a": "b", "b": "1"}}}, "data.derive.a", "`b`, which comes later"),
        ({"data": {"derive": {"a": "a + 1"}}}, "data.derive.a", "reads itself"),
        ({"data": {"time": None}}, "features.seen", "needs `data.time`"),
        ({"data": {"time": None}}, "data.split", "needs `data.time`"),
    ],
)
def test_each_problem_is_told_at_its_place(change: dict[str, Any], path: str, message: str) -> None:
    found = {
        ".".join(map(str, problem.path)): problem.message for problem in problems(spec(**change))
    }
    assert message in found[path]


def test_outcomes_are_welcome_in_labels_windows_and_histories() -> None:
    features = {
        "ctr": {"kind": "window", "key": "item", "statistic": "rate", "where": "click = 1"},
        "played": {"kind": "window", "key": "user", "statistic": "sum", "value": "long"},
    }
    found = problems(spec({"derive": {"long": "play > 7"}, "weight": "play"}, features))
    assert found == []


LEAKS: dict[str, dict[str, Any]] = {
    "x.column": {"kind": "categorical", "column": "gain"},
    "x.sql": {"kind": "expression", "sql": "COALESCE(gain, 0) > 0"},
    "x.columns.1": {"kind": "cross", "columns": ["user", "gain"]},
    "x.key": {"kind": "window", "key": "gain", "statistic": "count"},
}
"""By the place that is refused."""


@pytest.mark.parametrize("through", ["", "it", "half"])
@pytest.mark.parametrize("label", ["gain", "gain > 0.7 * cost", "good", "CAST(share AS INT) = 1"])
@pytest.mark.parametrize("at", LEAKS)
def test_a_column_of_a_label_is_an_outcome(at: str, label: str, through: str) -> None:
    derive = {"share": "gain / cost", "good": "share > 0.7", "it": "gain", "half": "it / 2"}
    leak = {key: _renamed(value, through) for key, value in LEAKS[at].items()}
    change: dict[str, Any] = {"derive": derive, "outcomes": []}
    tasks = {"t": {"kind": "binary", "label": label}}
    [problem] = problems(spec(change, {"x": leak}, tasks))
    assert ".".join(map(str, problem.path)) == f"features.{at}"
    way = f" through `{through}`" if through else ""
    assert problem.message.startswith(f"reads `gain`{way}, of which the label of `t` is made")
    assert problem.message.endswith("`data.known_before: [gain]`")
    assert problems(spec(change | {"known_before": ["gain"]}, {"x": leak}, tasks)) == []
    past = {"x": {"kind": "window", "key": "user", "statistic": "mean", "value": "gain"}}
    assert problems(spec(change, past, tasks)) == []


def _renamed(value: Any, through: str) -> Any:
    """With another column in the place of `gain`."""
    if isinstance(value, list):
        return [_renamed(one, through) for one in value]
    return value.replace("gain", through) if through else value


def test_the_time_of_an_event_is_known_before() -> None:
    data = {"derive": {"t": "CAST(at AS BIGINT)", "hour": "t // 3600"}, "outcomes": []}
    early = {"t": {"kind": "binary", "label": "click = 1 AND t < 7"}}
    assert problems(spec(data, {"hour": {"kind": "categorical"}}, early)) == []


def test_what_is_known_before_is_one_thing() -> None:
    wrong = spec({"derive": {"a": "play"}, "known_before": ["play", "a"]})
    first, second = problems(wrong)
    assert first.path == ("data", "known_before", 0) and "in `data.outcomes`" in first.message
    assert second.path == ("data", "known_before", 1) and "is derived" in second.message


def test_all_problems_are_told_at_once() -> None:
    wrong = spec({"where": "x ="}, {"play": {"kind": "numeric"}}, {"row": TASKS["click"]})
    with pytest.raises(ConfigError) as told:
        wrong.check()
    assert len(str(told.value).splitlines()) == 3
