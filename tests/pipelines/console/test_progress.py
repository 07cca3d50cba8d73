import io
import logging

import pytest
from rich.console import Console

from fulcrum.pipelines.console import progress as module
from fulcrum.pipelines.console.progress import (
    PlainProgress,
    RichProgress,
    SilentProgress,
    for_console,
)

METRICS = {"auc": 0.8125, "log_loss": None, "auc/click": 0.75, "log_loss/click": 0.5}


def test_a_terminal_gets_a_bar_and_a_file_gets_lines() -> None:
    assert isinstance(for_console(Console(file=io.StringIO(), force_terminal=True)), RichProgress)
    assert isinstance(for_console(Console(file=io.StringIO())), PlainProgress)


def test_the_bar_shows_steps_loss_and_speed() -> None:
    out = io.StringIO()
    with RichProgress(Console(file=out, force_terminal=True, width=120)) as progress:
        progress.advance(20, 100, 0.51234, 12345.6)
        progress.evaluated(20, METRICS)
    text = out.getvalue()
    assert "20/100" in text
    assert "0.5123" in text
    assert "12,346 rows/s" in text
    assert "auc 0.8125" in text
    assert "log_loss -" in text


def test_lines_come_now_and_then_and_at_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    with (
        caplog.at_level(logging.INFO, "fulcrum.pipelines.console.progress"),
        PlainProgress() as progress,
    ):
        for step in range(20, 120, 20):
            progress.advance(step, 100, 0.5, 1000.0)
        progress.evaluated(100, METRICS)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("step 60 of 100, loss 0.5000, 1,000 rows/s, 8 s left")
    assert [line.split(",")[0] for line in lines] == [
        "step 60 of 100",
        "step 100 of 100",
        "step 100",
    ]
    assert "auc/click 0.7500" in lines[-1]


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with SilentProgress() as progress:
        progress.advance(1, 2, 0.5, 1.0)
        progress.evaluated(1, METRICS)
    assert capsys.readouterr() == ("", "")
