"""Bad input: one clear message, exit code 2, nothing half-written, earlier results intact."""

import hashlib
import os
import re
import resource
import socket
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.integration.shop import make_events

ROOT = Path(__file__).parents[2]


def snapshot(folder: Path) -> dict[str, str]:
    """Every file with a digest of its content."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


@pytest.fixture
def refused(fulcrum, shop):
    """Runs a command that must be refused: gives its message, one line unless told otherwise."""

    def run(*arguments: object, lines: int = 1) -> str:
        before = snapshot(shop)
        done = fulcrum(*arguments)
        assert done.code == 2, done
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == lines, done.stderr
        assert snapshot(shop) == before
        return done.stderr

    return run


def write_parts(first: pl.DataFrame, second: pl.DataFrame) -> None:
    first.write_parquet("part1.parquet")
    second.write_parquet("part2.parquet")


def without_rows() -> None:
    make_events().clear().write_parquet("log.parquet")


def without_bytes() -> None:
    Path("log.csv").write_text("")


def truncated() -> None:
    content = Path("events.parquet").read_bytes()
    Path("log.parquet").write_bytes(content[: len(content) // 2])


def corrupt() -> None:
    """The footer is whole, the pages are not."""
    content = bytearray(Path("events.parquet").read_bytes())
    content[100:3000] = bytes(2900)
    Path("log.parquet").write_bytes(content)


def another_type() -> None:
    events = make_events()
    write_parts(events.head(9), events.tail(9).with_columns(pl.col("user").cast(pl.String)))


def a_column_less() -> None:
    events = make_events()
    write_parts(events.head(9), events.tail(9).drop("user"))


def nothing() -> None:
    pass


@pytest.mark.parametrize("verb", ["prepare", "train"])
@pytest.mark.parametrize(
    ("make", "events", "message"),
    [
        (
            nothing,
            "event.parquet",
            "there is no file event.parquet; did you mean `events.parquet`?",
        ),
        (nothing, "logs/*.parquet", "no Parquet or CSV file matches logs/*.parquet"),
        (without_rows, "log.parquet", "no rows in log.parquet"),
        (without_bytes, "log.csv", "log.csv is empty"),
        (truncated, "log.parquet", "log.parquet cannot be read: "),
        (corrupt, "log.parquet", "log.parquet is damaged: "),
        (
            another_type,
            "part*.parquet",
            "column `user` is Int64 in part1.parquet but String in part2.parquet",
        ),
        (
            a_column_less,
            "part*.parquet",
            "part2.parquet has no column `user`, which part1.parquet has",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_bad_files(refused, shop, make, events, message, verb):
    make()
    said = refused(verb, "shop.yaml", "--set", f"data.events={events}")
    assert message in said


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.evnts=x"], "--set data.evnts=x: data.evnts: unknown key `evnts`; did you mean `ev"),
        (["train.epochs=many"], "train.epochs: is 'many'; expected a whole number"),
        (
            ["tasks.click.label=cliked"],
            "tasks.click.label: `cliked`: there is no column `cliked`; d",
        ),
        (["tasks.click.label=paid"], "tasks.click.label: `paid` gives "),
        (
            ["tasks.click.label=verdict"],
            "tasks.click.label: `verdict` is String; expected 0, 1 or a ",
        ),
        (["data.outcomes=[]", "features.paid=numeric"], "`data.known_before: [paid]`"),
        (["tasks.verdict.classes=[bad, good]"], "tasks.verdict.label: `verdict` gives 'fine'; exp"),
        (
            ["tasks.spend.label=paid - 5"],
            "tasks.spend.label: `paid - 5` gives -",
        ),
        (["data.where=at < 0"], "data.where: no row meets `at < 0`"),
        (
            ["data.split={kind: column, column: device, train: [phone], test: [tablet]}"],
            "data.split.test: `device` holds 'phone', 'web'; expected one of ['tablet']",
        ),
        (
            ["tasks.click.label=clicked AND at < 1700050000"],
            "tasks.click: every label in the test split is 0 (270 rows); both classes are needed",
        ),
        (["tasks.click.when=at < 1700050000"], "tasks.click: no label is observed in the test spl"),
        (
            ["features.liked.key=usr"],
            "features.liked.key: there is no column `usr`; did you mean `us",
        ),
        (
            ["features.clicks.key=usr"],
            "features.clicks.key: there is no column `usr`; did you mean ",
        ),
        (
            ["data.session={key: usr}"],
            "data.session.key: there is no column `usr`; did you mean `us",
        ),
        (
            ["data.session={key: user, gap: 30}"],
            "data.session.gap: is 30; expected text",
        ),
        (
            ["data.session={key: user, gap: 30 min}"],
            "data.session.gap: is '30 min'; expected `<number><s|m|h|d>`, for example `30m`",
        ),
        (["data.session={gap: 30m}"], "data.session.key: missing"),
        (["data.session={key: paid}"], "data.session.key: reads the outcome `paid`"),
        (["data.tables.items.key=itm"], "data.tables.items.key: it has no column `itm`; did you m"),
        (
            ["features.speed.column=device"],
            "features.speed: column `device` is String; expected nu",
        ),
        (
            ["data.time.column=device"],
            "data.events: column `device` holds",
        ),
    ],
    ids=lambda value: value[0].partition("=")[0] if isinstance(value, list) else None,
)
def test_bad_values(refused, overrides, message):
    said = refused("prepare", "shop.yaml", *(x for text in overrides for x in ("--set", text)))
    assert message in said


def test_every_place_that_names_a_missing_column_is_told(refused):
    said = refused(
        *("prepare", "shop.yaml", "--set", "data.group=usr", "--set", "features.item.column=itm"),
        *("--set", "data.derive.hour=att % 24"),
        lines=3,
    )
    assert "data.group: there is no column `usr`" in said
    assert "features.item.column: there is no column `itm`" in said
    assert "data.derive.hour: `att % 24`: there is no column `att`; did you mean `at`?" in said


@pytest.mark.slow
def test_odd_numbers_work_and_are_counted(fulcrum, shop, caplog):
    events = make_events()
    odd = pl.col("row") % 10
    speed = (
        pl.when(odd == 0)
        .then(float("nan"))
        .when(odd == 1)
        .then(float("inf"))
        .when(odd == 2)
        .then(-float("inf"))
        .otherwise("speed")
    )
    empty = pl.lit(None, pl.Float64)
    events.with_columns(speed.alias("speed"), device=pl.lit("phone"), empty=empty).write_parquet(
        "odd.parquet"
    )
    odd_log = (
        *("shop.yaml", "--set", "data.events=odd.parquet"),
        *("--set", "features.empty={kind: numeric, transform: quantile}"),
    )
    done = fulcrum("train", *odd_log, "--set", "train.epochs=1", "--set", "name=odd")
    assert done.code == 0, done
    assert "feature empty has no number in the training split" in caplog.text
    assert re.search(r"feature speed: 1\d\d NaN or infinite values in the train", caplog.text)
    done = fulcrum("prepare", *odd_log)
    assert done.code == 0, done
    device = next(line for line in done.stdout.splitlines() if " device " in line)
    assert device.split()[2] == "1", "a vocabulary of one"
    done = fulcrum("score", "--model", "models:/odd/1", "--input", "odd.parquet", "--output", "s")
    assert done.code == 0, done
    assert not pl.read_parquet("s/odd.parquet").select(pl.all().is_null().any()).row(0).count(True)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/shop@best", "shop"),
        ("models:/shop/7", "7"),
        ("models:/shp@candidate", "did you mean `shop`?"),
        ("runs:/0123/model", "0123"),
        ("no/such/folder", "no/such/folder"),
        (".", "."),
    ],
)
@pytest.mark.parametrize("verb", ["score", "serve"])
def test_a_model_that_is_not_there(refused, uri, message, verb):
    rest = ("--input", "events.parquet", "--output", "scores") if verb == "score" else ()
    assert message in refused(verb, "--model", uri, *rest)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda e: e.drop("device"), "column `device`"),
        (lambda e: e.drop("row"), "column `row`"),
        (lambda e: e.with_columns(user=pl.lit("somebody")), "'somebody'"),
        (lambda e: e.clear(), "no rows in log.parquet"),
    ],
    ids=["no feature", "no key", "another type", "no rows"],
)
def test_rows_that_cannot_be_scored(refused, shop, make, message):
    make(make_events()).write_parquet("log.parquet")
    said = refused(
        "score", "--model", "models:/shop/1", "--input", "log.parquet", "--output", "scores"
    )
    assert message in said


@pytest.mark.parametrize("make", [truncated, corrupt])
def test_a_damaged_file_among_those_to_score_or_to_remember(refused, shop, make):
    make()
    for arguments in (
        ("--input", "log.parquet"),
        ("--input", "events.parquet", "--history", "log.parquet"),
    ):
        said = refused("score", "--model", "models:/shop/1", *arguments, "--output", "scores")
        assert "log.parquet" in said


def test_a_port_in_use(refused):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused("serve", "--model", "models:/shop/1", "--port", port)
    assert said == (
        f"127.0.0.1:{port}: the port is in use by another program; choose another --port\n"
    )


def test_a_full_disk_while_preparing(shop):
    said, new = on_a_full_disk(shop, 30_000, "prepare", "shop.yaml", "--set", "data.group=item")
    assert re.match(r"\.fulcrum/prepared/\w+: no space left to write; .* intact$", said)
    assert not new


@pytest.mark.slow
def test_a_full_disk_while_training(fulcrum, shop):
    """The run can be taken up again when there is space."""
    large = ("--set", "features.shelf.hash_buckets=100000", "--set", "name=large")
    said, new = on_a_full_disk(shop, 2_500_000, "train", "shop.yaml", *large)
    assert re.match(
        r"\.fulcrum/runs/\w+/checkpoints/step-9: could not write .*: no space left to write$", said
    )
    assert not [name for name in new if "step-" in name or "bundle" in name]
    done = fulcrum("train", "--resume", "large")
    assert "registered as models:/large/1" in done.stdout, done


def test_a_full_disk_while_scoring(shop):
    [bundle] = shop.glob(".fulcrum/runs/*/bundle")
    arguments = ("score", "--model", bundle, "--input", "events.parquet", "--output", "scores")
    said, new = on_a_full_disk(shop, 10_000, *arguments)
    assert said.startswith("scores/events.parquet: no space left to write")
    assert not new


def on_a_full_disk(shop: Path, size: int, *arguments: object) -> tuple[str, set[str]]:
    """The message of a command that may not write files of more than `size` bytes, and the files
    that it leaves; all others, but the store of runs, must be as they were."""
    before = snapshot(shop)
    done = subprocess.run(
        [sys.executable, "-m", "fulcrum", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    after = snapshot(shop)
    kept = {name for name in before if not name.startswith("mlruns.db")}
    assert all(after[name] == before[name] for name in kept)
    return done.stderr.splitlines()[-1], after.keys() - before.keys()
