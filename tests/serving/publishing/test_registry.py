"""Models in a real MLflow: logged whole, registered, aliased with a history, resolved."""

import subprocess
import sys

import mlflow
import polars as pl
import pytest
from mlflow.models import Model

from fulcrum.features.errors import FulcrumError, ModelError, StateError
from fulcrum.pipelines.tracking.mlflow import FOLDER, MlflowTracker, find_run, start_run
from fulcrum.serving.bundle.bundle import FACTS, Bundle
from fulcrum.serving.publishing.registry import Registry
from fulcrum.serving.publishing.resolve import resolve
from fulcrum.serving.scoring.scorer import Scorer, example_arrays
from tests.mlflow_server import free_port, mlflow_server


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlruns.db"
    mlflow.MlflowClient(uri).create_experiment("tests", artifact_location=str(folder / "artifacts"))
    return uri


def new_run(uri):
    client = mlflow.MlflowClient(uri)
    return client.create_run(client.get_experiment_by_name("tests").experiment_id).info.run_id


@pytest.fixture(scope="module")
def registry(store):
    return Registry(store)


@pytest.fixture(scope="module")
def logged(registry, store, bundle):
    """A run with one model, registered as version 1 of `ranker`."""
    run = new_run(store)
    model = registry.log(bundle, run, step=7, metrics={"auc/click": 0.75})
    assert registry.register(model, "ranker") == 1
    return run, model


def test_a_logged_model_is_the_bundle_and_an_mlflow_model(registry, store, logged, bundle):
    run, model = logged
    found = registry.resolve(model)
    assert found.bundle.fingerprint == bundle.fingerprint
    assert (found.name, found.version) == ("small", bundle.fingerprint[:12])
    described = Model.load(str(found.bundle.folder))
    assert described.flavors.keys() == {"onnx", "python_function"}
    suffixes = {path.suffix for path in found.bundle.folder.rglob("*") if path.is_file()}
    assert not suffixes & {".py", ".pkl", ".pickle", ".pt", ".pth"}
    client = mlflow.MlflowClient(store)
    entity = client.get_logged_model(model.removeprefix("models:/"))
    assert [(m.key, m.value, m.step) for m in entity.metrics] == [("auc/click", 0.75, 7)]
    assert entity.source_run_id == run
    assert str(entity.status) == "READY"
    outputs = client.get_run(run).outputs.model_outputs
    assert [(o.model_id, o.step) for o in outputs] == [(entity.model_id, 7)]


def test_plain_mlflow_reads_the_graph(registry, logged, bundle):
    graph = mlflow.onnx.load_model(str(registry.resolve(logged[1]).bundle.folder))
    assert [value.name for value in graph.graph.input] == list(example_arrays(bundle))
    assert graph.metadata_props


def test_a_logged_model_says_its_size(registry, logged, bundle):
    folder = registry.resolve(logged[1]).bundle.folder
    size = Model.load(str(folder)).model_size_bytes
    least = sum((folder / name).stat().st_size for name in bundle.facts["files"])
    assert least < size <= sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_every_uri_leads_to_the_model(registry, logged, bundle, tmp_path):
    run, model = logged
    registry.set_alias("ranker", "first", 1)
    for uri in ("models:/ranker/1", "models:/ranker@first"):
        found = registry.resolve(uri)
        assert (found.name, found.version) == ("ranker", "1")
        assert found.bundle.fingerprint == bundle.fingerprint
    for uri in (model, f"runs:/{run}/model", f"runs:/{run}", str(bundle.folder)):
        assert registry.resolve(uri).bundle.fingerprint == bundle.fingerprint


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("models:/rankr@first", r"no registered model named 'rankr'.*mean `ranker`"),
        ("models:/ranker@frist", r"no such alias; did you mean `models:/ranker@first`"),
        ("models:/ranker/9", r"no such version; did you mean `models:/ranker/1`"),
        ("models:/ranker", r"expected models:/<name>@<alias> or models:/<name>/<version>"),
        ("models:/m-" + "0" * 32, "no such model in sqlite"),
        ("runs:/" + "0" * 32 + "/model", "no such run in sqlite"),
        ("runs:/RUN/modle", "no such model; did you mean `runs:/RUN/model`"),
        ("models:/ranker@", "expected models:/"),
        ("ranker", r"no such folder; did you mean `models:/ranker`"),
    ],
)
def test_a_uri_that_leads_nowhere_names_the_nearest(registry, logged, uri, error):
    registry.set_alias("ranker", "first", 1)
    run = logged[0]
    with pytest.raises(ModelError, match=error.replace("RUN", run)):
        registry.resolve(uri.replace("RUN", run))


def test_a_local_folder_needs_no_store(bundle, tmp_path):
    registry = Registry(f"sqlite:///{tmp_path}/never.db")
    assert registry.resolve(str(bundle.folder)).bundle.fingerprint == bundle.fingerprint
    assert list(tmp_path.iterdir()) == []


def test_a_local_folder_is_found_without_what_serving_does_not_need(bundle):
    """Every start of a worker would wait for it."""
    code = (
        "import sys; from fulcrum.serving.publishing.resolve import resolve;"
        f"print(resolve({str(bundle.folder)!r}, 'sqlite:///never.db').version);"
        "import fulcrum.serving.scoring.files, fulcrum.serving.http.model_service;"
        "import fulcrum.serving.service; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    version, *modules = done.stdout.split()
    assert version == bundle.fingerprint[:12]
    heavy = {"torch", "torchrec", "mlflow", "onnx", "pandas", "scipy", "sklearn", "sqlalchemy"}
    assert {"onnxruntime", "polars"} <= set(modules)
    assert heavy & set(modules) == set()


@pytest.mark.parametrize("uri", ["nowhere", "x" * 5000])
def test_no_folder_and_no_store_are_told_as_the_registry_tells_it(tmp_path, uri):
    store = f"sqlite:///{tmp_path}/never.db"
    with pytest.raises(ModelError) as expected:
        Registry(store).resolve(uri)
    with pytest.raises(ModelError) as told:
        resolve(uri, store)
    assert str(told.value) == str(expected.value)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("sqlite:///none.db", "there is no store sqlite:///none.db"),
        ("sqlite:///no/folder/x.db", "there is no store"),
        ("sqlite:////dev/null/x.db", "there is no store"),
        ("sqlite:///junk.db", "sqlite:///junk.db: the file is no SQLite database"),
        ("sqlite:///folder.db", "Is a directory"),
        ("sqlite:x.db", "MLflow at sqlite:x.db does not work"),
        ("", "the URI of the store is empty; expected sqlite:///FILE"),
        ("./mlruns", "migrate to a database"),
        ("gopher://x", "unsupported URI 'gopher://x'"),
        ("mysql://u@127.0.0.1/x", "MLflow cannot use mysql"),
        ("http://[bad", "Invalid IPv6 URL"),
        ("http://bad url", "Invalid url"),
    ],
)
def test_a_store_that_does_not_work_is_one_sentence(uri, reason, tmp_path, monkeypatch):
    """At once, and nothing is made in the attempt."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "junk.db").write_text("no database")
    (tmp_path / "folder.db").mkdir()
    for ask in (
        lambda: Registry(uri).resolve("models:/ranker@champion"),
        lambda: Registry(uri).resolve("models:/m-" + "0" * 32),
        lambda: Registry(uri).resolve("runs:/" + "0" * 32),
        lambda: Registry(uri).version("models:/ranker/1"),
        lambda: Registry(uri).set_alias("ranker", "champion", 1),
        lambda: Registry(uri).moves("ranker", "champion"),
        lambda: Registry(uri).register("runs:/" + "0" * 32, "ranker"),
    ):
        with pytest.raises(FulcrumError) as caught:
            ask()
        text = str(caught.value)
        assert reason in text and "\n" not in text
    with pytest.raises(ModelError, match=r"^ranker: no such folder$"):
        Registry(uri).resolve("ranker")
    assert {path.name for path in tmp_path.iterdir()} == {"junk.db", "folder.db"}


ODD_NAMES = "100%25 #1?x", "a%20b", "a b", "a#b", "a?b=c", "a&b", "żółć", "[1]", 'a"b', "it's"
ODD_NAMES += "a:b", "a@b", "a+b", "a;b", "a\\b", "$HOME", "~", "%s", "file:"


@pytest.mark.parametrize(
    "name",
    [  # MLflow's default experiment does not bear both quotes at once.
        "".join(ODD_NAMES).replace('"', ""),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ODD_NAMES),
    ],
)
def test_a_folder_may_have_any_name(name, bundle, tmp_path, monkeypatch):
    """Runs, their files, models and their aliases lie in it, with a relative URI and an absolute
    one, and nothing lies beside it."""
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    run = start_run("sqlite:///mlruns.db", "e", "r")
    with MlflowTracker("sqlite:///mlruns.db", run) as tracker:
        tracker.log_text("x", "notes/x.txt")
        tracker.log_tags({FOLDER: folder})
    version = Registry("sqlite:///mlruns.db").register(
        Registry("sqlite:///mlruns.db").log(bundle, run), "ranker"
    )
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{folder}/mlruns.db"
    assert find_run(uri, "r").id == run
    registry = Registry(uri)
    registry.set_alias("ranker", "champion", version)
    for model in ("models:/ranker@champion", "models:/ranker/1", f"runs:/{run}/model"):
        found = registry.resolve(model).bundle
        assert found.fingerprint == bundle.fingerprint
        assert found.folder.is_relative_to(folder / "mlruns")
    [note] = folder.rglob("notes/x.txt")
    assert note.is_relative_to(folder / "mlruns")
    assert list(tmp_path.iterdir()) == [folder]
    assert {path.name for path in folder.iterdir()} == {"mlruns.db", "mlruns"}


def test_a_folder_that_is_no_model_is_refused(registry, tmp_path):
    with pytest.raises(ModelError, match="not a Fulcrum model"):
        registry.resolve(str(tmp_path))


def test_aliases_remember_where_they_were(registry, store, logged, bundle):
    second = registry.log(bundle, new_run(store))
    assert registry.register(second, "history") == 1
    assert registry.register(logged[1], "history") == 2
    for version in (1, 1, 2, 1):
        registry.set_alias("history", "champion", version)
        assert registry.resolve("models:/history@champion").version == str(version)
    registry.set_alias("history", "candidate", 2)
    moves = registry.moves("history", "champion")
    assert [(move.previous, move.version) for move in moves] == [(None, 1), (1, 2), (2, 1)]
    assert [move.time for move in moves] == sorted(move.time for move in moves)
    assert len(registry.moves("history", "candidate")) == 1


def test_a_move_whose_record_was_lost_to_a_kill_is_recorded_by_the_next(registry, store, logged):
    for _ in range(2):
        registry.register(logged[1], "killed")
    registry.set_alias("killed", "champion", 1)
    mlflow.MlflowClient(store).set_registered_model_alias("killed", "champion", "2")
    for _ in range(2):
        registry.set_alias("killed", "champion", 2)
    moves = registry.moves("killed", "champion")
    assert [(move.previous, move.version) for move in moves] == [(None, 1), (1, 2)]


def test_an_alias_needs_a_model_and_a_version(registry, logged):
    with pytest.raises(ModelError, match=r"no registered model named 'ranke'.*mean `ranker`"):
        registry.set_alias("ranke", "champion", 1)
    with pytest.raises(ModelError, match="ranker"):
        registry.set_alias("ranker", "champion", 99)
    assert registry.moves("ranker", "champion") == []


def test_tampering_with_the_store_is_found(registry, store, bundle):
    model = registry.log(bundle, new_run(store))
    graph = registry.resolve(model).bundle.graph
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(StateError, match="damaged"):
        registry.resolve(model)


def test_models_logged_by_others_are_refused(registry, store):
    client = mlflow.MlflowClient(store)
    other = client.create_logged_model(client.get_experiment_by_name("tests").experiment_id)
    with pytest.raises(ModelError):
        registry.resolve(f"models:/{other.model_id}")


@pytest.mark.slow
def test_large_tables_stay_beside_the_graph(registry, store, make_bundle, monkeypatch):
    monkeypatch.setattr("fulcrum.serving.publishing.export.EXTERNAL_BYTES", 100)
    bundle = make_bundle()
    assert "model.onnx.data" in bundle.facts["files"]
    found = registry.resolve(registry.log(bundle, new_run(store))).bundle
    assert found.fingerprint == bundle.fingerprint
    rows = pl.DataFrame(bundle.example)
    assert Scorer(found, "cpu").predict(rows).equals(Scorer(bundle, "cpu").predict(rows))
    assert mlflow.onnx.load_model(str(found.folder)).graph.output


@pytest.mark.slow
def test_the_same_over_a_server(bundle, tmp_path):
    with mlflow_server(tmp_path, free_port()) as server:
        client = mlflow.MlflowClient(server)
        client.create_experiment("tests")
        registry = Registry(server)
        run = new_run(server)
        model = registry.log(bundle, run)
        version = registry.register(f"runs:/{run}/model", "ranker")
        registry.set_alias("ranker", "champion", version)
        cache = tmp_path / "cache"
        found = registry.resolve("models:/ranker@champion", cache)
        assert found.bundle.fingerprint == bundle.fingerprint
        assert found.bundle.folder.parent == cache
        assert (found.bundle.folder / FACTS).is_file()
        assert registry.resolve(model, cache).bundle.folder == found.bundle.folder
        assert Bundle.load(found.bundle.folder).name == "small"
        with pytest.raises(ModelError, match="did you mean `ranker`"):
            registry.resolve("models:/rankers@champion", cache)
