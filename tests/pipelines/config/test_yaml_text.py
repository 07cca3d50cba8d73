import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.pipelines.config.yaml_text import dump, parse

TEXT = st.text(st.characters(codec="utf-8"))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


@given(PLAIN)
def test_dump_then_parse_gives_equal_data(data):
    document = parse(dump(data), "x")
    assert document.problems == []
    assert document.data == data


@given(TEXT)
def test_no_text_raises(text):
    document = parse(text, "x")
    assert document.problems or document.data is None or document.data == document.data


def test_scalars_follow_yaml_1_2():
    data = parse("[no, on, 12:30, 2022-04-08, 007, 1e-3, .5, 8, true, ~]", "x").data
    assert data == ["no", "on", "12:30", "2022-04-08", "007", 0.001, 0.5, 8, True, None]


def test_keys_are_text():
    assert parse("{1: a, true: b, null: c}", "x").data == {"1": "a", "true": "b", "null": "c"}


def test_lines_of_keys_and_entries():
    document = parse("a: 1\nb:\n  c:\n    - 2\n    - {d: 3}\n", "x")
    assert document.lines == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", 0): 4,
        ("b", "c", 1): 5,
        ("b", "c", 1, "d"): 5,
    }


def test_every_repeated_key_is_told_with_its_lines():
    problems = parse("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", "x").problems
    assert problems == [
        (("a",), 5, "key given twice, first in line 1"),
        (("b", "c"), 4, "key given twice, first in line 3"),
    ]


def test_merge_keys_are_no_repeats():
    document = parse("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n", "x")
    assert document.problems == []
    assert document.data["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "&a [*a]",
        "&a {b: *a}",
        "[" * 5000,
        "? [a]\n: 1",
        "--- 1\n--- 2",
        "a: !!python/name:os.system x",
        "!!python/object:os.system {}",
        "!!set {x}",
        "!!binary aGk=",
        "!!bool x",
        "!!int x",
        "a: \x00",
        "9" * 5000,
    ],
)
def test_bad_text_is_a_problem_not_an_exception(text):
    assert parse(text, "x").problems
