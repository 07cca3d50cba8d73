import os
from pathlib import Path

import pytest

from fulcrum.features import staging
from fulcrum.features.errors import ResourceError
from fulcrum.features.staging import staged


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with staged(tmp_path / "made" / "a") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "made" / "a").exists()
    assert [f.name for f in (tmp_path / "made" / "a").iterdir()] == ["file"]
    assert os.listdir(tmp_path / "made") == ["a"]


def test_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(KeyError), staged(tmp_path / "a") as folder:
        (folder / "file").write_text("x")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_the_first_to_finish_wins(tmp_path: Path) -> None:
    with staged(tmp_path / "a") as slow:
        (slow / "who").write_text("slow")
        with staged(tmp_path / "a") as fast:
            (fast / "who").write_text("fast")
    assert (tmp_path / "a" / "who").read_text() == "fast"
    assert os.listdir(tmp_path) == ["a"]


def test_what_a_dead_process_left_is_swept_and_a_live_one_s_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_YOUNG", -1)
    dead = tmp_path / ".unfinished-a-0000"
    dead.mkdir()
    (dead / "lock").touch()
    with staged(tmp_path / "a") as live:
        assert not dead.exists()
        with staged(tmp_path / "b"):
            assert live.exists()


@pytest.mark.parametrize("error", [OSError(28, "No space left"), OSError(27, "File too large")])
def test_a_full_disk_is_told(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(ResourceError, match="no space left"), staged(tmp_path / "a"):
        raise error
    assert os.listdir(tmp_path) == []


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), staged(tmp_path / "a"):
        raise FileNotFoundError(2, "No such file")
