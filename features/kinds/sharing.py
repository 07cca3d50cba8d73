"""Kinds whose ids come from a vocabulary that other features may share."""

from collections.abc import Iterator, Sequence

from pydantic import Field

from fulcrum.features.errors import nearest
from fulcrum.features.kinds.base import FeatureKind, Features, Read


class SharingKind(FeatureKind):
    """A subclass looks up the values of one column."""

    column: str | None = None
    """Column to read; the feature's own name when left out."""
    min_count: int = Field(1, ge=1)
    """Values seen fewer times than this in the training split count as unknown."""
    hash_buckets: int | None = Field(None, ge=1)
    """Hash values into this many buckets instead of fitting a vocabulary."""
    share: str | None = None
    """Name of another categorical or multi feature whose vocabulary and table this one uses."""

    def reads(self, name: str, features: Features) -> Sequence[Read]:
        return [Read(("column",), self.column or name, id=True)]

    def problems(
        self, name: str, features: Features
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if self.share is None:
            return
        others = {n: f for n, f in features.items() if n != name}
        owners = [n for n, f in others.items() if isinstance(f, SharingKind) and f.share is None]
        if self.share not in owners:
            yield (
                ("share",),
                "expected a categorical or multi feature with a vocabulary of its own, got "
                f"`{self.share}`" + nearest(self.share, owners),
            )
        for field in ("min_count", "hash_buckets"):
            if field in self.model_fields_set:
                yield (field,), f"the vocabulary is that of `{self.share}`; set it there"

    def table(self, name: str) -> str:
        return self.share or name
