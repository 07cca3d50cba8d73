def weightings() -> None:
    """List the loss weightings that `weighting.method` may name, with their papers."""
    from pipelines import report, terminal

    terminal.results.print(report.weightings())
