"""A service of an experiment with two small models, called without a socket."""

from contextlib import closing, contextmanager

import onnx
import polars as pl
import pytest

from fulcrum.serving.bundle.bundle import write_bundle
from fulcrum.serving.experiments.assignment import assign
from fulcrum.serving.experiments.service import ExperimentService
from fulcrum.serving.http.app import app
from tests.serving.conftest import make_log
from tests.serving.small_experiments import CHALLENGER, CHAMPION, Shelf, Visitor, experiment
from tests.serving.test_service import as_events, as_rows

ROW = as_rows(make_log(1, seed=9))[0]
EVENT = as_events(make_log(1, seed=9))[0]


@pytest.fixture(scope="session")
def second(bundle, log, tmp_path_factory):
    """Other weights, made without an export."""

    def write_graph(path):
        graph = onnx.load(str(bundle.graph))
        for weights in graph.graph.initializer:
            if weights.data_type == onnx.TensorProto.FLOAT and len(weights.dims) == 2:
                values = 1.5 * onnx.numpy_helper.to_array(weights)
                weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
        onnx.save(graph, str(path))
        return {"parity": {}}

    return write_bundle(
        tmp_path_factory.mktemp("second") / "model",
        state=bundle.state,
        config={"name": "second", "serving": {}},
        config_fingerprint="second",
        example=log.head(1),
        write_graph=write_graph,
    )


@pytest.fixture
def shelf(bundle, second):
    shelf = Shelf()
    shelf.put(CHAMPION, bundle, "3")
    shelf.put(CHALLENGER, second, "7")
    return shelf


@contextmanager
def visiting(folder, config, shelf):
    with closing(ExperimentService(config, shelf, folder, "cpu")) as service:
        service.open()
        client = Visitor(app(service))
        client.service, client.folder = service, folder
        yield client


@pytest.fixture
def client(tmp_path, shelf):
    with visiting(tmp_path / "log", experiment(), shelf) as client:
        yield client


def arms_of(users, config):
    units = pl.DataFrame({"unit": [str(user) for user in users]})
    return units.select(assign(pl.col("unit"), config)).to_series().to_list()


def metrics(client):
    lines = client.get("/metrics").text.splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if line[0] != "#")
