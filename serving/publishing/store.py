"""Where runs and models are kept: the store unless a config or an option names another, and what
MLflow is to be told of one."""

from pathlib import Path

STORE = "sqlite:///mlruns.db"
"""An MLflow store in the working directory."""
SQLITE = "sqlite:///"


def database(uri: str) -> Path | None:
    """The file of a SQLite store: all that follows `sqlite:///`, as it is."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def address(uri: str) -> str:
    """The URI as MLflow is to be given it: SQLAlchemy reads escapes and a query in what may be the
    name of a folder, and MLflow keeps one engine for each URI, whatever the working directory."""
    from sqlalchemy.engine import URL  # not for a command that only wants the default

    file = database(uri)
    if file is None:
        return uri
    # Given the driver, too, MLflow makes no folder called as the escaped path.
    url = URL.create("sqlite+pysqlite", database=str(file.absolute()))
    return url.render_as_string(hide_password=False)
