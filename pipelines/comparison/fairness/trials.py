"""The settings that a comparison tries for each network: `--sweep train.epochs=[4,8]`.

A trial is all networks with one combination of the values that were declared. Without a sweep there
is one trial, that of the configs as they are.
"""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from fulcrum.features.errors import ConfigError
from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.config.yaml_text import parse

SWEPT = ("train", "model")
"""Parts of a config that may be swept: what else differs is another data set or another network."""

Trials = dict[str, list[RunConfig]]
"""The configs of each trial, by its settings in words."""


def read_trials(files: Sequence[Path], overrides: Sequence[str], sweep: Sequence[str]) -> Trials:
    """Raises ConfigError for a sweep that is none, and as `load` does for a config."""
    trials: Trials = {}
    for settings in product(*declared(sweep)):
        words = ", ".join(setting.replace("=", " ") for setting in settings)
        configs = [_load(file, overrides, settings) for file in files]
        for earlier, others in trials.items():
            _check(f"`{earlier}` and `{words}`", others, configs)
        trials[words] = configs
    return trials


def declared(sweep: Sequence[str]) -> list[list[str]]:
    """The values of each swept setting, as overrides of a config. Raises ConfigError."""
    values = {}
    for text in sweep:
        path, _, listed = (part.strip() for part in text.partition("="))
        document = parse(listed, text)
        found = document.data if isinstance(document.data, list) else []
        chosen = list(dict.fromkeys(f"{path}={json.dumps(value)}" for value in found))
        if document.problems or len(chosen) < 2 or len(chosen) < len(found):
            raise ConfigError(
                f"--sweep {text}: expected a path and different values, for example "
                "train.epochs=[4,8]"
            )
        if path.partition(".")[0] not in SWEPT:
            raise ConfigError(
                f"--sweep {text}: expected a setting of `{'` or `'.join(SWEPT)}`, which may suit "
                "one network and not another"
            )
        if path in values:
            raise ConfigError(f"--sweep {text}: `{path}` is swept twice")
        values[path] = chosen
    return list(values.values())


def _check(trials: str, ours: Sequence[RunConfig], theirs: Sequence[RunConfig]) -> None:
    """Raises ConfigError for two trials of the same networks between which there is no choice."""
    pairs = list(zip(ours, theirs, strict=True))
    if any(one.train.seed != other.train.seed for one, other in pairs):
        raise ConfigError(f"--sweep: no seed is better than another ({trials}); give `--seeds`")
    if any(type(one.model) is not type(other.model) for one, other in pairs):
        raise ConfigError(
            f"--sweep: another architecture is another network ({trials}); give a config for each"
        )
    if ours == theirs:
        raise ConfigError(f"--sweep: {trials} are the same settings; expected different ones")


def _load(file: Path, overrides: Sequence[str], settings: Sequence[str]) -> RunConfig:
    config = load(file, overrides)
    if not settings:
        return config
    try:
        return load(file, [*overrides, *settings])
    except ConfigError as error:
        raise ConfigError(f"--sweep, {file}: {error}") from error
