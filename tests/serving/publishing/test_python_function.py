"""MLflow's own tools on a registered model: raw rows in, the scores of `fulcrum score` out."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import pandas
import polars as pl
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.types import DataType
from mlflow.types.schema import AnyType

from fulcrum.features.errors import DataError, ModelError
from fulcrum.serving.publishing.registry import Registry
from fulcrum.serving.scoring.scorer import Scorer
from tests.mlflow_server import SECONDS, answers, free_port
from tests.serving.conftest import make_log


def register(bundle, folder, name):
    """`models:/NAME/1` in a store in `folder`, and its files."""
    store = f"sqlite:///{folder}/mlruns.db"
    client = mlflow.MlflowClient(store)
    client.create_experiment(name, artifact_location=str(folder / name))
    run = client.create_run(client.get_experiment_by_name(name).experiment_id).info.run_id
    registry = Registry(store)
    registry.register(registry.log(bundle, run), name)
    return registry.resolve(f"models:/{name}/1").bundle.folder


@pytest.fixture(scope="module")
def registered(bundle, tmp_path_factory):
    """The folder of the registered model."""
    return register(bundle, tmp_path_factory.mktemp("mlflow"), "ranker")


@pytest.fixture(scope="module")
def past(log, tmp_path_factory):
    file = tmp_path_factory.mktemp("past") / "past.parquet"
    log.write_parquet(file)
    return file


@pytest.fixture(scope="module")
def model(registered, past):
    return mlflow.pyfunc.load_model(str(registered), model_config={"history": str(past)})


@pytest.fixture(scope="module")
def rows(bundle):
    """Raw rows with holes in each column that may have some."""
    rows = make_log(70, seed=3).select(list(bundle.state.row_columns))
    hole = pl.int_range(pl.len()) % 7 == 0
    return rows.with_columns(
        pl.when(~hole).then(pl.col(name)) for name in rows.columns if name != "time_ms"
    )


@pytest.fixture(scope="module")
def scores(bundle, rows, log):
    return Scorer(bundle, "cpu").predict(rows, log.lazy())


def same(found, expected):
    return pl.from_pandas(found).equals(expected)


def test_a_frame_has_the_scores_of_the_scorer_and_keeps_its_index(model, rows, scores):
    """Whatever pandas makes of holes: NaN, None or its own kinds of column; to the bit."""
    plain = rows.to_pandas()
    assert plain["user_id"].dtype == np.float64 and plain["is_new"].dtype == object
    for frame in (plain, plain.convert_dtypes(), rows.to_pandas(use_pyarrow_extension_array=True)):
        assert same(model.predict(frame), scores)
    moved = plain.set_axis(range(1000, 1070))[plain.columns[::-1]].assign(more=1)
    found = model.predict(moved)
    assert list(found.index) == list(moved.index)
    assert same(found, scores)
    assert list(found.columns) == [column.name for column in model.metadata.signature.outputs]
    assert set(found.dtypes) == {np.dtype("float32")}
    assert model.predict(plain[:0]).shape == (0, scores.width)


def test_the_past_that_is_given_counts(model, registered, bundle, rows, scores, tmp_path):
    other = make_log(90, seed=8)
    other[:50].write_parquet(tmp_path / "a.parquet")
    other[50:].write_parquet(tmp_path / "b.parquet")
    files = [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]
    found = mlflow.pyfunc.load_model(str(registered), model_config={"history": files})
    assert same(found.predict(rows.to_pandas()), Scorer(bundle, "cpu").predict(rows, other.lazy()))
    assert not same(found.predict(rows.to_pandas()), scores)


@pytest.mark.parametrize("history", [None, "", [], [""], [5], {"a": "b"}])
def test_a_model_with_a_past_says_what_it_needs(registered, bundle, history):
    with pytest.raises(ModelError, match="model_config=") as refused:
        mlflow.pyfunc.load_model(str(registered), model_config={"history": history})
    text = str(refused.value)
    assert "\n" not in text
    assert all(f"`{name}`" in text for name in bundle.state.past_columns)


def test_the_environment_names_the_past_for_tools_without_an_option(
    registered, past, rows, scores, monkeypatch
):
    monkeypatch.setenv("MLFLOW_PYFUNC_INFERENCE_CONFIG", json.dumps({"history": str(past)}))
    assert same(mlflow.pyfunc.load_model(str(registered)).predict(rows.to_pandas()), scores)
    monkeypatch.setenv("MLFLOW_PYFUNC_INFERENCE_CONFIG", '{"history": "nowhere/*.parquet"}')
    with pytest.raises(DataError, match=r"--history.*nowhere"):
        mlflow.pyfunc.load_model(str(registered))


def test_a_long_past_leaves_no_files_behind(registered, past, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("fulcrum.serving.scoring.history.EVENTS_IN_MEMORY", 50)
    loaded = mlflow.pyfunc.load_model(str(registered), model_config={"history": str(past)})
    assert [*tmp_path.glob("fulcrum-history-*/*")]
    del loaded
    gc.collect()
    assert not [*tmp_path.glob("fulcrum-history-*")]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"user_id": [1.5, 2]}, "column `user_id` holds 1.5 as Float64; expected values of type"),
        ({"user_id": ["1", "x"]}, "column `user_id` holds 'x' as String"),
        ({"user_id": [2.0**60, 1]}, "column `user_id` holds"),
        ({"video_id": ["v1", 5.5]}, "the rows: column `video_id`:"),
        ({"is_new": [2, 0]}, "column `is_new` holds 2 as Int64"),
        ({"tags": [{"a": 1}, None]}, "column `tags` is Struct"),
        ({"user_id": [2**70, 1]}, "the rows: column `user_id`:"),
        ({"video_id": pandas.period_range("2020", periods=2)}, "column `video_id` is Extension("),
        ({"video_id": [b"1", b"2"]}, "column `video_id` is Binary; expected values of type"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_the_column(model, rows, values, reason):
    frame = rows.to_pandas()[:2].assign(**{k: pandas.Series(v) for k, v in values.items()})
    with pytest.raises(MlflowException) as refused:
        model.predict(frame)
    assert reason in refused.value.message and "\n" not in refused.value.message
    assert refused.value.get_http_status_code() == 400


def test_a_missing_column_is_named(model, rows):
    with pytest.raises(MlflowException, match=r"missing inputs \['tags'\]"):
        model.predict(rows.to_pandas().drop(columns="tags"))


def test_signature_and_example_are_of_raw_rows(model, bundle, log):
    signature = model.metadata.signature
    assert signature.inputs.input_names() == list(bundle.state.row_columns)
    assert all(column.type == AnyType() for column in signature.inputs)
    assert {column.type for column in signature.outputs} == {DataType.float}
    assert model.metadata.metadata["rows"] == bundle.facts["rows"]
    expected = Scorer(bundle, "cpu").predict(log.head(3), log.lazy())
    assert same(model.predict(model.input_example), expected)


def test_nothing_that_runs_is_in_the_model(registered):
    flavour = Model.load(str(registered)).flavors["python_function"]
    assert flavour["loader_module"] == "fulcrum.serving.publishing.python_function"
    assert not flavour.get("code") and "data" not in flavour
    requirements = (registered / "requirements.txt").read_text()
    assert {"fulcrum-recsys", "onnxruntime", "polars"} <= {
        line.partition("==")[0] for line in requirements.splitlines()
    }


@contextmanager
def models_serve(uri, store, **environment):
    """The address at which `mlflow models serve` answers."""
    port = free_port()
    bin = Path(sys.executable).parent
    path = f"{bin}:{os.environ['PATH']}"
    command = ("models", "serve", "-m", uri, "--env-manager", "local", "--port", str(port))
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command],
        env={**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": store, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + SECONDS
        while not answers(f"http://127.0.0.1:{port}/ping"):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def post(address, content, kind="application/json"):
    """Status and text of the answer."""
    headers = {"content-type": kind}
    request = urllib.request.Request(f"{address}/invocations", content, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.slow
def test_mlflow_models_serve_gives_the_scores_of_fulcrum_score(bundle, past, tmp_path):
    """Both commands, as a user runs them, on one file of rows with holes; to the bit."""
    register(bundle, tmp_path, "ranker")
    store = f"sqlite:///{tmp_path}/mlruns.db"
    rows = make_log(40, seed=5).with_columns(
        pl.when(pl.int_range(40) % 5 > 0).then(pl.col("user_id")),
        pl.when(pl.int_range(40) % 3 > 0).then(pl.col("is_new")),
    )
    rows.write_parquet(tmp_path / "rows.parquet")
    files = ("--input", str(tmp_path / "rows.parquet"), "--output", str(tmp_path / "scores"))
    options = ("--tracking", store, "--device", "cpu", "--history", str(past))
    command = ("score", "--model", "models:/ranker/1", *files, *options)
    subprocess.run([sys.executable, "-m", "fulcrum.pipelines", *command], check=True, timeout=120)
    names = list(bundle.state.layout.score_columns)
    expected = pl.read_parquet(tmp_path / "scores" / "rows.parquet").select(names)

    columns = list(bundle.state.row_columns)
    history = json.dumps({"history": str(past)})
    with models_serve("models:/ranker/1", store, MLFLOW_PYFUNC_INFERENCE_CONFIG=history) as address:
        records = rows.select(columns).to_dicts()
        split = {"columns": columns, "data": [[*record.values()] for record in records]}
        for body in ({"dataframe_records": records}, {"dataframe_split": split}):
            status, text = post(address, json.dumps(body).encode())
            assert status == 200, text
            found = pl.DataFrame(json.loads(text)["predictions"], dict.fromkeys(names, pl.Float32))
            assert found.equals(expected)
        content = (tmp_path / "rows.parquet").read_bytes()
        status, text = post(address, content, "application/vnd.apache.parquet")
        assert status == 200, text
        records[0]["user_id"] = 1.7
        status, text = post(address, json.dumps({"dataframe_records": records}).encode())
        assert status == 400
        assert "column `user_id` holds 1.7" in json.loads(text)["message"]


@pytest.mark.slow
def test_spark_udf_gives_the_scores_of_the_scorer(
    registered, past, rows, scores, tmp_path, monkeypatch
):
    """In the workers of a Spark of two threads, where there are PySpark and a JVM."""
    sql = pytest.importorskip("pyspark.sql")
    rows.with_row_index("place").write_parquet(tmp_path / "rows.parquet")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", False)
    with builder.getOrCreate() as spark:
        environment = {"MLFLOW_PYFUNC_INFERENCE_CONFIG": json.dumps({"history": str(past)})}
        score = mlflow.pyfunc.spark_udf(
            spark, str(registered), env_manager="local", extra_env=environment
        )
        read = spark.read.parquet(str(tmp_path / "rows.parquet")).repartition(3)
        found = read.select("place", score().alias("scores")).select("place", "scores.*")
        answer = pl.from_pandas(found.toPandas()).sort("place").drop("place")
    assert answer.columns == scores.columns
    np.testing.assert_allclose(answer.to_numpy(), scores.to_numpy(), rtol=1e-5)
