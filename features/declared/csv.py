"""How CSV files are written."""

import codecs
from typing import Self

from pydantic import Field, field_validator, model_validator

from fulcrum.features.config import Config


class CsvConfig(Config):
    """The dialect of `.csv`, `.tsv` and `.txt` files, gzipped or not."""

    separator: str | None = Field(None, min_length=1, max_length=1)
    """The character between columns; a tab in `.tsv` files and a comma in others when left out."""
    header: tuple[str, ...] | None = Field(None, min_length=1)
    """Names of all columns, for files whose first line is a row."""
    encoding: str = "utf-8"
    """As Python calls it, for example `latin-1` or `utf-16`. Files in another than UTF-8 are held
    in memory."""
    null_values: tuple[str, ...] = ()
    """Texts that stand for a missing value, beside nothing at all."""
    quote: str | None = Field('"', min_length=1, max_length=1)
    """The character around values that contain separators; null where quotes mean themselves."""

    @field_validator("separator", "quote")
    @classmethod
    def _is_one_byte(cls, character: str | None) -> str | None:
        if character is not None and not character.isascii():
            raise ValueError(f"expected an ASCII character, got {character!r}")
        return character

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, name: str) -> str:
        try:
            "".encode(name)
            return codecs.lookup(name).name
        except LookupError:
            raise ValueError("expected an encoding such as utf-8, latin-1 or utf-16") from None

    @model_validator(mode="after")
    def _check_header(self) -> Self:
        names = self.header or ()
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"`header` names `{twice[0]}` twice")
        return self
