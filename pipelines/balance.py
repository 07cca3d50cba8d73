"""Weightings as an axis of a comparison: every trunk with every one, and what each is worth.

A trunk is what stays the same when the weighting changes: model, tasks, features and data. Its
control is the same trunk with static weights. What a weighting gains over it is taken as gains over
single-task are (`pipelines.seesaw`): the same draws of users, the same intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from features.errors import ConfigError, nearest
from models.trunks.single_task import SingleTaskConfig
from models.weightings import WEIGHTINGS
from pipelines import balance_figures
from pipelines.check import problems
from pipelines.config import RunConfig
from pipelines.lineup import Lineup, is_equal
from pipelines.seesaw import METRICS as JUDGED
from pipelines.seesaw import Key, Samples, Seesaw, balance
from pipelines.words import listed

CONTROL = "static"
METRICS: dict[str, tuple[str, ...]] = {
    "binary": ("auc", "log_loss", "s_log_loss"),
    "regression": ("rmse", "mae"),
    "multiclass": ("accuracy", "log_loss"),
}
"""Told of each weighting, by kind of task; tables 2 and 3 of RMTL, Liu et al., WWW 2023, show the
first row."""
MEASURED = {kind: tuple(dict.fromkeys([*JUDGED[kind], *METRICS[kind]])) for kind in METRICS}
"""With those that networks are compared by."""


@dataclass(frozen=True)
class Balance:
    """One trunk with several weightings."""

    trunk: str
    seesaw: Seesaw
    """Of the networks with this trunk, over the control."""
    methods: dict[str, str]
    """Weighting by network."""
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


def methods(names: str) -> list[str]:
    """The weightings that a list with commas names, the control first. Raises ConfigError."""
    found = [CONTROL, *filter(None, (name.strip() for name in names.split(",")))]
    for name in found:
        if name not in WEIGHTINGS:
            hint = nearest(name, WEIGHTINGS) or f"; there are {', '.join(WEIGHTINGS)}"
            raise ConfigError(f"--weightings: there is no weighting `{name}`{hint}")
    return list(dict.fromkeys(found))


def multiply(configs: Sequence[RunConfig], names: Sequence[str]) -> list[RunConfig]:
    """The configs, each followed by itself with every weighting that is not its own, as
    `<name>+<method>`; single-task networks have no tasks to balance. Raises ConfigError when a
    weighting does not fit a run."""
    return [
        run
        for config in configs
        for run in (config, *(_with(config, name) for name in names if _takes(config, name)))
    ]


def trunks(lineup: Lineup) -> list[tuple[str, list[str]]]:
    """The networks that differ in their weighting's method alone, after their control, by the name
    of the trunk: that of the first of them."""
    groups: list[list[str]] = []
    for name, config in lineup.configs.items():
        same = (g for g in groups if _trunk(lineup.configs[g[0]]) == _trunk(config))
        group = next(same, None)
        if group is None:
            groups.append([name])
        else:
            group.append(name)
    found = []
    for group in groups:
        configs = {name: lineup.configs[name] for name in group}
        static = [name for name, config in configs.items() if config.weighting.method == CONTROL]
        if static and len({config.weighting.method for config in configs.values()}) > 1:
            control = next((name for name in static if is_equal(configs[name])), static[0])
            found.append((group[0], [control, *(name for name in group if name != control)]))
    return found


def weigh(
    lineup: Lineup,
    seesaw: Seesaw,
    samples: Mapping[str, Sequence[Samples]],
    slower: Mapping[str, Mapping[str, float | None]],
) -> list[Balance]:
    """What the weightings of each trunk gain over its control; `slower` by trunk and network."""
    return [
        Balance(
            trunk,
            Seesaw(
                names[0],
                seesaw.seeds,
                seesaw.tasks,
                balance({name: samples[name] for name in names}, names[0]),
                seesaw.undefined,
            ),
            {name: lineup.configs[name].weighting.method for name in names},
            dict(slower[trunk]),
        )
        for trunk, names in trunks(lineup)
    ]


def draw(found: Sequence[Balance]) -> Figure:
    """The gains over static weights, trunk by trunk."""
    gains = {
        b.trunk: {
            name: {
                task: (s.percent.value, s.percent.low, s.percent.high)
                for task, s in b.seesaw.judged(name).items()
                if s.percent is not None
            }
            for name in b.others
        }
        for b in found
    }
    return balance_figures.gains(list(found[0].seesaw.tasks), gains)


def worth(found: Balance) -> list[str]:
    """What each weighting is worth on the trunk, in words."""
    return [_worth(found, name) for name in found.others]


def _worth(found: Balance, name: str) -> str:
    rises, falls = found.seesaw.rises(name), found.seesaw.falls(name)
    cost = _cost(found.slower.get(name))
    if rises and falls:
        return f"{name}: {listed(rises)} rises, {listed(falls)} pays; {cost}."
    if rises:
        return f"{name}: {listed(rises)} rises and no task clearly pays; {cost}."
    if falls:
        return f"{name}: {listed(falls)} falls and no task clearly gains; {cost}."
    return f"{name} {cost} and no task clearly gains: it buys nothing."


def _cost(slower: float | None) -> str:
    if slower is None:
        return "was not timed"
    percent = round(100 * (slower - 1))
    if percent == 0:
        return "costs no more time a step"
    return f"costs {abs(percent)} % {'more' if percent > 0 else 'less'} time a step"


def _takes(config: RunConfig, name: str) -> bool:
    return not isinstance(config.model, SingleTaskConfig) and config.weighting.method != name


def _with(config: RunConfig, name: str) -> RunConfig:
    weighting = WEIGHTINGS[name](method=name)
    run = config.model_copy(update={"name": f"{config.name}+{name}", "weighting": weighting})
    wrong = problems(run)
    if wrong:
        told = "; ".join(map(str, wrong))
        raise ConfigError(f"--weightings: {name} does not fit {config.name}: {told}")
    return run


def _trunk(config: RunConfig) -> tuple[object, ...]:
    return config.model, config.tasks, config.features, config.data
