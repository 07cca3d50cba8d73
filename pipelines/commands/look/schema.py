import json
from typing import Annotated, Literal

import typer


def schema(
    kind: Annotated[
        Literal["run", "experiment", "world"], typer.Argument(help="What the YAML file says.")
    ] = "run",
) -> None:
    """Print the JSON Schema of a config, for editors.

    Save it, and let the first line of a config be `# yaml-language-server: $schema=<file>`.
    """
    from fulcrum.features.config import Config
    from fulcrum.pipelines.ab.log.experiment import Experiment
    from fulcrum.pipelines.ab.simulation.config import Simulation
    from fulcrum.pipelines.config.load import schema as document
    from fulcrum.pipelines.config.run import RunConfig

    kinds: dict[str, type[Config]] = {
        "run": RunConfig,
        "experiment": Experiment,
        "world": Simulation,
    }
    typer.echo(json.dumps(document(kinds[kind]), indent=2))
