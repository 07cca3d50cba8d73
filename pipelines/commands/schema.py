import json

import typer


def schema() -> None:
    """Print the JSON Schema of a config, for editors.

    Save it, and let the first line of a config be `# yaml-language-server: $schema=<file>`.
    """
    from pipelines.load import schema as document

    typer.echo(json.dumps(document(), indent=2))
