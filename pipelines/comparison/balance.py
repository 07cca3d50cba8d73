"""What weightings gain over the same trunk with static weights, and what they cost.

Gains are taken as those over single-task are (`seesaw`); the intervals of a trunk hold together.
Which networks belong to a trunk is said in `comparison.weightings`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fulcrum.features.errors import listed
from fulcrum.features.tasks import TASKS
from fulcrum.pipelines.comparison.seesaw import Seesaw, weigh_up
from fulcrum.pipelines.figures import balance as balance_figures
from fulcrum.pipelines.quality.pulls import METRICS as JUDGED
from fulcrum.pipelines.quality.pulls import Key, Samples

METRICS: dict[str, tuple[str, ...]] = {kind: task.weighed_by for kind, task in TASKS.items()}
"""Told of each weighting, by kind of task; tables 2 and 3 of RMTL, Liu et al., WWW 2023, show the
first row."""
MEASURED = {kind: tuple(dict.fromkeys([*JUDGED[kind], *METRICS[kind]])) for kind in METRICS}
"""With those that networks are compared by."""

CLEAR = 5
"""Per cent of a step's time below which a difference may be the machine's."""


@dataclass(frozen=True)
class Balance:
    """One trunk with several weightings."""

    trunk: str
    seesaw: Seesaw
    """Of the networks with this trunk, over the control."""
    slower: dict[str, float | None]
    """Time of a training step over the control's, by network; None where it is not known."""

    @property
    def control(self) -> str:
        """The trunk with static weights."""
        return self.seesaw.single

    @property
    def others(self) -> list[str]:
        """All but the control, the best mean gain first."""
        return [name for name in self.seesaw.ranked() if name != self.control]

    def metrics(self) -> dict[str, list[str]]:
        """What is told of each task: the metrics that are defined on its rows."""
        known = self.seesaw.standings[self.control]
        return {
            task: [metric for metric in METRICS[kind] if (task, metric) in known]
            for task, kind in self.seesaw.tasks.items()
        }

    def keys(self) -> list[Key]:
        """The same as pairs."""
        return [(task, metric) for task, names in self.metrics().items() for metric in names]


def weigh(
    trunks: Sequence[tuple[str, Sequence[str]]],
    seesaw: Seesaw,
    samples: Mapping[str, Sequence[Samples]],
    slower: Mapping[str, Mapping[str, float | None]],
) -> list[Balance]:
    """What the weightings of each trunk gain over its control, which is the first network of each;
    `slower` by trunk and network."""
    return [
        Balance(
            trunk,
            weigh_up(
                {name: samples[name] for name in names},
                names[0],
                seesaw.seeds,
                seesaw.tasks,
                seesaw.undefined,
                seesaw.positives,
                seesaw.relevant,
            ),
            dict(slower[trunk]),
        )
        for trunk, names in trunks
    ]


def draw(comparisons: Sequence[Balance]) -> balance_figures.Figure:
    """The gains over static weights, trunk by trunk."""
    gains = {b.trunk: {name: b.seesaw.bars(name) for name in b.others} for b in comparisons}
    first = comparisons[0].seesaw
    return balance_figures.gains(list(first.tasks), gains, first.relevant)


def worth(comparison: Balance) -> list[str]:
    """What each weighting is worth on the trunk, in words."""
    return [_worth(comparison, name) for name in comparison.others]


def _worth(comparison: Balance, name: str) -> str:
    rises, falls = comparison.seesaw.rises(name), comparison.seesaw.falls(name)
    cost = _cost(comparison.slower.get(name))
    if len(comparison.seesaw.seeds) == 1:
        return f"{name} {cost}; one seed cannot tell what it gains: give `--seeds 2` or more."
    up, down = (
        f"{listed(tasks)} {verb}"
        for tasks, verb in (
            (rises, _verb(rises, "rise")),
            (falls, _verb(falls, "pay" if rises else "fall")),
        )
    )
    if rises and falls:
        return f"{name}: {up}, {down}; it {cost}."
    if rises:
        return f"{name}: {up} and no task clearly pays; it {cost}."
    if falls:
        return f"{name}: {down} and no task clearly gains; it {cost}."
    return f"{name} {cost} and no task clearly gains: it buys nothing that shows here."


def _verb(tasks: Sequence[str], word: str) -> str:
    return word if len(tasks) > 1 else f"{word}s"


def _cost(slower: float | None) -> str:
    if slower is None:
        return "was not timed"
    percent = round(100 * (slower - 1))
    if abs(percent) < CLEAR:
        return "costs about the same time a step"
    return f"costs {abs(percent)} % {'more' if percent > 0 else 'less'} time a step"
