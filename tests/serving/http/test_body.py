"""The quick reader of JSON says what the strict one says, of whatever is sent."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fulcrum.serving.http import body
from fulcrum.serving.http.body import RequestError, decode_object, reply

NAMES = st.sampled_from(["rows", "user", "é", 'a"b', "a\\", "\u0000", "\ud800"]) | st.text()
TEXTS = st.text(st.characters(exclude_categories=()), max_size=5) | st.sampled_from('":\\{')
NUMBERS = st.sampled_from(
    "-0 -0.0 1e5 1E400 -1e400 1e-400 01 1. +1 NaN -Infinity 12345678901234567890123.5".split()
) | st.sampled_from([2**64, -(2**63) - 1, 10**400]).map(str)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS


@st.composite
def objects(draw, inner):
    """As text, now and then with a field twice, its name spelled in two ways."""
    texts = []
    for name in draw(st.lists(NAMES, max_size=4)):
        spelled = json.dumps(name, ensure_ascii=draw(st.booleans()))
        if name and draw(st.booleans()):
            spelled = f'"\\u{ord(name[0]):04x}' + spelled[1:] if ord(name[0]) < 2**16 else spelled
            spelled = spelled if draw(st.booleans()) else f'"\\u{ord(name[0]) % 2**16:04x}"'
        texts.append(spelled + draw(st.sampled_from([":", " : "])) + draw(inner))
    return "{" + draw(st.sampled_from([",", " ,\n", ",,"])).join(texts) + "}"


TEXT = st.recursive(
    st.builds(json.dumps, SCALARS, ensure_ascii=st.booleans()) | NUMBERS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda texts: f"[{', '.join(texts)}]") | objects(inner)
    ),
    max_leaves=12,
)
BODIES = (
    st.binary(max_size=30)
    | TEXT.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.builds(
        lambda text, place, byte: text[:place] + bytes([byte]) + text[place:],
        TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.integers(0, 40),
        st.integers(0, 255),
    )
)


def outcome(read, content):
    try:
        return repr(read(content))
    except RequestError as error:
        return error.status, str(error)


@given(BODIES)
@example(b'{"a": 1, "a": 2}')
@example(b'{"a": 1, "\\u0061": 2}')
@example(b'{"a": "\\"", "a": 2}')
@example(b'{"a" : {"x": ":"}, "b": [{"c": 1, "c": "\\\\"}]}')
@example(b'{"a": "\xff"}')
@example(b"9" * 5000)
@example(b'{"\xff": 1}')
@example(b'{"a": "\xed\xa0\x80"}')
@example(b"\xef\xbb\xbf{}")
@example(b'{"a": "\x01"}')
@example(b'{"a": 1}}')
@example(b"[" * 20 + b'{"a": 1, "a": 1}' + b"]" * 20)
def test_both_readers_agree(content):
    assert outcome(body._decode, content) == outcome(body._decode_strictly, content)


def test_what_repeats_no_field_is_read_once(monkeypatch):
    monkeypatch.setattr(body, "_decode_strictly", lambda content: pytest.fail("read again"))
    row = {"user": 7, "name": "Zoë: ", "tags": ["a", None], "share": 0.5, "more": {"b": "c"}}
    content = json.dumps({"rows": [row] * 3})
    assert decode_object(content.encode()) == {"rows": [row] * 3}


@given(SCALARS.filter(lambda value: value == value and abs(hash(value)) != hash(float("inf"))))
def test_what_was_sent_can_be_echoed(value):
    assert json.loads(reply({"key": value}).body) == {"key": value}


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_score_is_sent_exactly(score):
    assert json.loads(reply(score).body) == score
