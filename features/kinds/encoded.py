"""Kinds that compute a value first and then encode it as another kind does."""

from collections.abc import Iterator

from fulcrum.features.kinds.base import FeatureKind, Features


class EncodedKind(FeatureKind):
    """A subclass has a field `encode` and says which column holds its value."""

    encode: FeatureKind

    def value_column(self, name: str) -> str:
        """The column that holds the computed value."""
        raise NotImplementedError

    def problems(
        self, name: str, features: Features
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if getattr(self.encode, "column", None) is not None:
            yield ("encode", "column"), "the value is computed, so no column is read; leave it out"
        for path, message in self.encode.problems(name, features):
            yield ("encode", *path), message

    def encoder(self, name: str) -> FeatureKind:
        return self.encode.model_copy(update={"column": self.value_column(name)})
