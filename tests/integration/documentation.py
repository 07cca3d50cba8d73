"""Reads the documentation as a user does: files to write, commands to run."""

import re
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    title: str | None
    text: str

    @property
    def commands(self) -> list[str]:
        """Lines behind a `$ ` prompt; a line that ends in a backslash goes on in the next."""
        return [line[2:] for line in self.lines if line.startswith("$ ")]

    @property
    def lines(self) -> list[str]:
        """Lines of the text; one that ends in a backslash goes on in the next."""
        return self.text.replace("\\\n", "").splitlines()


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(*found.groups()) for found in BLOCK.finditer(page.read_text())]
