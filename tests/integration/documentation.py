"""Reads the documentation as a user does: files to write, commands to run."""

import re
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    title: str | None
    text: str

    @property
    def commands(self) -> list[str]:
        """Lines behind a `$ ` prompt; a line that ends in a backslash goes on in the next."""
        joined = self.text.replace("\\\n", "")
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(*found.groups()) for found in BLOCK.finditer(page.read_text())]
