"""The data-training loop: which design of a test finds the effect of launching a recommender."""

import json
import os
from pathlib import Path
from typing import Literal

from fulcrum.pipelines.ab.simulation.loop.figure import distributions
from fulcrum.pipelines.ab.simulation.loop.play import LoopConfig, play
from fulcrum.pipelines.ab.simulation.loop.report import sentences, table
from fulcrum.pipelines.ab.simulation.loop.study import estimates, study
from fulcrum.pipelines.ab.simulation.worlds.base import Progress, Simulated, WorldConfig
from fulcrum.pipelines.figures.run import save

NUMBERS, PICTURE = "loop.json", "loop.png"


class LoopWorld(LoopConfig, WorldConfig):
    """Many replications of a test in which models learn from the users they serve."""

    kind: Literal["loop"] = "loop"

    def simulate(self, folder: Path, progress: Progress) -> Simulated:
        """Write the numbers and a picture of the estimates. Raises TrainError where replications
        live in different regimes."""
        studies, rows = [], []
        for share in self.shares:
            what = f"{share:.0%} treated"
            outcome = play(
                self,
                share,
                len(os.sched_getaffinity(0)),
                lambda done, of, what=what: progress(what, done, of),  # type: ignore[misc]
            )
            result = study(self, share, outcome)
            studies.append(result)
            rows.append((what, result.truth, estimates(self, outcome)))
        numbers = [result.document() for result in studies]
        (folder / NUMBERS).write_text(json.dumps(numbers, indent=2), encoding="utf-8")
        save(distributions(rows), folder / PICTURE)
        return Simulated(
            tuple(table(self, result) for result in studies),
            tuple(
                f"{result.share:.0%} treated. {sentence}"
                for result in studies
                for sentence in sentences(self, result)
            ),
            {
                f"{part}/{line.design}/{line.metric}/{result.share:g}": getattr(line, part)
                for result in studies
                for line in result.lines
                for part in ("bias", "std", "rmse", "rejected")
            },
        )
