"""A log in a dialect of its own, in folders called like patterns, from its files to its scores."""

import polars as pl
import pytest

from tests.features.files.logs import write_text

ROWS = 600
ZIPS = [f"{number:05}" for number in range(1000, 1015)] + [str(n) for n in range(1000, 1015)]
YAML = """\
name: odd
data:
  events: logs[1]
  csv:
    separator: ";"
    header: [at, ref, zip, shop, note, click]
    encoding: latin-1
    null_values: [NA]
  types: {shop: String}
  optional: [note]
  time: {column: at, unit: s}
  tables:
    shops: {path: "shops[1].tsv", key: shop}
    unread: {path: unread.csv, key: shop}
  outcomes: [click]
  keys: [ref, zip]
  group: zip
tasks:
  click: {kind: binary, label: click}
features:
  zip: {kind: categorical}
  shop: {kind: categorical}
  note: {kind: categorical}
  city: {kind: categorical}
  seen: {kind: window, key: zip, statistic: count}
model: {architecture: shared_bottom, embedding_dim: 4, hidden: [8], tower: [4]}
train: {epochs: 1, batch_size: 128, precision: fp32}
"""


def line(number: int) -> str:
    ref, zipcode = f"{number:012}", ZIPS[number % 30]
    note = "NA" if number % 5 else "größer"
    click = number // 7 % 2
    return f"{1_700_000_000 + 60 * number};{ref};{zipcode};{number % 4};{note};{click}\n"


@pytest.fixture
def odd(tmp_path, monkeypatch):
    folder = tmp_path / "w[1]"
    for part in range(2):
        lines = "".join(map(line, range(part * ROWS // 2, (part + 1) * ROWS // 2)))
        write_text(lines, folder / "logs[1]" / f"{part}.txt.csv", "latin-1")
    write_text("another log\n", folder / "logs1" / "0.csv")
    shops = "shop\tcity\n" + "".join(f"{shop}\t{'ab'[shop % 2]}\n" for shop in range(4))
    write_text(shops, folder / "shops[1].tsv")
    write_text("shop,size\n0,1\n", folder / "unread.csv")
    write_text(YAML, folder / "odd.yaml")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
def test_ids_mean_the_same_from_the_log_to_the_scores(odd, fulcrum):
    done = fulcrum("train", "odd.yaml")
    assert done.code == 0, done
    score = ("score", "--model", "models:/odd@champion")
    done = fulcrum(*score, "--input", "logs[1]", "--history", "logs[1]", "--output", "s[1]")
    assert done.code == 0, done
    scores = pl.concat(pl.read_parquet(f, glob=False) for f in sorted(odd.glob("s[[]1]/*")))
    assert scores["ref"].to_list() == [f"{number:012}" for number in range(ROWS)]
    assert scores["zip"].to_list() == [ZIPS[number % 30] for number in range(ROWS)]
    later = pl.DataFrame({"at": 1_700_036_000, "ref": "x", "zip": range(1000, 1015), "shop": 0})
    later.write_parquet("later.parquet")
    done = fulcrum(*score, "--input", "later.parquet", "--history", "logs[1]", "--output", "later")
    assert done.code == 0, done
    assert "zip" not in done.stdout + done.stderr, "no code is unknown"
    assert pl.read_parquet("later/later.parquet")["zip"].to_list() == ZIPS[15:]
