def models() -> None:
    """List what a network may be made of, with the papers: architecture, bottom, interaction."""
    from fulcrum.pipelines.console import terminal
    from fulcrum.pipelines.runs import tables

    terminal.results.print(tables.networks())
