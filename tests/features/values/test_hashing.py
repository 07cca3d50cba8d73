import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_series_equal

from fulcrum.features.values.hashing import bucket, hash64

texts = st.one_of(st.text(max_size=40), st.text(alphabet="ab\0", max_size=30))


def mix(h: int) -> int:
    h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    h = (h ^ (h >> 27)) * 0x94D049BB133111EB % 2**64
    return h ^ (h >> 31)


def reference(text: str, seed: int = 0x9E3779B97F4A7C15) -> int:
    data = text.encode()
    h = mix(seed ^ len(data))
    for start in range(0, len(data), 8):
        h = mix(h ^ int.from_bytes(data[start : start + 8], "little"))
    return h


def hashed(values: list[str | None], salt: str = "") -> list[int | None]:
    frame = pl.LazyFrame({"text": pl.Series(values, dtype=pl.String)})
    return frame.select(hash64(pl.col("text"), salt)).collect()["text"].to_list()


@given(st.lists(st.none() | texts, max_size=20), texts)
def test_equals_the_reference(values: list[str | None], salt: str) -> None:
    seed = {"seed": reference(salt)} if salt else {}
    expected = [None if value is None else reference(value, **seed) for value in values]
    assert hashed(values, salt) == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 16294208416658607535),
        ("a", 15724650169172236990),
        ("héllo", 1838252793342425764),
        ("x" * 100, 2410998405115716627),
    ],
)
def test_never_changes(text: str, number: int) -> None:
    assert reference(text) == number
    assert hashed([text]) == [number]


def test_lengths_around_a_word_and_a_long_text_in_one_column() -> None:
    values = ["7" * length for length in range(40)] + ["é" * 50_000]
    assert hashed(values) == [reference(value) for value in values]


def test_a_slice_hashes_as_the_whole() -> None:
    series = pl.Series("text", [f"user-{i}" for i in range(100)])
    whole = series.to_frame().select(hash64(pl.col("text")))["text"]
    part = series[37:61].to_frame().select(hash64(pl.col("text")))["text"]
    assert_series_equal(part, whole[37:61])


def test_a_column_of_nulls_stays_null() -> None:
    assert hashed([None, None]) == [None, None]


def test_no_collisions_and_even_buckets() -> None:
    frame = pl.LazyFrame({"id": pl.int_range(200_000, eager=True).cast(pl.String)}).select(
        hash=hash64(pl.col("id")), bucket=bucket(pl.col("id"), 10)
    )
    result = frame.collect()
    counts = result["bucket"].value_counts()["count"]
    assert result["hash"].n_unique() == 200_000
    assert len(counts) == 10
    # Five standard deviations of a binomial count: sqrt(200000 * 0.1 * 0.9) = 134.
    assert (counts.cast(pl.Int64) - 20_000).abs().max() < 5 * 134


def test_salts_give_independent_buckets() -> None:
    frame = pl.LazyFrame({"id": pl.int_range(100_000, eager=True).cast(pl.String)})
    a, b = bucket(pl.col("id"), 10, "a"), bucket(pl.col("id"), 10, "b")
    same = frame.select((a == b).mean()).collect().item()
    assert same == pytest.approx(0.1, abs=0.005)


def test_bucket_is_the_hash_modulo_buckets() -> None:
    result = pl.select(bucket(pl.lit(pl.Series(["x", None])), 7)).to_series().to_list()
    assert result == [reference("x") % 7, None]


def test_streams() -> None:
    plan = pl.LazyFrame({"id": ["x"]}).select(bucket(pl.col("id"), 7))
    graph = plan.show_graph(engine="streaming", plan_stage="physical", raw_output=True)
    assert graph is not None
    assert "columnar-function" not in graph
