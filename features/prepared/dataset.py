"""A prepared data set, as training and evaluation open it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import polars as pl

from fulcrum.features.errors import StateError
from fulcrum.features.prepared.advice import FILE as ADVICE
from fulcrum.features.prepared.manifest import Manifest, checksum
from fulcrum.features.transform.state import FeatureState


@dataclass(frozen=True)
class PreparedDataset:
    """A folder that `prepare` wrote."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Raises StateError when the folder is no prepared data set of this version, or a shard is
        missing or of another size than when it was written."""
        manifest = Manifest.load(folder)
        for split in manifest.splits.values():
            for shard in split.shards:
                file = folder / shard.name
                if not file.is_file() or file.stat().st_size != shard.bytes:
                    raise StateError(f"{file} is missing or cut short; delete {folder} and prepare")
        return cls(folder, manifest)

    @property
    def fingerprint(self) -> str:
        """Of the configuration and the input files."""
        return self.manifest.fingerprint

    @cached_property
    def state(self) -> FeatureState:
        """What the training split taught."""
        return FeatureState.load(self.folder / "state")

    @cached_property
    def drift(self) -> pl.DataFrame:
        """One row per feature, as `fulcrum.features.prepared.drift.drift` describes."""
        return pl.read_parquet(self.folder / "drift.parquet", glob=False)

    @cached_property
    def advice(self) -> list[str]:
        """Lines of what to look at before training; none in a data set that was made without."""
        file = self.folder / ADVICE
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    def shards(self, split: str) -> list[Path]:
        """Parquet files of a split, in order; none for a split without rows."""
        facts = self.manifest.splits.get(split)
        return [] if facts is None else [self.folder / shard.name for shard in facts.shards]

    def rows(self, split: str) -> int:
        """Number of rows of a split."""
        facts = self.manifest.splits.get(split)
        return 0 if facts is None else facts.rows

    def verify(self) -> None:
        """Read every shard. Raises StateError for one whose content has changed."""
        for split in self.manifest.splits.values():
            for shard in split.shards:
                if checksum(self.folder / shard.name) != shard.sha256:
                    raise StateError(f"{self.folder / shard.name} has changed since it was written")
