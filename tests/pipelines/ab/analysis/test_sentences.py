"""Numbers as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.pipelines.ab.analysis import sentences
from fulcrum.pipelines.ab.statistics.effects import Effect
from fulcrum.pipelines.ab.statistics.off_policy import Value


@pytest.mark.parametrize(
    ("value", "se", "sign", "text"),
    [
        (0.12345, 0.01, False, "0.123"),
        (0.12345, 0.0123, True, "+0.123"),
        (1234.5, 300, False, "1234"),
        (-0.00001, 0.01, True, "+0.000"),
        (-0.00001, 0.01, False, "0.000"),
        (2.5, 0.0, False, "2.5000"),
    ],
)
def test_numbers_have_as_many_digits_as_they_are_sure_of(value, se, sign, text):
    assert sentences.number(value, se, sign) == text


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 9))
def test_no_number_loses_more_than_a_twentieth_of_its_error(value, se):
    assert abs(float(sentences.number(value, se)) - value) <= 0.0501 * se


@pytest.mark.parametrize(
    ("share", "text"), [(0.05, "+5.0 %"), (-0.123, "-12 %"), (1.5, "+150 %"), (0.0, "+0.0 %")]
)
def test_relative_changes(share, text):
    assert sentences.percent(share) == text


def test_p_values_and_levels():
    assert [sentences.p(v) for v in (0.5, 0.0123, 1e-9)] == ["p = 0.5", "p = 0.012", "p < 0.0001"]
    assert [sentences.level(a) for a in (0.05, 0.01, 0.001)] == ["95 %", "99 %", "99.9 %"]


def test_a_relative_effect_is_told_where_there_is_one():
    effect = Effect(0.2, 0.25, 0.05, 0.01, 0.03, 0.07, 1e-6, 0.25, 0.15, 0.36, 9, 9)
    unknown = Effect(0.0, 0.05, 0.05, 0.01, 0.03, 0.07, 1e-6, None, None, None, 9, 9)
    plain = "+0.050 (95 % interval +0.030 to +0.070)"
    assert sentences.interval(effect, 0.05) == f"{plain}, relative +25 % (+15 % to +36 %)"
    assert sentences.interval(unknown, 0.05) == plain


@pytest.mark.parametrize(
    ("low", "high", "size", "caveat"),
    [
        (0.1, 0.3, 900.0, "The two intervals overlap."),
        (0.1, 0.3, 5.0, "neither the value nor its interval is to be relied on."),
        (0.5, 0.7, 900.0, "the arms differ in more than what they choose."),
    ],
)
def test_a_policy_is_valued_with_the_caveat_that_it_needs(low, high, size, caveat):
    value = Value((low + high) / 2, low, high, size, 12.0)
    sentence = sentences.policy("new", "old", (0.25, 0.2, 0.31), value, 1000, 0.05)
    assert sentence.endswith(caveat)
    assert f"whose 1,000 rows count as {size:,.0f}" in sentence
