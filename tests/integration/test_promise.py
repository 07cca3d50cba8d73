"""For the same rows and the same past, training, batch scorer and service agree."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.training.predict import evaluate, to_frame
from fulcrum.pipelines.training.trainer import read_result
from tests.integration.shop import make_events

ROOT = Path(__file__).parents[2]
OUTCOMES = ["clicked", "paid", "verdict"]
SCORES = ["click", "buy", "spend", "verdict.bad", "verdict.fine", "verdict.good"]
TYPES = {"at": "INT64", "user": "INT64", "item": "INT64", "device": "BYTES", "speed": "FP64"}


def test_training_batch_scorer_and_service_agree(shop, fulcrum):
    trained = scores_of_training(shop)
    rows = make_events().filter(pl.col("row").is_in(trained["row"].to_list()))
    check_that_it_is_hard(rows)

    done = fulcrum(
        *("score", "--model", "models:/shop/1", "--input", "events.parquet"),
        *("--history", "events.parquet", "--output", "scores"),
    )
    assert done.code == 0, done.stderr
    agree(trained, pl.read_parquet("scores/events.parquet"))

    with serving("--model", "models:/shop@candidate", "--history", "events.parquet") as url:
        asked = json.loads(rows.drop(OUTCOMES).write_json())
        answer = post(f"{url}/score", {"rows": asked})
        agree(trained, pl.DataFrame(answer["scores"]))

        answer = post(f"{url}/v2/models/shop/infer", {"inputs": as_tensors(rows)})
        found = {tensor["name"]: tensor["data"] for tensor in answer["outputs"]}
        agree(trained, pl.DataFrame(found).with_columns(row=rows["row"]))

    blind = fulcrum(
        *("score", "--model", "models:/shop/1", "--input", "events.parquet", "--output", "blind")
    )
    assert blind.code == 0
    assert apart(trained, pl.read_parquet("blind/events.parquet")) > 1e-3, (
        "the past changes nothing"
    )


def scores_of_training(shop: Path) -> pl.DataFrame:
    """What the torch network, with its best weights, makes of the prepared test split."""
    [folder] = shop.glob(".fulcrum/runs/*")
    [prepared] = shop.glob(".fulcrum/prepared/*")
    dataset = PreparedDataset.open(prepared)
    checkpoint = read_result(folder / "checkpoints").checkpoint
    predictions = evaluate(load(folder / "config.yaml"), dataset, checkpoint, "test")
    return to_frame(predictions, dataset, "test").select("row", *SCORES)


def check_that_it_is_hard(rows: pl.DataFrame) -> None:
    events = make_events()
    boundary = rows["at"].min()
    earlier = events.filter(pl.col("at") < boundary)
    assert rows["at"].n_unique() < rows.height / 4, "tied times"
    for name in ("user", "item"):
        new = rows.filter(~pl.col(name).is_in(earlier[name].drop_nulls().to_list()))
        assert new.height > 10, f"unknown {name}"
    first = events.group_by("user").agg(first=pl.col("at").min())
    without_past = rows.join(first, on="user").filter(pl.col("at") == pl.col("first"))
    assert without_past.height > 2, "users without any past"
    assert all(rows[name].null_count() for name in ("user", "item", "device", "speed"))
    assert rows.filter(pl.col("item") >= 25).height > 10, "items in no side table"


def agree(expected: pl.DataFrame, found: pl.DataFrame) -> None:
    assert apart(expected, found) < 1e-5


def apart(expected: pl.DataFrame, found: pl.DataFrame) -> float:
    """The largest difference over all rows and scores; relative to values above 1."""
    both = expected.join(found, on="row", how="left", maintain_order="left", validate="1:1")
    ours = both.select(SCORES).to_numpy()
    theirs = both.select(f"{name}_right" for name in SCORES).to_numpy()
    return float(np.max(np.abs(ours - theirs) / np.maximum(1.0, np.abs(ours))))


def as_tensors(rows: pl.DataFrame) -> list[dict]:
    shape = [rows.height]
    return [
        {"name": name, "datatype": datatype, "shape": shape, "data": rows[name].to_list()}
        for name, datatype in TYPES.items()
    ]


@contextmanager
def serving(*options: str, fulcrum=(sys.executable, "-m", "fulcrum"), path=ROOT):
    """A service in its own process, on a port that the system picks; gives its address."""
    command = [*fulcrum, "serve", "--port", str(free_port()), *options]
    environment = {**os.environ, "PYTHONPATH": str(path)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        said = iter(process.stderr.readline, "")
        url = next(filter(None, (re.search(r"http://\S+", line) for line in said)))[0]
        deadline = time.monotonic() + 60
        while not ready(url):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline, "not ready after a minute"
            time.sleep(0.1)
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def post(url: str, body: dict) -> dict:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]
