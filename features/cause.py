"""What an exception of Python or of a library says, as a part of one line."""

from pydantic import ValidationError

from fulcrum.features.errors import FulcrumError

LENGTH = 300
"""Characters of it, at most."""


def first_line(error: BaseException) -> str:
    """Of a message that goes on with what only a developer reads, as those of Polars do."""
    return str(error).strip().partition("\n")[0]


def cause(error: BaseException) -> str:
    """Of a pydantic error the first place and what is wrong there, of one of ours the text, of any
    other the class and the text."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False)[0]
        text = ": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"]]))
    elif isinstance(error, FulcrumError):
        text = str(error)
    else:
        text = ": ".join(filter(None, [type(error).__name__, str(error)]))
    line = " ".join(text.split())
    return line if len(line) <= LENGTH else f"{line[:LENGTH]}..."
