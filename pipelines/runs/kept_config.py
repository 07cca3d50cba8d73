"""The config that a run was started with."""

import logging

from fulcrum.features.errors import ConfigError
from fulcrum.features.plugins import other_versions
from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.tracking.mlflow import FoundRun

logger = logging.getLogger(__name__)


def kept_config(run: FoundRun) -> RunConfig:
    """Read it from the run's folder.

    Raises ConfigError that says what to install when plugins that brought parts of the run are not
    here, and warns of those that are here in another version.
    """
    versions = other_versions(run.plugins)
    if missing := [requirement for requirement, here in versions.items() if here is None]:
        packages = " ".join(missing)
        raise ConfigError(
            f"run {run.name} has parts of {packages}, which is not installed here "
            f"(`pip install {packages}`)"
        )
    for requirement, here in versions.items():
        logger.warning("run %s was made with %s; %s is installed here", run.name, requirement, here)
    return load(run.folder / "config.yaml")
