"""A small model with every kind of feature, exported once for all tests here."""

import shutil

import numpy as np
import polars as pl
import pytest
import torch

from fulcrum.features.spec import FeatureSpec
from fulcrum.features.transform.fit import fit
from fulcrum.features.transform.transform import transform
from fulcrum.models.network import Network
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.serving.bundle.bundle import Bundle, write_bundle
from fulcrum.serving.publishing.export import export

MODEL = MMoEConfig(embedding_dim=4, experts=2, expert=(8,), tower=(4,))
OUTCOMES = ("click", "long_view", "seconds")


def random_weights(layout, model, seed=0):
    """`Network.state_dict()` of an untrained network, with tables large enough to matter."""
    torch.manual_seed(seed)
    network = Network(layout, model, tables_device=torch.device("cpu"))
    state = network.state_dict()
    return {
        key: torch.randn(value.shape) if key.startswith("tables.") else value
        for key, value in state.items()
    }


def make_log(rows, seed=0):
    """Impressions, a page of them at one instant, in no order."""
    random = np.random.default_rng(seed)
    click = random.random(rows) < 0.5
    return pl.DataFrame(
        {
            "user_id": random.integers(0, 12, rows),
            "video_id": [f"v{i}" for i in random.integers(0, 20, rows)],
            "time_ms": 1_650_000_000_000 + random.integers(0, rows // 4 + 1, rows) * 60_000,
            "duration_s": np.where(random.random(rows) < 0.1, np.nan, random.exponential(30, rows)),
            "is_new": random.random(rows) < 0.3,
            "tags": [list("abc"[: random.integers(0, 4)]) for _ in range(rows)],
            "click": click,
            "long_view": (click & (random.random(rows) < 0.5)).astype(np.int64),
            "seconds": np.where(click, random.exponential(60, rows), 0.0),
        }
    ).with_columns(pl.col("duration_s").fill_nan(None))


@pytest.fixture(scope="session")
def log():
    return make_log(400)


@pytest.fixture(scope="session")
def spec(tmp_path_factory, log):
    folder = tmp_path_factory.mktemp("raw")
    log.write_parquet(folder / "log.parquet")
    videos = pl.DataFrame({"video_id": [f"v{i}" for i in range(15)]})
    videos.with_columns(author=pl.int_range(15) // 4).write_parquet(folder / "videos.parquet")
    return FeatureSpec.model_validate(
        {
            "data": {
                "events": str(folder / "log.parquet"),
                "tables": {"videos": {"path": str(folder / "videos.parquet"), "key": "video_id"}},
                "time": {"column": "time_ms", "unit": "ms"},
                "derive": {"minute": "(time_ms // 60000) % 60"},
                "outcomes": OUTCOMES,
                "keys": ["user_id", "video_id", "time_ms"],
            },
            "features": {
                "user": {"kind": "categorical", "column": "user_id"},
                "video": {"kind": "categorical", "column": "video_id", "min_count": 5},
                "author": {"kind": "categorical", "hash_buckets": 10},
                "is_new": {"kind": "categorical"},
                "tags": {"kind": "multi", "max_length": 2},
                "duration_s": {"kind": "numeric", "transform": "log1p"},
                "minute": {"kind": "numeric", "transform": "quantile", "buckets": 4},
                "seen": {"kind": "window", "key": "user_id", "statistic": "count", "over": "30m"},
                "rate": {
                    "kind": "window",
                    "key": "video_id",
                    "statistic": "rate",
                    "where": "click",
                    "smoothing": 2,
                },
                "viewed": {
                    "kind": "history",
                    "key": "user_id",
                    "where": "long_view = 1",
                    "length": 5,
                    "attributes": ["video", "author"],
                },
            },
            "tasks": {
                "click": {"kind": "binary", "label": "click"},
                "long_view": {"kind": "binary", "label": "long_view", "given": "click"},
                "watch": {"kind": "regression", "label": "seconds", "transform": "log1p"},
            },
        }
    )


@pytest.fixture(scope="session")
def state(spec, log):
    return fit(log.lazy(), log.lazy(), spec)


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory, state, log):
    """`make_bundle(seed=0, **serving)`: a bundle of random weights."""

    def make(seed=0, **serving) -> Bundle:
        return export(
            tmp_path_factory.mktemp("models") / "model",
            state=state,
            model=MODEL,
            weights=random_weights(state.layout, MODEL, seed),
            config={"name": "small", "serving": serving},
            config_fingerprint="c0ffee",
            held_out=transform(log, state, log.lazy()),
            example=log.head(3),
        )

    return make


@pytest.fixture(scope="session")
def bundle(make_bundle) -> Bundle:
    return make_bundle(batch_size=64, max_rows=200, max_body_bytes=100_000)


@pytest.fixture
def other_bundle(bundle, log, tmp_path) -> Bundle:
    """The same graph under another config: another model, made without an export."""

    def copy_graph(path):
        shutil.copy(bundle.graph, path)
        return {"parity": {}}

    return write_bundle(
        tmp_path / "other",
        state=bundle.state,
        config={"name": "other", "serving": {}},
        config_fingerprint="other",
        example=log.head(1),
        write_graph=copy_graph,
    )


@pytest.fixture(scope="session")
def expected(bundle, log):
    """Scores of torch for the log with itself as the past: the rows' own order."""
    return torch_scores(bundle, log, log)


def torch_scores(bundle, rows, past):
    from fulcrum.features.reading.arrays import to_arrays
    from fulcrum.features.reading.batch import from_arrays

    layout = bundle.state.layout
    network = Network(layout, MODEL, tables_device=torch.device("cpu"))
    network.load_state_dict(random_weights(layout, MODEL))
    encoded = transform(rows, bundle.state, past.lazy())
    with torch.no_grad():
        scores = network.eval()(from_arrays(layout, to_arrays(encoded, layout)))[1]["scores"]
    return pl.DataFrame(scores.numpy(), schema=list(layout.score_columns))
