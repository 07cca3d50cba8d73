"""Files to files: complete or absent, resumed, bounded, and equal to scoring in one go."""

import os
import resource
import subprocess
import sys
import tempfile

import polars as pl
import pyarrow.parquet as pq
import pytest

from fulcrum.features.errors import DataError, ResourceError, StateError
from fulcrum.features.files.source import scan
from fulcrum.serving.scoring import slices
from fulcrum.serving.scoring.files import score_files
from fulcrum.serving.scoring.scorer import Scorer
from tests.serving.conftest import make_log
from tests.serving.scoring.test_scorer import difference

SCORE = """
import os, signal, sys
from pathlib import Path
from fulcrum.serving.scoring import slices
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.scoring.files import score_files
slices.SLICE_ROWS = 40
folder, inputs, output, history, die_after = sys.argv[1:]
seen = 0
def progress(file, rows):
    global seen
    seen += 1
    if seen == int(die_after):
        os.kill(os.getpid(), signal.SIGKILL)
score_files(Bundle.load(Path(folder)), inputs, Path(output), history=history, device="cpu",
            progress=progress)
"""


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
    monkeypatch.setattr(slices, "SLICE_ROWS", 40)


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    for i in range(3):
        rows = make_log(100, seed=20 + i).with_columns(pl.col("user_id") + i)
        rows.write_parquet(folder / f"part{i}.parquet", row_group_size=30)
    return folder


@pytest.fixture
def past(log, tmp_path):
    log.write_parquet(tmp_path / "past.parquet")
    return tmp_path / "past.parquet"


@pytest.fixture
def unbroken(bundle, inputs, past, tmp_path):
    """Contents of the files of a run that nothing stops."""
    output = tmp_path / "unbroken"
    score_files(bundle, str(inputs), output, history=str(past), device="cpu")
    return contents(output)


@pytest.fixture
def score_until(bundle, inputs, past, tmp_path):
    """Scores into `killed` in a process that kills itself after so many slices, or never after 0;
    gives its exit status."""

    def score(die_after):
        arguments = [bundle.folder, inputs, tmp_path / "killed", past, die_after]
        command = [sys.executable, "-c", SCORE, *map(str, arguments)]
        # What a kill leaves there goes with the test.
        return subprocess.run(command, env={**os.environ, "TMPDIR": str(tmp_path)}).returncode

    return score


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_file_is_scored_in_its_own_order(bundle, log, inputs, past, tmp_path):
    seen = []
    report = score_files(
        bundle,
        str(inputs / "*.parquet"),
        tmp_path / "scores",
        history=str(past),
        device="cpu",
        progress=lambda file, rows: seen.append((file.name, rows)),
    )
    assert (report.files, report.skipped, report.rows) == (3, 0, 300)
    assert seen == [(f"part{i}.parquet", rows) for i in range(3) for rows in (40, 80, 100)]
    unknown = 0
    for i in range(3):
        scorer = Scorer(bundle, "cpu")
        expected = scorer.score(pl.read_parquet(inputs / f"part{i}.parquet"), log.lazy())
        found = pl.read_parquet(tmp_path / "scores" / f"part{i}.parquet")
        assert found.schema == expected.schema
        assert found[:, :3].equals(expected[:, :3])
        assert difference(expected, found) < 1e-5
        unknown += scorer.unknown["user"]
    assert report.unknown["user"] == unknown > 0


def test_a_killed_run_goes_on_where_it_stopped(unbroken, score_until, tmp_path):
    assert score_until(5) == -9
    left = {path.name for path in (tmp_path / "killed").iterdir()}
    assert left == {"part0.parquet", ".part1.parquet.partial"}
    first = (tmp_path / "killed" / "part0.parquet").stat().st_mtime_ns
    assert score_until(0) == 0
    assert (tmp_path / "killed" / "part0.parquet").stat().st_mtime_ns == first
    assert contents(tmp_path / "killed") == unbroken


@pytest.mark.slow
def test_ten_kills_anywhere_leave_nothing_but_whole_files(unbroken, score_until, tmp_path):
    """Killed after the first to the fourth slice of what was left, ten times, then let go on."""
    for die_after in (1, 2, 3, 4, 1, 2, 3, 4, 1, 3):
        assert score_until(die_after) == -9
        left = contents(tmp_path / "killed")
        partial = {name for name in left if name.endswith(".partial")}
        assert len(partial) == 1
        assert {name: left[name] for name in left.keys() - partial} == {
            name: unbroken[name] for name in left.keys() - partial
        }
    assert score_until(0) == 0
    assert contents(tmp_path / "killed") == unbroken


def test_two_runs_never_write_one_file(bundle, inputs, tmp_path):
    """The second begins when the first is in the middle of a file, and again when it is done."""
    output, words = tmp_path / "scores", []

    def begin_a_second(file, rows):
        if file.name == "part1.parquet" and rows == 80:
            with pytest.raises(ResourceError) as refused:
                score_files(bundle, str(inputs), output, device="cpu")
            words.append(str(refused.value))

    report = score_files(
        bundle, str(inputs), output, device="cpu", progress=begin_a_second, batch_size=64
    )
    assert words == [f"{output}/part1.parquet: another run is scoring it; wait until it is done"]
    assert report.rows == 300
    again = score_files(bundle, str(inputs), output, device="cpu")
    assert (again.skipped, again.rows) == (3, 300)
    score_files(bundle, str(inputs), tmp_path / "alone", device="cpu", batch_size=64)
    assert contents(output) == contents(tmp_path / "alone")


def test_a_file_that_another_run_has_finished_meanwhile_is_kept(
    bundle, other_bundle, inputs, tmp_path
):
    output, times = tmp_path / "scores", []

    def finish_the_rest(file, rows):
        if file.name == "part0.parquet" and rows == 40:
            for name in ("part1", "part2"):
                score_files(bundle, str(inputs / f"{name}.parquet"), output, device="cpu")
            times.append([path.stat().st_mtime_ns for path in sorted(output.glob("*.parquet"))])

    assert (
        score_files(bundle, str(inputs), output, device="cpu", progress=finish_the_rest).files == 3
    )
    assert [path.stat().st_mtime_ns for path in sorted(output.glob("*.parquet"))][1:] == times[0]

    def by_another_model(file, rows):
        if file.name == "part0.parquet" and rows == 40:
            score_files(other_bundle, str(inputs / "part1.parquet"), mixed, device="cpu")

    mixed = tmp_path / "mixed"
    with pytest.raises(StateError, match=r"part1\.parquet: made from another model"):
        score_files(bundle, str(inputs), mixed, device="cpu", progress=by_another_model)
    assert sorted(contents(mixed)) == ["part0.parquet", "part1.parquet"]


def test_finished_files_are_not_made_again(bundle, inputs, tmp_path):
    first = score_files(bundle, str(inputs), tmp_path / "scores", device="cpu")
    before = contents(tmp_path / "scores")
    (tmp_path / "scores" / "part1.parquet").unlink()
    again = score_files(bundle, str(inputs), tmp_path / "scores", device="cpu")
    assert (again.files, again.skipped) == (3, 2)
    assert (again.rows, again.unknown) == (first.rows, first.unknown)
    assert contents(tmp_path / "scores") == before


def test_files_made_otherwise_are_refused_untouched(bundle, inputs, past, tmp_path, other_bundle):
    output = tmp_path / "scores"
    score_files(bundle, str(inputs), output, device="cpu")
    before = contents(output)
    with pytest.raises(StateError, match=r"part0\.parquet: made from another model"):
        score_files(other_bundle, str(inputs), output, device="cpu")
    with pytest.raises(StateError, match="another history"):
        score_files(bundle, str(inputs), output, history=str(past), device="cpu")
    make_log(10).write_parquet(inputs / "part2.parquet")
    with pytest.raises(StateError, match=r"part2\.parquet: made from another input file"):
        score_files(bundle, str(inputs), output, device="cpu")
    (output / "part2.parquet").write_text("mine")
    with pytest.raises(StateError, match=r"part2\.parquet: not scores by Fulcrum"):
        score_files(bundle, str(inputs), output, device="cpu")
    before["part2.parquet"] = b"mine"
    assert contents(output) == before


def test_files_keep_their_place_below_the_output(bundle, tmp_path):
    log = make_log(50, seed=30)
    for part in ("day=1", "day=2"):
        (tmp_path / "logs" / part).mkdir(parents=True)
        log.write_parquet(tmp_path / "logs" / part / "log.parquet")
    report = score_files(bundle, str(tmp_path / "logs"), tmp_path / "scores", device="cpu")
    assert (report.files, report.rows) == (2, 100)
    found = pl.read_parquet(tmp_path / "scores" / "day=2" / "log.parquet")
    assert difference(Scorer(bundle, "cpu").score(log), found) < 1e-5


def test_csv_comes_in_slices_too(tmp_path):
    log = make_log(100, seed=31).drop("tags")
    log.write_csv(tmp_path / "log.csv")
    log.head(0).write_csv(tmp_path / "none.csv")
    source = scan([str(tmp_path / f"{name}.csv") for name in ("log", "none")])
    rows, none = source.parts.values()
    columns = ["video_id", "duration_s"]
    parts = list(slices.slices(rows, tmp_path / "log.csv", columns, "--input"))
    assert [part.height for part in parts] == [40, 40, 20]
    assert pl.concat(parts).equals(log.select("video_id", "duration_s"))
    (empty,) = slices.slices(none, tmp_path / "none.csv", ["video_id"], "--input")
    assert (empty.height, empty.columns) == (0, ["video_id"])


def test_a_file_without_rows_gives_one_without_scores(bundle, inputs, tmp_path):
    make_log(1).head(0).write_parquet(inputs / "part3.parquet")
    assert score_files(bundle, str(inputs), tmp_path / "scores", device="cpu").rows == 300
    empty = pl.read_parquet(tmp_path / "scores" / "part3.parquet")
    assert empty.schema == pl.read_parquet(tmp_path / "scores" / "part0.parquet").schema
    assert empty.height == 0
    with pytest.raises(DataError, match="no rows"):
        score_files(bundle, str(inputs / "part3.parquet"), tmp_path / "scores", device="cpu")


def test_bad_inputs_leave_nothing(bundle, inputs, tmp_path):
    output = tmp_path / "scores"

    def fails(match, paths=str(inputs), **options):
        with pytest.raises(DataError, match=match):
            score_files(bundle, paths, output, device="cpu", **options)

    fails("matches", str(tmp_path / "*.parquet"))
    fails("no file", str(tmp_path / "nothing.parquet"))
    fails("no file", history=str(tmp_path / "nothing.parquet"))
    make_log(10).drop("long_view").write_parquet(tmp_path / "past.parquet")
    fails("--history have no column `long_view`", history=str(tmp_path / "past.parquet"))
    make_log(10).drop("video_id").write_parquet(tmp_path / "no.parquet")
    fails("--input have no column `video_id`", str(tmp_path / "no.parquet"))
    make_log(10).drop("time_ms").write_parquet(tmp_path / "no.parquet")
    fails("no column `time_ms`", str(tmp_path / "no.parquet"))
    make_log(10).with_columns(user_id=pl.lit("x")).write_parquet(inputs / "part3.parquet")
    fails(r"part3\.parquet: column `user_id` holds 'x'; expected whole numbers")
    assert not output.exists()


def test_a_damaged_file_keeps_what_was_done(bundle, inputs, tmp_path):
    data = bytearray((inputs / "part1.parquet").read_bytes())
    data[200:900] = b"\0" * 700
    (inputs / "part1.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"part1\.parquet cannot be read"):
        score_files(bundle, str(inputs), tmp_path / "scores", device="cpu")
    assert list(contents(tmp_path / "scores")) == ["part0.parquet"]
    (inputs / "part1.parquet").write_bytes(data[:400])
    with pytest.raises(DataError, match=r"part1\.parquet cannot be read"):
        score_files(bundle, str(inputs), tmp_path / "scores", device="cpu")


def test_scores_never_replace_their_input_or_each_other(bundle, inputs):
    before = contents(inputs)
    with pytest.raises(DataError, match="would replace their own input"):
        score_files(bundle, str(inputs), inputs, device="cpu")
    pl.read_parquet(inputs / "part0.parquet").drop("tags").write_csv(inputs / "part0.csv")
    with pytest.raises(DataError):
        score_files(bundle, [str(inputs)], inputs.parent / "scores", device="cpu")
    (inputs / "part0.csv").unlink()
    assert contents(inputs) == before


def test_a_full_disk_leaves_earlier_files(bundle, inputs, tmp_path):
    make_log(5000, seed=40).write_parquet(inputs / "part1.parquet")
    output = tmp_path / "scores"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(ResourceError, match=r"part1\.parquet: no space left"):
            score_files(bundle, str(inputs), output, device="cpu")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(contents(output)) == ["part0.parquet"]
    assert score_files(bundle, str(inputs), output, device="cpu").skipped == 1


def test_the_note_says_what_made_a_file(bundle, inputs, tmp_path):
    score_files(bundle, str(inputs / "part0.parquet"), tmp_path / "scores", device="cpu")
    metadata = pq.read_metadata(tmp_path / "scores" / "part0.parquet").metadata
    assert bundle.fingerprint.encode() in metadata[b"fulcrum"]


def test_a_long_history_is_sorted_on_disk_with_the_same_result(
    bundle, inputs, past, tmp_path, monkeypatch
):
    options = {"history": str(past), "device": "cpu"}
    score_files(bundle, str(inputs), tmp_path / "memory", **options)
    monkeypatch.setattr("fulcrum.serving.scoring.history.EVENTS_IN_MEMORY", 150)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    during = []
    score_files(
        *(bundle, str(inputs), tmp_path / "disk"),
        progress=lambda *_: during.append(len(list(tmp_path.glob("fulcrum-history-*/*")))),
        **options,
    )
    assert contents(tmp_path / "disk") == contents(tmp_path / "memory")
    assert min(during) > 0
    assert not list(tmp_path.glob("fulcrum-history-*"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_input(bundle, past, tmp_path):
    peaks = []
    for rows in (400_000, 1_600_000):
        part = make_log(100_000)
        pl.concat([part] * (rows // 100_000)).write_parquet(
            tmp_path / "big.parquet", row_group_size=100_000
        )
        code = (
            "import resource\n"
            + SCORE.replace("slices.SLICE_ROWS = 40\n", "")
            + "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
        )
        arguments = [bundle.folder, tmp_path / "big.parquet", tmp_path / str(rows), past, 0]
        ran = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
        )
        peaks.append(int(ran.stdout))
    assert peaks[1] < 1.2 * peaks[0], peaks
