"""Every odd log of `odd_logs`, from its files to its served scores."""

from pathlib import Path

import pytest

from tests.integration.odd_logs import FOLDER, LOGS, Log, happened


@pytest.mark.parametrize(
    "log",
    [pytest.param(log, id=log.name, marks=[] if log.refused else pytest.mark.slow) for log in LOGS],
)
def test_a_log_is_right_to_the_served_score_or_refused(log: Log, tmp_path: Path) -> None:
    assert happened(log, tmp_path / FOLDER).startswith("refused" if log.refused else "right")
    assert list(tmp_path.iterdir()) == [tmp_path / FOLDER]
