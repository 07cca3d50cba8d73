"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fulcrum.serving.publishing.store import STORE as STORE

Config = Annotated[
    Path, typer.Argument(help="The run's YAML file.", metavar="CONFIG", show_default=False)
]
Set = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change one value of the config, for example --set train.epochs=3. May be repeated.",
        default_factory=list,
        show_default=False,
    ),
]
Run = Annotated[
    str, typer.Argument(help="A run's id, or the name of one (then the newest).", metavar="RUN")
]
Tracking = Annotated[
    str, typer.Option("--tracking", metavar="URI", help="MLflow store or server to look in.")
]
MODEL = typer.Option(
    "--model",
    metavar="URI",
    help="models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/model or a folder.",
    show_default=False,
)
Logs = Annotated[
    list[str],
    typer.Argument(
        help="Parquet or CSV files, a folder, a glob, or the folder of `fulcrum serve --log`.",
        metavar="LOGS...",
        show_default=False,
    ),
]
ExperimentFile = Annotated[
    Path, typer.Option(help="The experiment's YAML file.", show_default=False)
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(
        "--device",
        help="`cuda` stops when CUDA does not work; `auto` takes the CPU then.",
    ),
]
History = Annotated[
    str | None,
    typer.Option(
        "--history",
        metavar="GLOB",
        help="Past events for histories and windows: Parquet or CSV files, a folder or a glob.",
        show_default=False,
    ),
]
