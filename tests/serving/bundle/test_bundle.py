"""Bundles: complete, readable, and refused when anything in them changed."""

import json
import shutil
import zipfile
from datetime import datetime

import polars as pl
import pytest

from fulcrum.features.errors import ModelError, ResourceError, StateError
from fulcrum.serving.bundle.bundle import Bundle, sha256, write_bundle
from fulcrum.testing.specs import learn
from tests.serving.conftest import OUTCOMES


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle.folder, tmp_path / "copy")


def test_a_bundle_says_what_it_holds(bundle, state, log):
    assert bundle.name == "small"
    assert bundle.serving.batch_size == 64
    assert bundle.config == {
        "name": "small",
        "serving": {"batch_size": 64, "max_rows": 200, "max_body_bytes": 100_000},
    }
    facts = bundle.facts
    assert (facts["config"], facts["state"]) == ("c0ffee", state.fingerprint)
    assert facts["scores"] == ["click", "long_view", "watch"]
    assert facts["keys"] == ["user_id", "video_id", "time_ms"]
    assert facts["rows"].keys() == state.row_columns.keys()
    assert facts["past"].keys() == state.past_columns.keys()
    assert facts["versions"]["polars"] == pl.__version__
    assert max(facts["parity"].values()) < 1e-5


@pytest.mark.parametrize(
    "dtype",
    [pl.Datetime("us"), pl.Datetime("ns", "UTC"), pl.Datetime("ms", "Asia/Tokyo"), pl.Date()],
)
def test_what_a_bundle_says_of_times_is_what_it_reads_there(tmp_path, dtype):
    rows = pl.DataFrame({"user": range(9), "at": [datetime(2024, 1, 1)] * 9}).cast({"at": dtype})
    seen = {"kind": "window", "key": "user", "statistic": "count"}
    state = learn(rows, {"seen": seen}, data={"time": {"column": "at"}})
    written = write_bundle(
        tmp_path / "model",
        state=state,
        config={"name": "times"},
        config_fingerprint="times",
        example=rows,
        write_graph=lambda path: path.touch() or {"parity": {}},
    )
    assert written.state.row_columns["at"] == dtype


def test_nothing_in_a_bundle_can_run(bundle):
    suffixes = {path.suffix for path in bundle.folder.rglob("*") if path.is_file()}
    assert suffixes == {".onnx", ".json", ".yaml", ".parquet"}
    assert not any(zipfile.is_zipfile(path) for path in bundle.folder.rglob("*"))


def test_the_example_is_rows_without_outcomes(bundle, log):
    assert len(bundle.example) == 3
    assert bundle.example[0]["user_id"] == log["user_id"][0]
    assert not set(OUTCOMES) & bundle.example[0].keys()


def test_a_copy_is_the_same_model_and_another_config_is_not(bundle, copy, other_bundle):
    assert Bundle.load(copy).fingerprint == bundle.fingerprint
    (copy / "note.txt").write_text("files beside the model's own do not matter")
    assert Bundle.load(copy).fingerprint == bundle.fingerprint
    assert other_bundle.fingerprint != bundle.fingerprint


def test_sql_that_reads_a_file_does_not_load(copy, tmp_path):
    """Whoever alters a state can write its checksum as well."""
    path = copy / "state" / "state.json"
    state, facts = json.loads(path.read_text()), json.loads((copy / "bundle.json").read_text())
    state["spec"]["data"]["where"] = f"1 IN (FROM read_csv('{tmp_path / 'secret.csv'}'))"
    path.write_text(json.dumps(state))
    facts["files"]["state/state.json"] = sha256(path)
    (copy / "bundle.json").write_text(json.dumps(facts))
    with pytest.raises(StateError, match="no SQL expression over one row: there is no function"):
        Bundle.load(copy)


def test_other_folders_are_no_bundles(tmp_path, copy):
    with pytest.raises(ModelError, match=r"not a Fulcrum model .bundle\.json is missing"):
        Bundle.load(tmp_path / "nothing")
    (copy / "bundle.json").write_text("{")
    with pytest.raises(StateError, match="damaged"):
        Bundle.load(copy)


def test_a_failed_write_leaves_the_older_bundle(bundle, copy, state, log):
    before = bundle.fingerprint
    for error, expected in (
        (ModelError("no parity"), ModelError),
        (OSError(28, "No space left on device"), ResourceError),
    ):

        def fail(path, error=error):
            path.write_bytes(b"half")
            raise error

        with pytest.raises(expected):
            write_bundle(
                copy,
                state=state,
                config=bundle.config,
                config_fingerprint="x",
                example=log.head(1),
                write_graph=fail,
            )
        assert Bundle.load(copy).fingerprint == before
        assert [path.name for path in copy.parent.iterdir()] == ["copy"]
