"""The work that everybody does: two data sets, each with one network."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
from sklearn.preprocessing import LabelEncoder, MinMaxScaler

from benchmarks.logs import Size, make_run
from benchmarks.shipped import ROOT
from fulcrum.features.files.source import scan
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.config.run import RunConfig

CENSUS = "configs/census/mmoe.yaml"


def wide(folder: Path, size: Size) -> RunConfig:
    """The generated logs: 26 ids, 13 numbers, 3 labels; 6 experts of [256, 128]."""
    return make_run(folder, size, precision="fp32")


def census(folder: Path) -> RunConfig:
    """The shipped table as it is, without the buckets of its numbers; 4 experts of [128, 64]. The
    shipped network has dropout, which the peers' have not."""
    whole = load(ROOT / CENSUS)
    buckets = [name for name in whole.features if name.endswith("_bucket")]
    network = "{embedding_dim: 8, experts: 4, expert: [128, 64], tower: [32], dropout: 0}"
    changes = [
        *(f"features.{name}=null" for name in buckets),
        f"model={network}",
        f"data.events={ROOT / str(whole.data.events)}",
        f"workspace={folder / 'census'}",
        "train.batch_size=1024",
        "train.precision=fp32",
        "train.early_stopping=null",
        "train.epochs=1000",
    ]
    return load(ROOT / CENSUS, changes)


@dataclass(frozen=True)
class Encoded:
    """Features as the peers read them: ids from 0, numbers from 0 to 1, and labels."""

    frame: pd.DataFrame
    sizes: dict[str, int]
    """Of the vocabulary of each id."""
    numbers: tuple[str, ...]
    labels: tuple[str, ...]
    network: MMoEConfig
    batch_size: int

    @property
    def features(self) -> list[str]:
        return [*self.sizes, *self.numbers]

    def arrays(self) -> dict[str, np.ndarray]:
        """Of all features."""
        return {name: self.frame[name].to_numpy() for name in self.features}


def encode(run: RunConfig) -> Encoded:
    """Read and prepare as the examples of both peers do, in memory. Polars reads, which takes less
    time than pandas; an encoder learns all rows, as it could not meet a new value later."""
    ids = [name for name, feature in run.features.items() if feature.kind == "categorical"]
    numbers = [name for name in run.features if name not in ids]
    labels = [pl.sql_expr(task.label).cast(pl.Int64).alias(n) for n, task in run.tasks.items()]
    frame = scan(run.data.events).frame.select(*ids, *numbers, *labels).collect().to_pandas()
    sizes = {}
    for name in ids:
        column = frame[name]
        whole = pd.api.types.is_integer_dtype(column)
        encoder = LabelEncoder()
        frame[name] = encoder.fit_transform(column if whole else column.fillna("").astype(str))
        sizes[name] = len(encoder.classes_)
    frame[numbers] = MinMaxScaler().fit_transform(frame[numbers]).astype("float32")
    assert isinstance(run.model, MMoEConfig)
    return Encoded(frame, sizes, tuple(numbers), tuple(run.tasks), run.model, run.train.batch_size)
