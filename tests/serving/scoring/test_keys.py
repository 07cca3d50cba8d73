"""What goes in as an id comes out of `score`'s keys, and means what it meant in training."""

from pathlib import Path
from tempfile import mkdtemp

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fulcrum.features.transform.transform import transform
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.publishing.export import export
from fulcrum.serving.scoring.files import score_files
from fulcrum.testing.specs import learn
from tests.features.files.logs import write
from tests.serving.conftest import MODEL, random_weights

ZIPS = [f"{number:05}" for number in range(1000, 1015)] + [str(n) for n in range(1000, 1015)]
TEXTS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.integers(2**63, 2**65).map(str),
    st.integers(0, 999).map(lambda number: f"{number:06}"),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
    st.sampled_from(["-0", "+7", "007", "40e85", "NaN", "true", "null", '"', "²", "٣"]),
    st.text(st.characters(exclude_categories=["C"]), min_size=1),
)
"""Ids as people write them, but for 7.0, which is 7."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    """Its keys are `ref`, which nothing learns, and `zip`, which is a feature."""
    log = pl.DataFrame({"ref": range(60), "zip": ZIPS * 2, "click": [0, 1] * 30})
    features = {"zip": {"kind": "categorical"}}
    state = learn(log, features, data={"keys": ["ref", "zip"], "outcomes": ["click"]})
    return export(
        tmp_path_factory.mktemp("models") / "model",
        state=state,
        model=MODEL,
        weights=random_weights(state.layout, MODEL),
        config={"name": "zips", "serving": {"batch_size": 16}},
        config_fingerprint="c0ffee",
        held_out=transform(log, state),
        example=log.head(3),
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS, min_size=2, max_size=6), st.sampled_from(["csv", "parquet"]))
def test_keys_come_out_as_they_went_in(
    bundle: Bundle, tmp_path: Path, texts: list[str], form: str
) -> None:
    """In two files, which are read as one."""
    place = Path(mkdtemp(dir=tmp_path))
    for number, part in enumerate((texts[:1], texts[1:])):
        write(pl.DataFrame({"ref": part, "zip": part}), place / f"{number}.{form}")
    score_files(bundle, str(place), place / "scores", device="cpu")
    scores = pl.concat(pl.read_parquet(place / "scores" / f"{n}.parquet") for n in (0, 1))
    assert scores["zip"].to_list() == texts
    assert scores["ref"].cast(pl.String).to_list() == texts


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_digits_alone_are_still_the_ids_of_training(
    bundle: Bundle, tmp_path: Path, form: str
) -> None:
    """A later file without a zero in front knows 1000 from 01000."""
    numbers = pl.DataFrame({"ref": range(15), "zip": range(1000, 1015)})
    write(numbers, tmp_path / f"later.{form}")
    report = score_files(bundle, str(tmp_path), tmp_path / "scores", device="cpu")
    assert report.unknown == {}
    write(pl.DataFrame({"ref": range(30), "zip": ZIPS}), tmp_path / "all" / "all.csv")
    score_files(bundle, str(tmp_path / "all"), tmp_path / "all", device="cpu")
    names = list(bundle.state.layout.score_columns)
    later = pl.read_parquet(tmp_path / "scores" / "later.parquet")
    whole = pl.read_parquet(tmp_path / "all" / "all.parquet")
    assert later.select(names).equals(whole[15:].select(names))
    assert whole[names[0]].n_unique() == 30


def test_several_processes_read_text_as_one_does(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("POLARS_MAX_THREADS", "1")  # as they set it; it must not outlive the test
    (tmp_path / "logs").mkdir()
    for number, zips in enumerate((ZIPS, ["007", "+7"])):
        write(pl.DataFrame({"ref": zips, "zip": zips}), tmp_path / "logs" / f"{number}.csv")
    for workers in (1, 2):
        output = tmp_path / str(workers)
        score_files(bundle, str(tmp_path / "logs"), output, device="cpu", workers=workers)
    for name in ("0.parquet", "1.parquet"):
        assert (tmp_path / "2" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()
