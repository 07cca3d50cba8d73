"""What every kind of feature promises. A kind's own test file inherits this, names its shortest
declaration and says in plain Python what the rows become."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal, assert_series_equal
from pydantic import TypeAdapter

from fulcrum.features.kinds import KINDS, FeatureConfig, FeatureKind
from fulcrum.features.kinds.recall import RecallKind
from fulcrum.features.layout import NULL, DenseInput, IdInput
from fulcrum.features.prepared.prepare import prepare
from fulcrum.features.transform.fit import fit
from fulcrum.features.transform.past import gather
from fulcrum.features.transform.state import FeatureState
from fulcrum.features.transform.transform import Transform
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.http.event_store import open_store
from fulcrum.serving.http.live_past import LivePast
from fulcrum.testing import logs
from fulcrum.testing.logs import Event
from fulcrum.testing.specs import encode, make_spec

ADAPTER: TypeAdapter[FeatureKind] = TypeAdapter(FeatureConfig)
DATA = {
    "time": {"column": "time", "unit": "us", "earliest": "1970-01-01"},
    "outcomes": ["click", "bought"],
}
TASKS = {"bought": {"kind": "binary", "label": "bought"}}
SCHEMA: dict[str, Any] = {**logs.SCHEMA, "tags": pl.List(pl.String), "bought": pl.Int8}
LAST = 8
"""Second after which no event of the training split lies."""

Log = list[Event]


def rows(first: int = 0, last: int = LAST) -> st.SearchStrategy[Log]:
    """Events between two times, with tags, and numbers whose sums are exact; some are there twice,
    and every second one ends in a purchase."""
    more = st.fixed_dictionaries(
        {
            "play": st.sampled_from([None, 0.0, 0.5, -2.5, float("nan"), float("inf")]),
            "tags": st.none() | st.lists(st.none() | st.sampled_from("abc"), max_size=3),
        }
    )
    events = st.builds(lambda event, rest: event | rest, logs.events(first, last), more)
    return st.lists(events, min_size=2, max_size=20).flatmap(logs.repeated).map(_with_purchases)


def _with_purchases(log: Log) -> Log:
    return [event | {"bought": place % 2} for place, event in enumerate(log)]


def frame(log: Log) -> pl.DataFrame:
    return pl.DataFrame(log, schema=SCHEMA)


def examples(count: int) -> settings:
    """For tests that several classes inherit: the classes hold nothing that an example changes, so
    one that failed in one class may be tried again in another."""
    tried_again = [HealthCheck.differing_executors]
    return settings(max_examples=count, deadline=None, suppress_health_check=tried_again)


def encode_online(log: pl.DataFrame, state: FeatureState, outcomes: Sequence[str]) -> pl.DataFrame:
    """Each row of a log by itself and without its outcomes, looking back as the service does: on
    the service's own store, to which the log is added as `--history` is."""
    store = open_store([state], ServingConfig(), None)
    assert store is not None
    with closing(store), tempfile.TemporaryDirectory() as folder:
        past = LivePast(store, state)
        file = Path(folder) / "log.parquet"
        log.write_parquet(file)
        store.load(file, [log])
        rows = [log[[place]].drop(outcomes) for place in range(len(log))]
        return pl.concat(encode(row, state, past.gathered()) for row in rows)


class KindContract:
    """Tests that hold for every kind of feature."""

    name: ClassVar[str]
    """Of the feature."""
    others: ClassVar[Mapping[str, Any]] = {}
    """Further features that the declaration needs."""

    def document(self) -> dict[str, Any]:
        """The feature as the YAML says it, with nothing that could be left out."""
        raise NotImplementedError

    def reference(self, train: Log, log: Log) -> Mapping[str, Sequence[Any]]:
        """By input, what the rows of `log` become after training on `train`; each looks back on
        all of `log`, the training rows on `train`."""
        raise NotImplementedError

    def absent(self, row: Event, log: Log) -> bool:
        """Whether the row has no value of the feature."""
        raise NotImplementedError

    def features(self) -> dict[str, Any]:
        return {**self.others, self.name: self.document()}

    def config(self) -> FeatureKind:
        return ADAPTER.validate_python(self.document())

    def fit(self, train: Log) -> FeatureState:
        spec = make_spec(self.features(), data=DATA, tasks=TASKS)
        return fit(frame(train).lazy(), frame(train).lazy(), spec)

    def inputs(self, state: FeatureState) -> list[str]:
        """Names of the feature's inputs, which the layout has, too."""
        encoders = state.spec.encoders
        of = encoders[self.name].inputs(self.name, state.learned[self.name], encoders)
        assert set(of) <= set(state.layout.inputs)
        return [source.name for source in of]

    def test_is_listed(self) -> None:
        config = self.config()
        assert KINDS[config.kind] is type(config)

    def test_config_round_trips(self) -> None:
        config = self.config()
        assert ADAPTER.validate_json(config.model_dump_json()) == config

    def test_declaration_is_the_shortest(self) -> None:
        for key in self.document():
            rest = {name: value for name, value in self.document().items() if name != key}
            with pytest.raises(ValueError, match=key):
                ADAPTER.validate_python(rest)

    @examples(20)
    @given(train=rows(), log=rows(last=LAST + 4))
    def test_rows_become_what_plain_python_says(self, train: Log, log: Log) -> None:
        state = self.fit(train)
        encoded = encode(frame(log), state, frame(log))
        expected = self.reference(train, log)
        assert self.inputs(state) == list(expected)
        for name, values in expected.items():
            wanted = pl.Series(name, values, encoded[name].dtype)
            assert_series_equal(encoded[name], wanted, rel_tol=1e-5, abs_tol=1e-5)

    @examples(15)
    @given(train=rows(), log=rows(last=LAST + 4))
    def test_what_is_missing_is_null_empty_or_0(self, train: Log, log: Log) -> None:
        state = self.fit(train)
        encoder = self.config().encoder(self.name)
        missing = {"missing": encoder.missing(self.name, state.schema(self.name))}
        past = gather(frame(log).lazy(), state)
        encoded = pl.DataFrame(dict(Transform(state, missing)(frame(log), past)))
        assert encoded["missing"].to_list() == [self.absent(row, log) for row in log]
        gone = encoded.filter("missing")
        names = self.inputs(state)
        for source in (s for s in state.layout.inputs if s.name in names):
            column = gone[source.name]
            if isinstance(source, DenseInput):
                flag = source.name == f"{self.name}.null"
                assert (column == float(flag)).all()
            elif isinstance(source, IdInput):
                assert (column == NULL).all()
                assert (encoded[source.name] == NULL).sum() == len(gone)
            else:
                assert (column.list.len() == 0).all()
                assert (encoded[source.name].list.len() == 0).sum() == len(gone)

    @examples(10)
    @given(train=rows(), log=rows(last=LAST + 4))
    def test_a_saved_state_transforms_alike(self, train: Log, log: Log) -> None:
        state = self.fit(train)
        with tempfile.TemporaryDirectory() as folder:
            state.save(Path(folder))
            loaded = FeatureState.load(Path(folder))
        assert loaded.spec == state.spec
        assert loaded.learned == state.learned
        seen, expected = (encode(frame(log), s, frame(log)) for s in (loaded, state))
        assert_frame_equal(seen, expected, check_exact=True)

    @examples(5)
    @given(train=rows(), held_out=rows(LAST + 1, LAST + 4), other=rows(LAST + 1, LAST + 4))
    def test_only_the_training_split_teaches(self, train: Log, held_out: Log, other: Log) -> None:
        """Other rows for validation and test, and the same bytes of state but for the fingerprint
        of the files."""
        with tempfile.TemporaryDirectory() as folder:
            first, second = (
                self.taught(train, rest, Path(folder) / name)
                for name, rest in (("first", held_out), ("second", other))
            )
        assert first == second

    def taught(self, train: Log, held_out: Log, folder: Path) -> dict[str, bytes]:
        """The files of the state after preparation; `held_out` is validation and test alike."""
        splits = [(train, "train"), (held_out, "valid"), (held_out, "test")]
        whole = pl.concat(frame(log).with_columns(split=pl.lit(name)) for log, name in splits)
        folder.mkdir()
        whole.write_parquet(folder / "log.parquet")
        data = DATA | {
            "events": str(folder / "log.parquet"),
            "split": {"kind": "column", "column": "split"}
            | {name: [name] for name in ("train", "valid", "test")},
        }
        prepared = prepare(make_spec(self.features(), data, TASKS), folder).folder / "state"
        files = {str(p.relative_to(prepared)): p.read_bytes() for p in prepared.rglob("*.*")}
        state = json.loads(files.pop("state.json"))
        del state["fingerprint"], state["spec"]["data"]["events"]
        return files | {"state.json": json.dumps(state).encode()}


class LookBackContract(KindContract):
    """Tests that hold for kinds that read past events."""

    def test_looks_back(self) -> None:
        assert isinstance(self.config(), RecallKind)

    @examples(10)
    @given(train=rows(), log=rows(last=LAST + 4))
    def test_online_is_as_offline(self, train: Log, log: Log) -> None:
        state = self.fit(train)
        offline = encode(frame(log), state, frame(log))
        online = encode_online(frame(log), state, ("click", "bought"))
        assert_frame_equal(online, offline, check_exact=True)
