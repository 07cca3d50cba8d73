def models() -> None:
    """List the networks that `model.architecture` may name, with their papers."""
    from pipelines import report, terminal

    terminal.results.print(report.architectures())
