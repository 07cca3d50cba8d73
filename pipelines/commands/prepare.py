from fulcrum.pipelines.commands.options import Config, Set


def prepare(config: Config, overrides: Set) -> None:
    """Build the data set that training reads, and print what each feature looks like.

    A data set that is there already, from the same config and files, is not built again.
    """
    from fulcrum.pipelines.config.load import load

    run = load(config, overrides)

    from fulcrum.pipelines.console import terminal
    from fulcrum.pipelines.runs import tables
    from fulcrum.pipelines.runs.prepare import prepare_dataset

    dataset = prepare_dataset(run, terminal.messages)
    terminal.results.print(tables.splits(dataset.manifest))
    terminal.results.print(tables.features(dataset.drift))
    terminal.results.print(tables.advice(dataset.advice))
    terminal.results.print(f"prepared data set: {dataset.folder}")
