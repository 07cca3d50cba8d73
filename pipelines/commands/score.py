from pathlib import Path
from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import MODEL, STORE, Device, History, Tracking


def score(
    model: Annotated[str, MODEL],
    inputs: Annotated[
        str,
        typer.Option(
            "--input",
            metavar="GLOB",
            help="Raw rows: files, a folder or a glob.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", show_default=False)],
    history: History = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=256, help="Processes that score a file each, of one thread each if several."
        ),
    ] = 1,
    shard: Annotated[
        str,
        typer.Option(
            metavar="I/N",
            help="Score every N-th file from the I-th on; N machines share the work.",
        ),
    ] = "1/1",
    device: Device = "auto",
    tracking: Tracking = STORE,
) -> None:
    """Score Parquet or CSV files: one output file per input file, restartable.

    Output rows carry the key columns and one column per task. Files that are done already are
    skipped, so a killed run goes on where it stopped.
    """
    from fulcrum.pipelines.console.terminal import messages, results
    from fulcrum.serving.publishing.resolve import resolve
    from fulcrum.serving.scoring.files import score_files
    from fulcrum.serving.scoring.shard import Shard

    share = Shard.parse(shard)
    bundle = resolve(model, tracking).bundle
    with messages.status("scoring") as status:
        report = score_files(
            bundle,
            inputs,
            output,
            history=history,
            device=device,
            workers=workers,
            shard=share,
            progress=lambda file, rows: status.update(f"scoring {file.name}: {rows:,} rows"),
        )
    results.print(
        f"{report.rows:,} rows in {report.files} file(s) under {output}"
        f" ({report.skipped} done before)"
    )
    for name, count in sorted(report.unknown.items()):
        if count:
            results.print(f"  {name}: {count:,} unknown ids")
