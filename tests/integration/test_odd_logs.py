"""Logs as people have them: each trains, and scores the same however its files are written."""

import csv
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

YAML = """\
name: odd
data:
  events: plain.csv
  time: {column: seen at}
  derive:
    seen at: STRPTIME(day || ' ' || clock, '%d/%m/%Y %H:%M:%S')
    Evening: "\\"hour OF day\\" >= 18"
  outcomes: [label, Stars]
  keys: [User ID, day, clock]
  group: User ID
  weight: "1 + (Item % 2)"
tasks:
  liked: {kind: binary, label: label}
  kept: {kind: binary, label: Stars = 3, given: liked}
  stars: {kind: multiclass, label: Stars, classes: [1, 2, 3], when: '"User ID" <> ''u 3'''}
features:
  user: {kind: categorical, column: User ID}
  Item: {kind: categorical}
  title: {kind: categorical}
  Evening: {kind: categorical}
  price: {kind: numeric}
  likes: {kind: window, key: User ID, statistic: rate, where: label, smoothing: 5}
  by_title: {kind: window, key: title, statistic: count, over: 12h}
  before: {kind: history, key: User ID, where: label, length: 3, attributes: [title]}
model: {architecture: shared_bottom, embedding_dim: 4, hidden: [8], tower: [4]}
train: {epochs: 1, batch_size: 128, precision: fp32}
"""
"""Blanks, capitals and words of SQL in names, times in a form of their own, a column `label`."""


def make_rows() -> list[dict[str, object]]:
    random = np.random.default_rng(0)
    times = (datetime(2023, 11, 14) + timedelta(minutes=13 * number) for number in range(1200))
    return [
        {
            "day": time.strftime("%d/%m/%Y"),
            "clock": time.strftime("%H:%M:%S"),
            "hour OF day": time.hour,
            "User ID": f"u {random.integers(20)}",
            "Item": random.integers(15),
            "title": random.choice(["red, big", 'say "hi"', "größer", ""]),
            "label": str(random.random() < 0.4),
            "Stars": random.choice(["1", "2", "3", ""]),
            "price": random.choice(["1.50", "", "3"]),
        }
        for time in times
    ]


def write(file: Path, rows: list[dict[str, object]], ending: str = "\n", mark: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        stream.write(mark)
        table = csv.DictWriter(stream, list(rows[0]), lineterminator=ending)
        table.writeheader()
        table.writerows(rows)


@pytest.fixture
def odd(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = make_rows()
    write(tmp_path / "plain.csv", rows)
    write(tmp_path / "windows.csv", rows, ending="\r\n", mark="\ufeff")
    for day in {row["day"] for row in rows}:
        folder = "hive/day=" + str(day).replace("/", "%2F")
        without = [
            {k: v for k, v in row.items() if k != "day"} for row in rows if row["day"] == day
        ]
        write(tmp_path / folder / "part.csv", without)
    pl.read_csv("plain.csv").write_parquet("plain.parquet")
    Path("odd.yaml").write_text(YAML)


def test_the_same_log_in_other_files_gives_the_same_scores(odd, fulcrum):
    done = fulcrum("train", "odd.yaml")
    assert done.code == 0, done
    found = {}
    for source in ("plain.csv", "windows.csv", "plain.parquet", "hive"):
        done = fulcrum(
            *("score", "--model", "models:/odd@candidate", "--input", source),
            *("--history", source, "--output", f"scores-{source}"),
        )
        assert done.code == 0, done
        scores = pl.read_parquet(f"scores-{source}/**/*.parquet")
        found[source] = scores.sort("day", "clock").select(sorted(scores.columns))
    names = {"liked", "kept", "stars.1", "stars.2", "stars.3"}
    assert names <= set(found["plain.csv"].columns)
    assert found["plain.csv"].height == 1200
    assert all(scores.equals(found["plain.csv"]) for scores in found.values())


@pytest.mark.parametrize(
    ("split", "rows"),
    [
        ("{kind: hash, key: User ID}", 1200),
        ("{kind: order, valid: 0, test: 0}", 1200),
        ("{kind: column, column: Evening, train: ['false'], test: ['true']}", 1200),
        ("{kind: column, column: day, train: [14/11/2023], test: [15/11/2023]}", 222),
        ("{kind: files, test: windows.csv}", 2400),
    ],
)
def test_every_split_prepares(odd, fulcrum, split, rows):
    done = fulcrum("prepare", "odd.yaml", "--set", f"data.split={split}")
    assert done.code == 0, done
    cells = (line.split() for line in done.stdout.splitlines())
    splits = {cell[0]: int(cell[1].replace(",", "")) for cell in cells if cell[:1] in SPLITS}
    assert sum(splits.values()) == rows


SPLITS = (["train"], ["valid"], ["test"])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("semi.csv", b"user;item\n1;2\n", "has one column, 'user;item'; expected commas between"),
        ("wide.csv", "user,item\n1,2\n".encode("utf-16"), "wide.csv is no UTF-8 text"),
        (
            "latin.csv",
            "user,item\n1,é\n".encode("latin-1"),
            "latin.csv is no UTF-8 text: byte 0xe9 in line 2",
        ),
    ],
)
def test_text_that_is_no_csv_of_ours(odd, fulcrum, file, content, message):
    Path(file).write_bytes(content)
    done = fulcrum("prepare", "odd.yaml", "--set", f"data.events={file}")
    assert done.code == 2
    assert file in done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
