"""The same logs prepared as other libraries' examples do it: pandas and scikit-learn, in memory."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.preprocessing import LabelEncoder, MinMaxScaler

from benchmarks.logs import IDS, NUMBERS, TASKS


def prepare_frames(folder: Path, tasks: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids `(rows, 26)` int32, numbers `(rows, 13)` and labels `(rows, tasks)` float32.

    The earlier half of the rows trains: numbers are scaled by it. A label encoder cannot meet a new
    value, so it is fitted on all rows."""
    names, numbers = [f"id_{i:02}" for i in range(IDS)], [f"number_{i:02}" for i in range(NUMBERS)]
    labels = list(TASKS[:tasks])
    table = pd.read_parquet(folder / "logs.parquet", columns=[*names, *numbers, *labels])
    for name in names:
        table[name] = LabelEncoder().fit_transform(table[name]).astype(np.int32)
    scaler = MinMaxScaler().fit(table[numbers].iloc[: len(table) // 2])
    table[numbers] = scaler.transform(table[numbers]).astype(np.float32)
    return (
        table[names].to_numpy(np.int32),
        table[numbers].to_numpy(np.float32),
        table[labels].to_numpy(np.float32),
    )
