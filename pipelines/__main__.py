"""The command line: `fulcrum`, or `python -m fulcrum`."""

import gc
import sys
from collections.abc import Callable

import typer

from fulcrum.features.errors import FulcrumError
from fulcrum.pipelines.commands.ab.analyze import analyze
from fulcrum.pipelines.commands.ab.designs import designs
from fulcrum.pipelines.commands.ab.power import power
from fulcrum.pipelines.commands.ab.simulate import simulate
from fulcrum.pipelines.commands.baseline import baseline
from fulcrum.pipelines.commands.compare import compare
from fulcrum.pipelines.commands.evaluate import evaluate
from fulcrum.pipelines.commands.group import group
from fulcrum.pipelines.commands.look.doctor import doctor
from fulcrum.pipelines.commands.look.models import models
from fulcrum.pipelines.commands.look.schema import schema
from fulcrum.pipelines.commands.look.show import show
from fulcrum.pipelines.commands.look.ui import ui
from fulcrum.pipelines.commands.look.weightings import weightings
from fulcrum.pipelines.commands.prepare import prepare
from fulcrum.pipelines.commands.promote import promote
from fulcrum.pipelines.commands.register import register
from fulcrum.pipelines.commands.score import score
from fulcrum.pipelines.commands.serve import serve
from fulcrum.pipelines.commands.train import train
from fulcrum.pipelines.console.termination import terminable

COMMANDS = {
    "Train": (prepare, train, evaluate, baseline, compare, group, register, promote),
    "Score": (score, serve),
    "Look": (show, schema, models, weightings, ui, doctor),
}
AB_COMMANDS: tuple[Callable[..., None], ...] = (simulate, designs, power, analyze)

app = typer.Typer(
    name="fulcrum",
    help="Declarative multi-task recommenders: one YAML file from logs to a served model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for _panel, _commands in COMMANDS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)

ab = typer.Typer(
    help="A/B tests of recommenders that learn: simulate, weigh, analyse.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
for _command in AB_COMMANDS:
    ab.command()(_command)
app.add_typer(ab, name="ab", rich_help_panel="Experiment")


@app.callback()
def _before() -> None:
    from fulcrum.pipelines.console.terminal import start_logging

    start_logging()


GARBAGE = (10_000, 20, 20)
"""When Python looks for cycles. It does by default after 700 new objects, of which an import makes
a hundred thousand that all stay: a fifth of what a command takes to start."""


def main() -> None:
    """Run a command. What the user can put right is one message and exit code 2."""
    gc.set_threshold(*GARBAGE)
    try:
        with terminable():
            app()
    except FulcrumError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
