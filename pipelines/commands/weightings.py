def weightings() -> None:
    """List the loss weightings, the regularisers beside them, and their papers."""
    from fulcrum.pipelines.console import terminal
    from fulcrum.pipelines.runs import tables as report

    terminal.results.print(report.weightings())
