"""Which units count, in words."""

from collections.abc import Iterator

from fulcrum.pipelines.ab.log.columns import CLUSTER
from fulcrum.pipelines.ab.log.units import ROWS, Units


def notes(units: Units) -> Iterator[str]:
    """What to know about the units behind the numbers."""
    total = len(units.frame)
    silent = int((units.frame[ROWS] == 0).sum())
    if silent:
        yield (
            f"{silent:,} of {total:,} units were dealt to an arm and have no row of the test; they "
            "count as units that did nothing."
        )
    for metric, count in units.waiting.items():
        yield (
            f"{metric}: for {count:,} of {total:,} units its time was not over when the log ended; "
            "they do not count in it."
        )
    if CLUSTER in units.frame.columns:
        clusters = units.frame[CLUSTER].n_unique()
        yield (
            f"The {total:,} units are of {clusters:,} clusters, and it is clusters that vary: "
            "numbers of units beside effects are numbers of clusters."
        )
