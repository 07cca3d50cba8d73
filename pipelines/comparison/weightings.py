"""Weightings as an axis of a comparison: every trunk with every one.

A trunk is what stays the same when the weighting changes: model, tasks, features and data. Its
control is the same trunk with static weights.
"""

from collections.abc import Sequence

from fulcrum.features.errors import ConfigError, nearest
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.models.weightings import WEIGHTINGS
from fulcrum.pipelines.comparison.contenders import Lineup, is_equal
from fulcrum.pipelines.config.rules import problems
from fulcrum.pipelines.config.run import RunConfig

CONTROL = "static"


def methods(names: str) -> list[str]:
    """The weightings that a list with commas names, the control first. Raises ConfigError."""
    chosen = [CONTROL, *filter(None, (name.strip() for name in names.split(",")))]
    for name in chosen:
        if name not in WEIGHTINGS:
            hint = nearest(name, WEIGHTINGS) or f"; there are {', '.join(WEIGHTINGS)}"
            raise ConfigError(f"--weightings: there is no weighting `{name}`{hint}")
    return list(dict.fromkeys(chosen))


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
    trials = []
    for group in groups:
        configs = {name: lineup.configs[name] for name in group}
        static = [name for name, config in configs.items() if config.weighting.method == CONTROL]
        if static and len({config.weighting.method for config in configs.values()}) > 1:
            control = next((name for name in static if is_equal(configs[name])), static[0])
            trials.append((group[0], [control, *(name for name in group if name != control)]))
    return trials


def _takes(config: RunConfig, name: str) -> bool:
    return not isinstance(config.model, SingleTaskConfig) and config.weighting.method != name


def _with(config: RunConfig, name: str) -> RunConfig:
    weighting = WEIGHTINGS[name](method=name)
    run = config.model_copy(update={"name": f"{config.name}+{name}", "weighting": weighting})
    wrong = [problem for problem in problems(run) if problem.path[0] == "weighting"]
    if wrong:
        reasons = "; ".join(map(str, wrong))
        raise ConfigError(f"--weightings: {name} does not fit {config.name}: {reasons}")
    return run


def _trunk(config: RunConfig) -> tuple[object, ...]:
    return config.model, config.regulariser, config.tasks, config.features, config.data
