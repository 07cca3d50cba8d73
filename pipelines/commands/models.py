def models() -> None:
    """List what a network may be made of, with the papers: architecture, bottom, interaction."""
    from pipelines import report, terminal

    terminal.results.print(report.networks())
