"""Scores from CUDA against scores from the CPU."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from benchmarks.logs import Size, make_run, write_logs
from benchmarks.scoring import make_bundle, make_weights
from fulcrum.features.prepared.prepare import prepare
from fulcrum.pipelines.__main__ import app
from fulcrum.serving.scoring.scorer import Scorer

pytestmark = pytest.mark.gpu

SMALL = Size(rows=2048, values=200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    write_logs(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def bundle(folder):
    run = make_run(folder, SMALL, looking_back=True)
    dataset = prepare(run, folder / "workspace")
    return make_bundle(folder / "model", run, dataset, make_weights(run, dataset))


def test_cuda_agrees_with_the_cpu(folder, bundle):
    logs = pl.read_parquet(folder / "logs.parquet")
    scores = {}
    for device in ("cpu", "cuda"):
        scorer = Scorer(bundle, device, batch_size=300)
        assert scorer.device == device
        scores[device] = scorer.score(logs, logs.lazy()).to_numpy()
    assert np.abs(scores["cuda"] - scores["cpu"]).max() <= 1e-5


def test_ids_out_of_range_are_unknown_on_the_card_too(folder, bundle):
    logs = pl.read_parquet(folder / "logs.parquet").head(64)
    strange = logs.with_columns(pl.lit(10**9).alias("id_01"))
    scores = [Scorer(bundle, device).score(strange) for device in ("cpu", "cuda")]
    assert_frame_equal(*scores, abs_tol=1e-5)


def test_the_command_takes_the_device(folder, bundle, tmp_path):
    for device in ("cpu", "cuda"):
        arguments = ["--model", str(bundle.folder), "--input", str(folder / "logs.parquet")]
        arguments += ["--history", str(folder / "logs.parquet"), "--device", device]
        app(["score", *arguments, "--output", str(tmp_path / device)], standalone_mode=False)
    scores = [pl.read_parquet(tmp_path / device / "logs.parquet") for device in ("cpu", "cuda")]
    assert_frame_equal(*scores, abs_tol=1e-5)
