import json
from typing import Annotated, Literal

import typer


def schema(
    kind: Annotated[
        Literal["run", "experiment"], typer.Argument(help="What the YAML file says.")
    ] = "run",
) -> None:
    """Print the JSON Schema of a config, for editors.

    Save it, and let the first line of a config be `# yaml-language-server: $schema=<file>`.
    """
    from features.config import Config
    from pipelines.ab.experiment import Experiment
    from pipelines.config import RunConfig
    from pipelines.load import schema as document

    kinds: dict[str, type[Config]] = {"run": RunConfig, "experiment": Experiment}
    typer.echo(json.dumps(document(kinds[kind]), indent=2))
