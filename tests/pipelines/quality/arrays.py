"""Predictions from arrays, for whoever measures them; and the arrays of predictions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fulcrum.features.declared.session import SESSION
from fulcrum.features.layout import Layout
from fulcrum.pipelines.quality.prediction_file import PredictionFile
from fulcrum.pipelines.quality.predictions import GROUP, WEIGHT, Predictions


@dataclass(frozen=True)
class Arrays(Predictions):
    """All rows and tasks at once."""

    layout: Layout
    scores: np.ndarray
    """`(rows, score columns)`."""
    losses: np.ndarray
    """`(rows, tasks)`, as labels and what is observed."""
    labels: np.ndarray
    observed: np.ndarray
    weight: np.ndarray
    """`(rows,)`, as those below."""
    group: np.ndarray
    session: np.ndarray

    def column(self, name: str) -> np.ndarray:
        of_rows = {WEIGHT: self.weight, GROUP: self.group, SESSION: self.session}
        if name in of_rows:
            return of_rows[name]
        what, _, of = name.partition(".")
        if what == "score":
            return self.scores[:, self.layout.score_columns.index(of)]
        of_tasks = {"loss": self.losses, "label": self.labels, "observed": self.observed}
        return of_tasks[what][:, [task.name for task in self.layout.tasks].index(of)]

    def filed(self, folder: Path, batch: int = 64) -> PredictionFile:
        """The same rows in a file, as they are when a network has scored them batch by batch."""
        file = PredictionFile(self.layout, folder)
        for start in range(0, len(self), batch):
            part = slice(start, start + batch)
            of_tasks = (self.scores[part], self.labels[part], self.observed[part])
            of_rows = (self.weight[part], self.group[part], self.session[part])
            file.add(*of_tasks, *of_rows, self.losses[part])
        return file.end()


def arrays(predictions: Predictions) -> Arrays:
    """All columns of predictions."""
    layout, column = predictions.layout, predictions.column

    def of_tasks(what: str) -> np.ndarray:
        return np.stack([column(f"{what}.{task.name}") for task in layout.tasks], 1)

    scores = np.stack([column(f"score.{name}") for name in layout.score_columns], 1)
    parts = (of_tasks(what) for what in ("loss", "label", "observed"))
    return Arrays(layout, scores, *parts, column(WEIGHT), column(GROUP), column(SESSION))
