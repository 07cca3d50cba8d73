"""What a client may send in JSON: anything at all, and objects that are nearly right."""

from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import strategies as st

Values = st.SearchStrategy[Any]


def json_values(names: Iterable[str]) -> Values:
    """Any value, whose objects have keys among `names`."""
    return st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats()
        | st.text(st.characters(exclude_categories=()), max_size=5)
        | st.sampled_from(["a", "v1", "2024-02-29", "1e999", "INT64", "BYTES"]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from([*names]), inner, max_size=4)
        ),
        max_leaves=8,
    )


def near(example: Mapping[str, Any], values: Values) -> st.SearchStrategy[dict[str, Any]]:
    """Objects like the example, with some other values."""
    return st.fixed_dictionaries({name: st.just(v) | values for name, v in example.items()})
