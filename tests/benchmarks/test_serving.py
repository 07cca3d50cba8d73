"""What the figures of a service are made of; `python -m benchmarks.serving` takes minutes."""

import json

import pytest

from benchmarks import serving
from benchmarks.load import Answers
from benchmarks.serving import Run, requests, tell
from benchmarks.shipped import FEEDBACK, ROOT
from fulcrum.pipelines.config.load import load


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_shipped_model_answers_under_load(tmp_path):
    figures = serving.figures(FEEDBACK, tmp_path, seconds=1)
    assert len(figures) == 5 * len(serving.ROWS)
    assert all(", 0 errors, " in figure.spread for figure in figures[3::5])


def answers(latencies: list[float], errors: int = 0) -> Answers:
    return Answers(seconds=10, latencies=latencies, errors=errors)


def test_each_figure_stands_beside_its_aim():
    latencies = [0.006] * 98 + [0.048] * 2
    run = Run(
        rows=200,
        alone=answers([0.005] * 3),
        most=answers([0.02] * 400, errors=1),
        open=answers(latencies, errors=2),
        most_cpu=1 / 90,
        open_cpu=0.012,
        elsewhere=0.5,
        stages={"parse": 0.25, "graph": 0.75},
    )
    p50, p99, per_core, asked, shares = tell("shop", run)
    assert p50.what == "shop, 200 rows, p50"
    assert (p50.ratio, p50.missed) == (pytest.approx(12 / 6), False)
    assert (p99.ratio, p99.missed) == (pytest.approx(3 * 6 / 48), True)
    assert per_core.ratio == pytest.approx(90 / 60)
    assert "39.9 requests/s" in per_core.spread
    assert asked.measured == "9.8 requests/s, 1,960 rows/s"
    assert asked.spread == "12.0 CPU ms each, 3 errors, 0.5 cores busy elsewhere"
    assert shares.measured == "parse 25%, graph 75%"


def test_a_size_without_aims_has_figures_all_the_same():
    good = answers([0.1])
    p50, p99, per_core, *_, shares = tell("shop", Run(50, good, good, good, 0.1, 0.1, 0, {}))
    assert p50.ratio is p99.ratio is per_core.ratio is None
    assert shares.measured == "n/a"


def test_a_request_is_one_user_at_one_time_with_different_candidates():
    run = load(ROOT / FEEDBACK)
    columns = ["user_id", "video_id", "time_ms", "duration_ms"]
    messages = requests(run, columns, 50)
    assert len(set(messages)) == serving.BODIES
    for message in messages:
        head, body = message.split(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head
        rows = json.loads(body)["rows"]
        assert len(rows) == 50
        assert [list(row) for row in rows] == [columns] * 50
        assert len({(row["user_id"], row["time_ms"]) for row in rows}) == 1
        assert len({row["video_id"] for row in rows}) > 25


def test_stages_are_read_from_the_counters_of_all_workers(monkeypatch):
    text = """\
# TYPE fulcrum_stage_seconds counter
fulcrum_stage_seconds_total{stage="parse"} 0.5
fulcrum_stage_seconds_total{stage="graph",worker="1"} 1.5
fulcrum_stage_seconds_total{worker="2",stage="graph"} 2.0e0
fulcrum_rows_total 7.0
"""
    monkeypatch.setattr(serving, "fetch", lambda port, path: text.encode())
    assert serving.stage_seconds(1) == {
        "parse": 0.5,
        "past": 0,
        "encode": 0,
        "graph": 1.5 + 2.0,
        "answer": 0,
    }
    monkeypatch.setattr(serving, "fetch", lambda port, path: b"fulcrum_rows_total 7.0\n")
    assert serving.stage_seconds(1) == {}
