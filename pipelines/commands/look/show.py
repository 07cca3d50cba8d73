import typer

from fulcrum.pipelines.commands.options import Config, Set


def show(config: Config, overrides: Set) -> None:
    """Print a config as it will run: parents merged, overrides applied, lists of windows written
    out, defaults filled in.

    The last line is the fingerprint of the whole, which the run will carry.
    """
    from fulcrum.pipelines.config.load import fingerprint, load, to_yaml

    run = load(config, overrides)
    typer.echo(f"{to_yaml(run)}# fingerprint: {fingerprint(run)}")
