"""Bundles that someone has altered: none loads, and one line says which file is at fault.

Whoever alters a file by accident leaves its checksum as it was. A stranger writes a new one: those
alterations are sealed.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import polars as pl
import pytest

from fulcrum.features.errors import FulcrumError
from fulcrum.features.transform.fit import fit
from fulcrum.serving.bundle.bundle import Bundle, sha256, write_bundle
from fulcrum.serving.scoring.scorer import Scorer
from tests.serving.conftest import make_log

Alter = Callable[[Path, Path], None]
"""Of a bundle's folder; the second one is another model's."""
FACTS, STATE, GRAPH, CONFIG = "bundle.json", "state/state.json", "model.onnx", "config.yaml"
EXAMPLE, USERS, VIDEOS = (
    "example.json",
    "state/vocabularies/user.parquet",
    "state/tables/videos.parquet",
)
FILES = (GRAPH, CONFIG, EXAMPLE, STATE, USERS, VIDEOS)
DEEP = b"[" * 200_000 + b"]" * 200_000
HUGE = 10**30


def seal(folder: Path) -> None:
    facts = json.loads((folder / FACTS).read_text())
    facts["files"] = {name: sha256(folder / name) for name in facts["files"]}
    (folder / FACTS).write_text(json.dumps(facts))


def facts(change: Callable[[dict[str, Any]], object]) -> Alter:
    def alter(folder: Path, _: Path) -> None:
        document = json.loads((folder / FACTS).read_text())
        change(document)
        (folder / FACTS).write_text(json.dumps(document))

    return alter


def state(change: Callable[[dict[str, Any]], object]) -> Alter:
    def alter(folder: Path, _: Path) -> None:
        document = json.loads((folder / STATE).read_text())
        change(document)
        (folder / STATE).write_text(json.dumps(document))
        seal(folder)

    return alter


def content(file: str, change: Callable[[bytes], bytes], sealed: bool = True) -> Alter:
    def alter(folder: Path, _: Path) -> None:
        (folder / file).write_bytes(change((folder / file).read_bytes()))
        if sealed and file != FACTS:
            seal(folder)

    return alter


def frame(file: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Alter:
    def alter(folder: Path, _: Path) -> None:
        change(pl.read_parquet(folder / file)).write_parquet(folder / file)
        seal(folder)

    return alter


def another(file: str, sealed: bool = False) -> Alter:
    def alter(folder: Path, other: Path) -> None:
        shutil.copy(other / file, folder / file)
        if sealed:
            seal(folder)

    return alter


def link(file: str, target: Callable[[Path, Path], Path]) -> Alter:
    def alter(folder: Path, other: Path) -> None:
        place = target(folder / file, other)
        (folder / file).rename(folder.parent / "moved")
        (folder / file).symlink_to(place)

    return alter


def replaced(file: str, make: Callable[[Path], object]) -> Alter:
    def alter(folder: Path, _: Path) -> None:
        (folder / file).unlink()
        make(folder / file)

    return alter


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def outside(folder: Path, _: Path) -> None:
    """The graph's largest weights come from a file that is not the model's."""
    model = onnx.load(str(folder / GRAPH))
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    (folder.parent / "weights").write_bytes(weights.raw_data)
    length = len(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "../weights", "offset": "0", "length": str(length)}.items():
        weights.external_data.add(key=key, value=value)
    (folder / GRAPH).write_bytes(model.SerializeToString())
    seal(folder)


def folder_elsewhere(folder: Path, _: Path) -> None:
    (folder / "state").rename(folder.parent / "state")
    (folder / "state").symlink_to(folder.parent / "state")


ACCIDENTS: dict[str, tuple[Alter, str]] = {
    f"{file} {what}": (alter, file)
    for file in FILES
    for what, alter in {
        "cut short": content(file, lambda data: data[:-1], sealed=False),
        "longer": content(file, lambda data: data + b"\n", sealed=False),
        "with one bit flipped": content(file, flipped, sealed=False),
        "empty": content(file, lambda _: b"", sealed=False),
        "gone": replaced(file, lambda path: None),
        "of another model": another(file),
        "a folder": replaced(file, Path.mkdir),
        "a pipe": replaced(file, os.mkfifo),
        "a link to its copy elsewhere": link(file, lambda path, _: path.parents[1] / "moved"),
        "a link to another model's": link(file, lambda path, other: other / path.name),
        "a link to itself": link(file, lambda path, _: path),
        "left out of the checksums": facts(lambda f, file=file: f["files"].pop(file)),
        "with the checksum of nothing": facts(lambda f, file=file: f["files"].update({file: ""})),
    }.items()
}

FACTS_ALTERED: dict[str, Alter] = {
    **{
        f"without {key}": facts(lambda f, key=key: f.pop(key))
        for key in (
            "format",
            "name",
            "created",
            "config",
            "state",
            "keys",
            "scores",
            "rows",
            "past",
            "versions",
            "plugins",
            "parity",
            "files",
        )
    },
    "unknown key": facts(lambda f: f.update(more=1)),
    "another format": facts(lambda f: f.update(format=2)),
    "format as text": facts(lambda f: f.update(format="1")),
    "format NaN": facts(lambda f: f.update(format=float("nan"))),
    "parity NaN": facts(lambda f: f["parity"].update(click=float("nan"))),
    "checksums as a list": facts(lambda f: f.update(files=list(f["files"].items()))),
    "checksums as text": facts(lambda f: f.update(files="none")),
    "path upwards": facts(lambda f: f["files"].update({"../x": "0"})),
    "path down and upwards": facts(lambda f: f["files"].update({"state/../../x": "0"})),
    "path from the root": facts(lambda f: f["files"].update({"/etc/passwd": "0"})),
    "cut short": content(FACTS, lambda data: data[: len(data) // 2]),
    "empty": content(FACTS, lambda _: b""),
    "a list": content(FACTS, lambda _: b"[]"),
    "no text": content(FACTS, lambda _: b"\xff\x00"),
    "deep": content(FACTS, lambda _: DEEP),
    "of endless digits": content(FACTS, lambda _: b'{"format": ' + b"9" * 5_000 + b"}"),
    "a link": link(FACTS, lambda path, _: path.parents[1] / "moved"),
}

OTHER_FACTS: dict[str, tuple[Alter, str]] = {
    "longer list of checksums": (facts(lambda f: f["files"].update(more="0")), "more"),
    "a number as checksum": (facts(lambda f: f["files"].update({CONFIG: 0})), FACTS),
    "a name twice": (facts(lambda f: f["files"].update({"./config.yaml": "0"})), CONFIG),
    "a name that is empty": (facts(lambda f: f["files"].update({"": "0"})), FACTS),
    "a name with a null": (facts(lambda f: f["files"].update({"a\0b": "0"})), FACTS),
    "an endless name": (facts(lambda f: f["files"].update({"a" * 5_000: "0"})), FACTS),
    "fingerprint of another state": (facts(lambda f: f.update(state="other")), "state"),
    "scores of another state": (facts(lambda f: f.update(scores=["like"])), "state"),
    "rows of another state": (facts(lambda f: f["rows"].popitem()), "state"),
    "name of another run": (facts(lambda f: f.update(name="other")), CONFIG),
    "unlisted data": (replaced(EXAMPLE, lambda p: p.with_name("model.onnx.data").touch()), EXAMPLE),
    "unlisted file": (lambda folder, _: (folder / "state/x").touch(), "state/x"),
    "state folder elsewhere": (folder_elsewhere, STATE),
}

TEXTS: dict[str, tuple[Alter, str]] = {
    f"{file} {what}": (content(file, lambda _, text=text: text), file)
    for file in (STATE, CONFIG, EXAMPLE)
    for what, text in {
        "null": b"null",
        "a list": b"[]",
        "a number": b"1",
        "nothing": b"{}",
        "no text": b"\xff\x00",
        "deep": DEEP,
        "of endless digits": b'{"a": ' + b"9" * 5_000 + b"}",
        "a program": b"!!python/object/apply:os.system ['touch ran']",
    }.items()
} | {
    f"{CONFIG} serving {text}": (
        content(CONFIG, lambda _, text=text: f"name: small\nserving: {text}".encode()), CONFIG
    )
    for text in ("", "&a [*a]", "{more: 1}", "{batch_size: 0}", "{threads: 1000000000000}")
} | {
    f"{EXAMPLE} rows {text}": (
        content(EXAMPLE, lambda _, text=text: f'{{"rows": {text}}}'.encode()), EXAMPLE
    )
    for text in ("NaN", "[1]", "[{}]", '[{"user_id": 1e999}]')
}  # fmt: skip

TABLES: dict[str, tuple[Alter, str]] = {
    "users: no Parquet": (content(USERS, lambda _: b"PAR1 no PAR1"), USERS),
    "users: cut short": (content(USERS, lambda data: data[:-20]), USERS),
    "users: fewer": (frame(USERS, lambda f: f.head(3)), USERS),
    "users: of another model": (another(USERS, sealed=True), USERS),
    "users: other columns": (frame(USERS, lambda f: f.rename({"value": "v"})), USERS),
    "users: numbers": (frame(USERS, lambda f: f.with_columns(pl.col("value").cast(int))), USERS),
    "users: all the same": (frame(USERS, lambda f: f.with_columns(value=pl.lit("a"))), "state"),
    "users: null": (frame(USERS, lambda f: f.with_columns(value=pl.lit(None, str))), "state"),
    "videos: CSV": (content(VIDEOS, lambda _: b"a,b\n1,2\n"), VIDEOS),
    "videos: twice": (frame(VIDEOS, lambda f: pl.concat([f, f])), "state"),
    "videos: no key": (frame(VIDEOS, lambda f: f.drop("video_id")), "state"),
    "videos: no author": (frame(VIDEOS, lambda f: f.drop("author")), "state"),
    "videos: the rows' column": (frame(VIDEOS, lambda f: f.with_columns(user_id=1)), "state"),
    "state: of another model": (another(STATE, sealed=True), "state"),
}

KEYS = (
    *("version", "fingerprint", "row_columns", "past_columns", "vocabularies", "tables"),
    *("bases", "learned", "layout", "spec"),
)
SQL = (
    *("1 IN (FROM read_csv('/etc/passwd'))", "(SELECT 1)", "1; DROP TABLE x", "(", "", "\0"),
    *("x" * 100_000, "(" * 5_000 + "1" + ")" * 5_000, "user_id + nowhere", "CAST(user_id AS X)"),
)
STATES: dict[str, Alter] = {
    **{f"without {key}": state(lambda s, key=key: s.pop(key)) for key in KEYS},
    **{f"{key} null": state(lambda s, key=key: s.update({key: None})) for key in KEYS},
    **{f"{key} [1]": state(lambda s, key=key: s.update({key: [1]})) for key in KEYS},
    **{f"where {sql[:20]!r}": state(lambda s, sql=sql: s["spec"]["data"].update(where=sql))
       for sql in SQL},
    **{f"derive {sql[:20]!r}":
       state(lambda s, sql=sql: s["spec"]["data"].update(derive={"minute": sql}))
       for sql in SQL},
    "label by a sub-query": state(lambda s: s["spec"]["tasks"]["click"].update(label="(SELECT 1)")),
    "unknown key": state(lambda s: s.update(more=1)),
    "unknown key of the layout": state(lambda s: s["layout"].update(more=1)),
    "unknown key of what was learned": state(lambda s: s["learned"]["minute"].update(more=1)),
    "version huge": state(lambda s: s.update(version=HUGE)),
    "learned of no feature": state(lambda s: s["learned"].update(more={})),
    "learned of too few": state(lambda s: s["learned"].pop("minute")),
    "mean NaN": state(lambda s: s["learned"]["seen"].update(mean=float("nan"))),
    "mean huge": state(lambda s: s["learned"]["seen"].update(mean=10**400)),
    "deviation 0": state(lambda s: s["learned"]["seen"].update(std=0)),
    "more edges": state(lambda s: s["learned"]["minute"]["edges"].append(99.0)),
    "base NaN": state(lambda s: s["bases"].update(rate=float("nan"))),
    "base gone": state(lambda s: s["bases"].clear()),
    "base of no window": state(lambda s: s["bases"].update(more=1)),
    "table upwards": state(lambda s: s.update(tables=["../../../secret"])),
    "table from the root": state(lambda s: s.update(tables=["/tmp/secret"])),
    "table unknown": state(lambda s: s.update(tables=["more"])),
    "table gone": state(lambda s: s.update(tables=[])),
    "vocabulary upwards": state(lambda s: s["vocabularies"].update({"../x": {"values": 1}})),
    "vocabulary gone": state(lambda s: s["vocabularies"].pop("user")),
    "vocabulary more": state(lambda s: s["vocabularies"].update(more={"hash_buckets": 3})),
    "buckets huge": state(lambda s: s["vocabularies"]["author"].update(hash_buckets=HUGE)),
    "buckets other": state(lambda s: s["vocabularies"]["author"].update(hash_buckets=11)),
    "buckets 0": state(lambda s: s["vocabularies"]["author"].update(hash_buckets=0)),
    "buckets as text": state(lambda s: s["vocabularies"]["author"].update(hash_buckets="x")),
    "type unknown": state(lambda s: s["row_columns"].update(user_id="Number")),
    "type deep": state(lambda s: s["row_columns"].update(user_id="List(" * 5000 + ")" * 5000)),
    "type of nowhere": state(lambda s: s["row_columns"].update(user_id="Datetime(us, No/Where)")),
    "column gone": state(lambda s: s["row_columns"].pop("user_id")),
    "past column gone": state(lambda s: s["past_columns"].pop("user_id")),
    "rows huge": state(lambda s: s["layout"]["tables"][0].update(rows=HUGE)),
    "list endless": state(lambda s: s["layout"]["bags"][0].update(max_length=10**12)),
    "list negative": state(lambda s: s["layout"]["bags"][0].update(max_length=-1)),
    "no tables": state(lambda s: s["layout"].update(tables=[])),
    "input dropped": state(lambda s: s["layout"]["ids"].pop()),
    "input of no table": state(lambda s: s["layout"]["ids"][0].update(table="more")),
    "task dropped": state(lambda s: s["layout"]["tasks"].pop()),
    "task twice": state(lambda s: s["layout"]["tasks"].append(s["layout"]["tasks"][0])),
    "tasks in another order": state(lambda s: s["layout"]["tasks"].reverse()),
    "kind unknown": state(lambda s: s["spec"]["features"]["user"].update(kind="more")),
    "kind a list": state(lambda s: s["spec"]["features"]["user"].update(kind=["more"])),
    "kind a function": state(lambda s: s["spec"]["features"]["user"].update(kind="os:system")),
    "feature dropped": state(lambda s: s["spec"]["features"].pop("user")),
    "time gone": state(lambda s: s["spec"]["data"].update(time=None)),
    "time unknown": state(lambda s: s["spec"]["data"]["time"].update(column="more")),
}  # fmt: skip

GRAPHS: dict[str, Alter] = {
    "empty": content(GRAPH, lambda _: b""),
    "no graph": content(GRAPH, lambda _: b"no graph"),
    "cut in half": content(GRAPH, lambda data: data[: len(data) // 2]),
    "with metadata that are no text": content(GRAPH, lambda data: data[:-3] + b"\x97" + data[-2:]),
    "with another score": content(GRAPH, lambda data: data.replace(b"click", b"clack")),
    "with another input": content(GRAPH, lambda data: data.replace(b"is_new", b"is_old")),
    "of another model": another(GRAPH, sealed=True),
    "with weights from elsewhere": outside,
}

ALTERATIONS: dict[str, tuple[Alter, str]] = {
    **ACCIDENTS,
    **{f"{FACTS} {name}": (alter, FACTS) for name, alter in FACTS_ALTERED.items()},
    **{f"{FACTS} {name}": case for name, case in OTHER_FACTS.items()},
    **TEXTS,
    **TABLES,
    **{f"state {name}": (alter, "state") for name, alter in STATES.items()},
    **{f"{GRAPH} {name}": (alter, GRAPH) for name, alter in GRAPHS.items()},
}


@pytest.fixture(scope="module")
def other(bundle: Bundle, spec, tmp_path_factory) -> Path:
    """Another model's bundle: other rows and videos, and another name."""
    log = make_log(300, seed=1).filter(pl.col("user_id") < 9)
    learned = fit(log.lazy(), log.lazy(), spec)
    tables = {name: table.head(9) for name, table in learned.tables.items()}
    learned = dataclasses.replace(learned, tables=tables, fingerprint="other")

    def write_graph(path: Path) -> dict[str, Any]:
        model = onnx.load(str(bundle.graph))
        onnx.helper.set_model_props(model, {"state": "other"})
        onnx.save(model, str(path))
        return {"parity": {}}

    return write_bundle(
        tmp_path_factory.mktemp("other") / "model",
        state=learned,
        config={"name": "other"},
        config_fingerprint="other",
        example=log.head(2),
        write_graph=write_graph,
    ).folder


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_altered_bundle_is_refused_by_the_name_of_a_file(
    bundle: Bundle, other: Path, tmp_path: Path, name: str
) -> None:
    alter, file = ALTERATIONS[name]
    folder = shutil.copytree(bundle.folder, tmp_path / "copy")
    alter(folder, other)
    with pytest.raises(FulcrumError) as error:
        Scorer(Bundle.load(folder), "cpu")
    message = str(error.value)
    assert message.startswith(str(folder))
    assert file in message.removeprefix(str(folder))
    assert "\n" not in message and "Traceback" not in message


def test_neither_is_refused_for_what_changes_nothing(
    bundle: Bundle, other: Path, tmp_path: Path
) -> None:
    """A folder that is a link, a link within it, files beside the model's own, a new seal."""
    folder = shutil.copytree(bundle.folder, tmp_path / "copy")
    (folder / EXAMPLE).rename(folder / "kept.json")
    (folder / EXAMPLE).symlink_to("kept.json")
    (folder / "note.txt").touch()
    seal(folder)
    (tmp_path / "link").symlink_to(folder)
    assert Bundle.load(tmp_path / "link").fingerprint == bundle.fingerprint
    assert Scorer(Bundle.load(other), "cpu").state.fingerprint == "other"
