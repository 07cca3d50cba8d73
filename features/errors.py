"""Every error that a user can cause.

FulcrumError            one clear message; the command line prints it and exits with code 2
├── ConfigError         the YAML file, an override, or a value in them
├── DataError           a table, a column or a value in it
├── StateError          a folder that Fulcrum wrote and can no longer trust (checksum, version)
├── TrainError          training that cannot go on: a loss that is no longer a number
├── ModelError          a model URI, a bundle, or an export that fails its parity check
└── ResourceError       the machine says no: disk full, port in use, device missing
"""

import difflib
from collections.abc import Iterable, Sequence


class FulcrumError(Exception):
    """Something that the user can put right. The message says what, where and what was expected."""


class ConfigError(FulcrumError):
    """The configuration is wrong; nothing was read yet."""


class DataError(FulcrumError):
    """The data do not hold what the configuration expects."""


class StateError(FulcrumError):
    """A prepared data set, checkpoint or bundle is damaged or of another version."""


class TrainError(FulcrumError):
    """Training cannot go on with these settings on these data."""


class ModelError(FulcrumError):
    """A model cannot be found, loaded, exported or registered."""


class ResourceError(FulcrumError):
    """The machine refuses: no disk space, no such device, port in use."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """`; did you mean ...?` for the end of a message, or nothing when no choice is close."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""


def listed(names: Sequence[str]) -> str:
    """`a, b and c`, for the middle of a message."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
