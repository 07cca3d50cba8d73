def weightings() -> None:
    """List the loss weightings, the regularisers beside them, and their papers."""
    from fulcrum.pipelines.console import terminal
    from fulcrum.pipelines.runs import tables

    terminal.results.print(tables.weightings())
