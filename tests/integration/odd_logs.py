"""`python -m tests.integration.odd_logs`: the odd logs that people have, each through the real
commands from `prepare` to a served score, and a table of what happened."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from fulcrum.pipelines.__main__ import main as command_line
from fulcrum.pipelines.console import terminal
from fulcrum.pipelines.runs import run as runs
from tests.features.files.logs import write, write_text

FOLDER = "100%25 #1?x&y=[1] 'żó'*"
"""Where everything lies: an escape, a comment, a query and a glob."""
ROWS = 240
ZIPS = [f"{number:05}" for number in range(1000, 1015)] + [str(n) for n in range(1000, 1015)]
"""15 with a zero in front and 15 without, which are the same numbers."""
YAML = """\
name: odd
data:
  events: events.csv
  time: {column: at, unit: s}
  tables:
    shops: {path: shops.csv, key: shop}
    unread: {path: unread.csv, key: shop}
  outcomes: [click]
  keys: [ref, zip]
  group: zip
features:
  zip: categorical
  city: categorical
  note: categorical
  price: numeric
  seen: {kind: window, key: zip, statistic: count}
tasks:
  click: {kind: binary, label: click}
model: {architecture: shared_bottom, embedding_dim: 4, hidden: [8], tower: [4]}
train: {epochs: 1, batch_size: 64, precision: fp32}
"""
IDS = {"zip": 30, "city": 2, "note": 2}
"""How many values each has."""


def make_rows(**odd: Sequence[Any]) -> pl.DataFrame:
    """An impression a minute; more columns have their values in turn."""
    numbers = range(ROWS)
    columns: dict[str, Any] = {
        "at": [1_700_000_000 + 60 * n for n in numbers],
        "ref": [f"{n:06}" for n in numbers],
        "zip": [ZIPS[n % 30] for n in numbers],
        "shop": [n % 4 for n in numbers],
        "note": [("größer", 'say "hi", red')[n % 2] if n % 5 else None for n in numbers],
        "price": [n / 8 for n in numbers],
        "click": [n // 7 % 2 for n in numbers],
    }
    columns |= {name: [values[n % len(values)] for n in numbers] for name, values in odd.items()}
    return pl.DataFrame(columns, strict=False)


@dataclass(frozen=True)
class Log:
    """One way to write a log."""

    name: str
    make: Callable[[], pl.DataFrame]
    """Writes its files into the working directory; gives its rows as a request says them."""
    options: tuple[str, ...] = ()
    """Of `--set`."""
    ids: Mapping[str, int] = field(default_factory=dict)
    """Features besides those of every log, with how many values each has."""
    refused: str = ""
    """What the message says of a log that is not taken."""


def text(
    file: str = "events.csv", encoding: str = "utf-8", **form: Any
) -> Callable[[], pl.DataFrame]:
    """One text file; `form` is how Polars writes it."""

    def make() -> pl.DataFrame:
        rows = make_rows()
        write_text(rows.write_csv(**form), Path(file), encoding)
        return rows

    return make


def text_ids() -> pl.DataFrame:
    rows = make_rows(power=["40e85", "4.0e86"], large=[str(2**63), str(2**63 + 1), "7"])
    write(rows, Path("events.csv"))
    return rows


def number_ids() -> pl.DataFrame:
    """As Parquet has them."""
    rows = make_rows(decimal=[2**53, 2**53 + 1], unsigned=[2**64 - 1, 2**64 - 2, 7])
    types = {"decimal": pl.Decimal(38, 0), "unsigned": pl.UInt64}
    write(rows.cast(types), Path("events.parquet"))
    return rows


def hive() -> pl.DataFrame:
    rows = make_rows(sign=["--5", "²", "5"])
    for (code, sign), part in rows.partition_by("zip", "sign", as_dict=True).items():
        write(part.drop("zip", "sign"), Path(f"hive/zip={code}/sign={sign}/part.csv"))
    return rows


def patterns() -> pl.DataFrame:
    """Beside what the names would match were they patterns."""
    rows = make_rows()
    write(rows, Path("logs[1]/events.parquet"))
    write(rows.head(9), Path("logs1/events.parquet"))
    for folder in ("a?b", "axb"):
        write(pl.DataFrame({"shop": range(4), "city": [*"abab"]}), Path(folder, "shops.csv"))
    return rows


ZONE = pl.Datetime("us", "UTC")
EARLY: dict[str, Any] = {
    "nothing": pl.Null,
    "whole": pl.Int32,
    "price": pl.Float32,
    "at": pl.Datetime("ns", "UTC"),
    "enum": pl.Enum(["a", "b"]),
    "category": pl.Categorical,
    "list": pl.List(pl.Null),
}
"""Types in the first of two files; the second has those of its values."""


def types() -> pl.DataFrame:
    moments = [datetime.fromtimestamp(1_700_000_000 + 60 * n, UTC) for n in range(ROWS)]
    rows = make_rows(whole=[1, 2], enum=["a", "b"], category=["a", "b"]).with_columns(
        at=pl.Series(moments, dtype=ZONE),
        nothing=pl.when(pl.row_index() >= 100).then(pl.row_index() % 3),
        list=pl.when(pl.row_index() >= 100).then(pl.concat_list(pl.lit("x"), "note")),
        later=pl.when(pl.row_index() >= 100).then(pl.row_index() % 5),
    )
    write(rows[:100].cast(EARLY).drop("later"), Path("logs/0.parquet"))
    write(rows[100:], Path("logs/1.parquet"))
    return rows


def two(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    write(first, Path("logs/0.parquet"))
    write(second, Path("logs/1.parquet"))
    return first


def column(values: Sequence[Any]) -> Callable[[], pl.DataFrame]:
    def make() -> pl.DataFrame:
        rows = make_rows(odd=values)
        write(rows, Path("events.parquet"))
        return rows

    return make


PARQUET, ODD = "data.events=events.parquet", "features.odd=categorical"
LOGS = (
    Log(
        "names that look like patterns",
        patterns,
        ("data.events=logs[1]", "data.tables.shops.path=a?b/shops.csv", "workspace=w[1]"),
    ),
    Log(
        "zeros in front, powers, 2^63 in CSV",
        text_ids,
        ("features.power=categorical", "features.large=categorical"),
        {"power": 2, "large": 3},
    ),
    Log(
        "Decimal(38,0), UInt64",
        number_ids,
        (PARQUET, "features.decimal=categorical", "features.unsigned=categorical"),
        {"decimal": 2, "unsigned": 3},
    ),
    Log(
        "hive folders: zeros, --5, ²",
        hive,
        ("data.events=hive", "features.sign=categorical"),
        {"sign": 3},
    ),
    Log(
        "types that widen, a later column",
        types,
        (
            *("data.events=logs", "data.time.unit=null", "data.optional=[later]"),
            *(f"features.{name}=categorical" for name in ("nothing", "whole", "enum", "category")),
            *("features.list={kind: multi}", "features.later=categorical"),
        ),
        {"nothing": 3, "whole": 2, "enum": 2, "category": 2, "list": 3, "later": 5},
    ),
    Log(".tsv in single quotes", text("events.tsv", separator="\t", quote_char="'"),
        ("data.events=events.tsv", "data.csv={quote: \"'\"}")),
    Log(
        ".csv.gz, and types: text of a number",
        lambda: text("events.csv.gz")().cast({"shop": pl.String}),
        (
            "data.events=events.csv.gz",
            "data.types={shop: String}",
            "features.shop=categorical",
        ),
        {"shop": 4},
    ),
    Log(
        ".txt; latin-1, no header, NA",
        text("events.txt", separator=";", include_header=False, null_value="NA",
              encoding="latin-1"),
        (
            "data.events=events.txt",
            "data.csv={separator: ';', encoding: latin-1, null_values: [NA], "
            "header: [at, ref, zip, shop, note, price, click]}",
        ),
    ),
    Log("text beside numbers",
        lambda: two(make_rows(), make_rows().with_columns(zip=pl.lit(7, pl.Int64))),
        ("data.events=logs",), refused="column `zip` is String in logs/0.parquet but Int64 in"),
    Log("a column less", lambda: two(make_rows(), make_rows().drop("note")),
        ("data.events=logs",), refused="logs/1.parquet has no column `note`"),
    Log("latin-1 that is not said", text(encoding="latin-1"),
        refused="events.csv is no UTF-8 text"),
    Log("semicolons that are not said", text(separator=";"), refused="separator: ';'"),
    Log("no header", text(include_header=False), refused="looks like data"),
    Log("a header twice", lambda: make_twice(), refused="names 2 columns `zip`; rename one"),
    Log("Duration", column([timedelta(1), timedelta(2)]), (PARQUET, ODD),
        refused="`odd` is Duration"),
    Log("Struct", column([{"a": 1}, {"a": 2}]), (PARQUET, ODD), refused="`odd` is Struct"),
    Log("lists in lists", column([[[1]], [[2]]]), (PARQUET, "features.odd={kind: multi}"),
        refused="column `odd` is List(List(Int64))"),
)  # fmt: skip


def make_twice() -> pl.DataFrame:
    rows = make_rows()
    write_text(rows.write_csv().replace("shop", "zip", 1), Path("events.csv"))
    return rows


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    printed: str
    error: str


def fulcrum(*arguments: object) -> Done:
    """Runs a command as the console script does, in this process: its start is saved."""
    printed, error = StringIO(), StringIO()
    before = sys.argv, terminal.results, terminal.messages, runs.draw
    sys.argv = ["fulcrum", *map(str, arguments)]
    terminal.results = Console(file=printed, width=200)
    terminal.messages = Console(file=error)
    runs.draw = lambda *_: None  # pictures cost more than all else
    try:
        with redirect_stdout(printed), redirect_stderr(error):
            command_line()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv, terminal.results, terminal.messages, runs.draw = before
    return Done(code, printed.getvalue(), error.getvalue())


def happened(log: Log, folder: Path) -> str:
    """What happened to a log in a new folder; AssertionError where that is not as it should be."""
    folder.mkdir(parents=True)
    with chdir(folder):
        write(pl.DataFrame({"shop": range(4), "city": [*"abab"]}), Path("shops.csv"))
        write_text("shop,size\n0,large\n", Path("unread.csv"))
        Path("odd.yaml").write_text(YAML)
        rows = log.make()
        options = [word for option in log.options for word in ("--set", option)]
        prepared = fulcrum("prepare", "odd.yaml", *options)
        if log.refused:
            assert (prepared.code, prepared.printed) == (2, ""), prepared
            assert log.refused in prepared.error, prepared
            assert len(prepared.error.splitlines()) == 1, prepared
            return f"refused (2): {prepared.error.strip()}"
        assert prepared.code == 0, prepared
        check_counts(prepared.printed, {**IDS, **log.ids})
        trained = fulcrum("train", "odd.yaml", *options)
        assert trained.code == 0, trained
        events = next((o[12:] for o in log.options if o.startswith("data.events=")), "events.csv")
        past = ("--model", "models:/odd@candidate", "--history", events)
        scored = fulcrum("score", *past, "--input", events, "--output", "scores")
        assert scored.code == 0, scored
        files = sorted(Path("scores").rglob("*.parquet"))
        scores = pl.concat(pl.read_parquet(file, glob=False) for file in files).sort("ref")
        assert scores.select("ref", "zip").equals(rows.select("ref", "zip")), scores
        answered = serve(rows, *past)
        assert answered.select("ref", "zip").equals(rows.select("ref", "zip")), answered
        apart = (answered["click"] - scores["click"]).abs().max()
        assert apart < 1e-5, apart
    return f"right (0, 0, 0, 0): {ROWS} rows, served scores within {apart:.0e}"


def check_counts(printed: str, ids: Mapping[str, int]) -> None:
    """Rows of the splits and values of the features, as `prepare` tells them."""
    cells = [line.split() for line in printed.splitlines() if line.strip()]
    splits = [int(cell[1]) for cell in cells if cell[0] in ("train", "valid", "test")]
    assert sum(splits) == ROWS, printed
    features = {cell[0]: cell for cell in cells}
    assert {name: int(features[name][2]) for name in ids} == ids, printed
    assert features["note"][3] == f"{34 / 168:.1%}", printed


def serve(rows: pl.DataFrame, *arguments: str) -> pl.DataFrame:
    """The answer of `fulcrum serve` to all rows at once; a process of its own, since the command
    ends the one it is in."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "fulcrum.pipelines", "serve", "--port", str(port), *arguments]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while server.poll() is None and call(port, "GET", "/v2/health/ready")[0] != 200:
            time.sleep(0.02)
        body = json.dumps({"rows": rows.drop("click").to_dicts()}, default=str)
        answer = call(port, "POST", "/score", body.encode())[1]
    finally:
        server.terminate()
        error = server.communicate()[1]
    assert server.returncode == 0, error
    return pl.DataFrame(json.loads(answer)["scores"])


def call(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def main() -> None:
    table = Table("log", "what happened")
    with TemporaryDirectory() as folder:
        for number, log in enumerate(LOGS):
            table.add_row(log.name, happened(log, Path(folder, FOLDER, str(number))))
    Console(width=200, markup=False).print(table)


if __name__ == "__main__":
    main()
