"""Lines of typed rows: what goes in comes out, a torn end is dropped, damage is said."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime, time

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fulcrum.features.errors import ResourceError, StateError
from fulcrum.serving.experiments.journal import Journal, read

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TYPES = {
    pl.Int64(): st.integers(-(2**63), 2**63 - 1),
    pl.UInt64(): st.integers(0, 2**64 - 1),
    pl.Int8(): st.integers(-128, 127),
    pl.Float64(): FLOATS,
    pl.Float32(): st.floats(width=32, allow_nan=False, allow_infinity=False),
    pl.Boolean(): st.booleans(),
    pl.String(): TEXT,
    pl.Null(): st.none(),
    pl.Date(): st.dates(date(1900, 1, 1), date(2200, 1, 1)),
    pl.Time(): st.times(time(0), time(23, 59)),
    pl.Datetime("us", "UTC"): st.datetimes(
        datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)
    ),
    pl.Datetime("ms"): st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(
        lambda moment: moment.replace(microsecond=0)
    ),
    pl.List(pl.String()): st.lists(st.none() | TEXT, max_size=3),
    pl.List(pl.Int64()): st.lists(st.integers(-9, 9), max_size=3),
}
SCHEMAS = {
    "wide": {f'a {dtype}"\n': dtype for dtype in TYPES},
    "narrow": {"x": pl.Int64()},
}
ROW = st.tuples(*(st.none() | values for values in TYPES.values()))
NARROW = [{"narrow": pl.DataFrame({"x": [i, i + 1]})} for i in range(3)]


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(requests=st.lists(st.lists(ROW, max_size=3), max_size=4))
def test_what_goes_in_comes_out(tmp_path_factory, requests):
    journal = Journal(tmp_path_factory.mktemp("journal") / "1.jsonl", SCHEMAS)
    wide = [pl.DataFrame(rows, schema=SCHEMAS["wide"], orient="row") for rows in requests]
    for number, rows in enumerate(wide):
        journal.append({"narrow": pl.DataFrame({"x": [number]}), "wide": rows})
    journal.close()
    found = read(journal.path)
    assert_frame_equal(found["wide"], pl.concat([pl.DataFrame(schema=SCHEMAS["wide"]), *wide]))
    assert found["narrow"]["x"].to_list() == list(range(len(wide)))
    assert journal.path.stat().st_size == journal.size


@pytest.fixture
def written(tmp_path):
    journal = Journal(tmp_path / "1.jsonl", SCHEMAS)
    ends = [journal.size]
    for tables in NARROW:
        journal.append(tables)
        ends.append(journal.size)
    journal.close()
    return journal.path, ends


def test_a_file_torn_anywhere_has_the_lines_before(written):
    path, ends = written
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        complete = sum(end <= length for end in ends) - 1
        rows = read(path).get("narrow", pl.DataFrame({"x": []}))["x"].to_list()
        assert rows == [x for i in range(complete) for x in (i, i + 1)]


def test_damage_before_the_end_is_said(written):
    path, ends = written
    whole = path.read_bytes()
    for place in (3, ends[0] + 2, ends[1] + 1):
        path.write_bytes(whole[:place] + b"\0\xff" + whole[place + 2 :])
        with pytest.raises(StateError, match=r"1\.jsonl: damaged"):
            read(path)
    path.write_bytes(whole.replace(b'"x":1', b'"x":"'))
    with pytest.raises(StateError, match="damaged"):
        read(path)


def test_no_rows_are_no_line(tmp_path):
    journal = Journal(tmp_path / "1.jsonl", SCHEMAS)
    size = journal.size
    journal.append({"narrow": pl.DataFrame(schema=SCHEMAS["narrow"])})
    journal.append({})
    assert journal.size == size
    assert {name: frame.height for name, frame in read(journal.path).items()} == {
        "wide": 0,
        "narrow": 0,
    }


def test_a_line_is_one_write(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "1.jsonl", SCHEMAS)
    written, write = [], os.write
    monkeypatch.setattr(
        "fulcrum.serving.experiments.journal.os.write",
        lambda f, d: written.append(bytes(d)) or write(f, d),
    )
    journal.append({"narrow": pl.DataFrame({"x": range(10_000)})})
    [line] = written
    assert line.count(b"\n") == 1 == line.endswith(b"\n")


FULL = """
import resource, sys
from pathlib import Path
import polars as pl
from fulcrum.features.errors import ResourceError
from fulcrum.serving.experiments.journal import Journal, read
journal = Journal(Path(sys.argv[1]), {"narrow": {"x": pl.Int64()}})
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size + 1000, hard))
journal.append({"narrow": pl.DataFrame({"x": [1]})})
try:
    journal.append({"narrow": pl.DataFrame({"x": range(1000)})})
except ResourceError as error:
    print(error)
journal.append({"narrow": pl.DataFrame({"x": [2]})})
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
journal.append({"narrow": pl.DataFrame({"x": [3]})})
"""


def test_a_line_for_which_there_is_no_space_leaves_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "1.jsonl")], capture_output=True, text=True
    )
    assert "no space left to write" in done.stdout, done.stderr
    assert read(tmp_path / "1.jsonl")["narrow"]["x"].to_list() == [1, 2, 3]


def test_a_journal_is_never_written_over(written):
    with pytest.raises(ResourceError, match="may not be written to"):
        Journal(written[0], SCHEMAS)
    assert read(written[0])["narrow"].height == 6
