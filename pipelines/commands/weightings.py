def weightings() -> None:
    """List the loss weightings, the regularisers beside them, and their papers."""
    from pipelines import report, terminal

    terminal.results.print(report.weightings())
