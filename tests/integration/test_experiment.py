"""A test from the models to the verdict: served, killed, started again, analysed."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fulcrum.serving.experiments.exposure_log import read_assignments, read_log

ROOT = Path(__file__).parents[2]
MODEL = """\
name: {name}
data:
  events: events.parquet
  outcomes: [clicked]
  keys: [user]
  split: {{kind: order, valid: 0.1, test: 0.1}}
features:
  user: {{kind: categorical}}
  item: {{kind: categorical}}
  price: {{kind: numeric, transform: log1p}}
tasks:
  click: {{kind: binary, label: clicked}}
model: {{architecture: mmoe, embedding_dim: 4, experts: 2, expert: [8], tower: [4]}}
train: {{seed: {seed}, epochs: 1, batch_size: 256, precision: fp32}}
"""
TEST = """\
name: shop-test
unit: user
traffic: {traffic}
arms:
  control: {{share: 0.5, models: models:/first@candidate}}
  treatment: {{share: 0.5, models: models:/second@candidate}}
outcomes: [click]
analysis:
  metrics:
    click_rate: {{kind: ratio, numerator: click, role: primary}}
    clicks: {{kind: mean, value: click}}
"""
USERS, VISITS = 4000, 5
PLANTED = 0.08
"""What the treatment adds to everybody's click rate."""
CLIENTS = 4
BATCH = 50
"""Outcomes of one request."""


def make_events():
    random = np.random.default_rng(0)
    item = random.integers(0, 50, 4000)
    return pl.DataFrame(
        {
            "user": random.integers(0, USERS, 4000),
            "item": item,
            "price": random.exponential(20, 4000),
            "clicked": random.random(4000) < 0.2 + 0.4 * (item % 2),
        }
    )


def start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "fulcrum", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fulcrum(folder, *arguments):
    process = start(folder, *arguments)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    return stdout


@dataclass
class Server:
    """`fulcrum serve` in its own process, on one port over all its lives."""

    folder: Path
    port: int
    process: subprocess.Popen = field(init=False)

    def start(self, traffic):
        (self.folder / "test.yaml").write_text(TEST.format(traffic=traffic))
        self.process = start(
            *(self.folder, "serve", "--experiment", "test.yaml", "--log", "log"),
            *("--port", self.port, "--device", "cpu"),
        )

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        _, stderr = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, stderr


@dataclass
class Client(threading.Thread):
    """Some of the users: each request is sent until it is answered, always under its own id."""

    number: int
    port: int
    answers: dict[str, dict] = field(default_factory=dict)
    clicks: dict[str, float] = field(default_factory=dict)
    retries: int = 0

    def __post_init__(self):
        super().__init__(daemon=True)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    __hash__ = threading.Thread.__hash__

    def run(self):
        waiting = []
        for visit in range(VISITS):
            for user in range(self.number, USERS, CLIENTS):
                chance = np.random.default_rng([user, visit])
                name = f"{user}-{visit}"
                row = {"user": user, "item": int(chance.integers(60)), "price": chance.random()}
                [answer] = self.send("/score", {"request": name, "rows": [row]})["scores"]
                self.answers[name] = answer
                if answer["arm"] is None:
                    continue
                base = 0.6 * np.random.default_rng(user).beta(2, 4)
                click = chance.random() < base + PLANTED * (answer["arm"] == "treatment")
                self.clicks[name] = float(click)
                waiting.append({"request": name, "row": 0, "click": int(click)})
                if len(waiting) == BATCH:
                    self.send("/outcomes", {"outcomes": waiting})
                    waiting = []
        self.send("/outcomes", {"outcomes": waiting})

    def send(self, path, body):
        while True:
            try:
                self.connection.request(
                    "POST", path, json.dumps(body), {"content-type": "application/json"}
                )
                response = self.connection.getresponse()
                answer = json.loads(response.read())
                if response.status == 200:
                    return answer
                assert response.status == 503, answer
            except (OSError, http.client.HTTPException):
                self.connection.close()
            self.retries += 1
            time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_served_test_that_is_killed_twice_loses_nothing_and_finds_what_was_planted(tmp_path):
    make_events().write_parquet(tmp_path / "events.parquet")
    for seed, name in enumerate(("first", "second")):
        (tmp_path / f"{name}.yaml").write_text(MODEL.format(name=name, seed=seed))
        fulcrum(tmp_path, "train", f"{name}.yaml")

    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    server = Server(tmp_path, port)
    server.start(traffic=0.5)
    clients = [Client(number, port) for number in range(CLIENTS)]
    try:
        for client in clients:
            client.start()
        for part, traffic in ((0.3, 0.5), (0.6, 1.0)):
            while sum(len(client.answers) for client in clients) < part * USERS * VISITS:
                assert server.process.poll() is None, server.process.stderr.read()
                assert all(client.is_alive() for client in clients)
                time.sleep(0.02)
            server.kill()
            server.start(traffic)
        for client in clients:
            client.join()
        server.stop()
    finally:
        server.process.kill()

    answers = {name: answer for client in clients for name, answer in client.answers.items()}
    clicks = {name: click for client in clients for name, click in client.clicks.items()}
    assert len(answers) == USERS * VISITS == 20_000
    assert sum(client.retries for client in clients) >= 2 * CLIENTS

    check_rows(tmp_path / "log", answers, clicks)
    check_arms(tmp_path / "log", answers)
    analyse(tmp_path)


def check_rows(log, answers, clicks):
    """Every answered row of the test is there once, as it was answered, with its outcome."""
    rows = read_log(log).collect()
    raw = pl.read_parquet(log / "exposures" / "*.parquet")
    assert rows.height == raw.height
    logged = {
        row["request"]: (row["arm"], row["model"], row["version"], row["score.click"], row["click"])
        for row in rows.iter_rows(named=True)
    }
    assert len(logged) == rows.height
    assert logged == {
        name: (answer["arm"], answer["model"], answer["version"], answer["click"], clicks[name])
        for name, answer in answers.items()
        if answer["arm"] is not None
    }
    assert rows["user"].cast(pl.String).to_list() == rows["unit"].to_list()
    models = set(rows.select("arm", "model").iter_rows())
    assert models == {("control", "first"), ("treatment", "second")}


def check_arms(log, answers):
    """The ramp-up brought users in and moved none."""
    seen = {}
    for name, answer in answers.items():
        user, visit = name.split("-")
        seen.setdefault(user, []).append((int(visit), answer["arm"]))
    came_late = 0
    for visits in seen.values():
        arms = [arm for _, arm in sorted(visits)]
        inside = [arm for arm in arms if arm is not None]
        assert len(set(inside)) == 1
        assert arms == [None] * (len(arms) - len(inside)) + inside
        came_late += len(inside) < len(arms)
    assert 0.4 < came_late / USERS < 0.6
    assigned = read_assignments(log).collect()
    assert assigned.height == pl.read_parquet(log / "assignments" / "*.parquet").height == USERS
    assert {(row["unit"], row["arm"]) for row in assigned.iter_rows(named=True)} == {
        (user, sorted(visits)[-1][1]) for user, visits in seen.items()
    }


def analyse(folder):
    fulcrum(folder, "ab", "analyze", "log", "--experiment", "test.yaml", "--output", "report")
    facts = json.loads((folder / "report" / "analysis.json").read_text())
    assert not facts["withheld"]
    [ratio] = [check for check in facts["checks"] if check["name"] == "sample ratio"]
    assert ratio["holds"]
    assert ratio["numbers"]["p_value"] > 0.001
    found = {metric["name"]: metric["effects"][0] for metric in facts["metrics"]}
    effect = found["click_rate"]["raw"]
    assert effect["low"] < PLANTED < effect["high"]
    assert found["click_rate"]["verdict"] == "better"
    assert facts["decision"] == "ship"
    assert facts["headline"].startswith("treatment: ship. click_rate is better by ")
