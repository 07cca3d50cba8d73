"""A share of the files, so that several machines divide a run between them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from fulcrum.features.errors import ConfigError

File = TypeVar("File")


@dataclass(frozen=True)
class Shard:
    """Every `of`-th file, beginning with the `number`-th, from 1: shards of as many files differ by
    one file at most."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """From `i/n`. Raises ConfigError unless i is one of 1 to n."""
        parts = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        number, of = map(int, parts.groups()) if parts else (0, 0)
        if not 1 <= number <= of:
            raise ConfigError(
                f"--shard {text!r}: expected I/N with I from 1 to N, as 2/8 for the second of eight"
            )
        return cls(number, of)

    def share(self, files: Sequence[File]) -> Sequence[File]:
        """Those of the files that are this shard's. None where there are fewer than shards."""
        return files[self.number - 1 :: self.of]
