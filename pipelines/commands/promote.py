from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import STORE, Tracking

REFUSED = 3
"""Exit code."""


def promote(
    name: Annotated[
        str, typer.Argument(help="The registered model's name.", metavar="NAME", show_default=False)
    ],
    force: Annotated[
        str | None,
        typer.Option(
            metavar="WHY",
            help="Promote it although the gate refuses it, and keep the reason with it.",
            show_default=False,
        ),
    ] = None,
    tracking: Tracking = STORE,
) -> None:
    """Make a model's @candidate its @champion, if it is good enough.

    Measures the candidate on its own test rows, beside the present champion, or a constant where
    there is none, and writes the reasons into the version's description and into its run. The exit
    code is 0 when the candidate is champion, 3 when it is refused.
    """
    pass_gate(tracking, name, force=force)


def pass_gate(
    tracking: str, name: str, *, version: int | None = None, force: str | None = None
) -> None:
    """Promote, tell what the gate found, and end with the exit code."""
    from fulcrum.features.errors import ConfigError
    from fulcrum.pipelines.console import terminal
    from fulcrum.pipelines.promotion import page
    from fulcrum.pipelines.promotion.promote import promote as run

    if force is not None and not force.strip():
        raise ConfigError("--force: expected the reason, which is kept with the version")
    promotion = run(tracking, name, terminal.messages, version=version, force=force)
    model = f"models:/{name}/{promotion.version}"
    if promotion.findings:
        terminal.results.print(page.table(f"{model} at the gate", promotion.findings))
    terminal.results.print(promotion.said, markup=False, soft_wrap=True)
    if not promotion.promoted:
        raise typer.Exit(REFUSED)
    terminal.results.print(f"{model} is @champion")
