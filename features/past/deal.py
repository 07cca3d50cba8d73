"""Rows and events in files, dealt to buckets by a hash of their key."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fulcrum.features.values.hashing import bucket

_BUCKET = "past.bucket"


def bucket_of(key: pl.Expr, buckets: int) -> pl.Expr:
    """Int64 number of a key's bucket, 0 for null. It depends on the key as text alone, so rows meet
    their events there whatever holds them."""
    if buckets == 1:
        return pl.lit(0, dtype=pl.Int64)
    return bucket(key.cast(pl.String), buckets, salt="past").fill_null(0)


@dataclass(frozen=True)
class Dealt:
    """A frame in files, by bucket."""

    folder: Path
    schema: pl.Schema

    @classmethod
    def of(cls, frame: pl.LazyFrame, key: str, buckets: int, folder: Path) -> "Dealt":
        """One pass over a frame, streaming. Of a new folder."""
        folder.mkdir(parents=True)
        dealt = frame.with_columns(bucket_of(pl.col(key), buckets).alias(_BUCKET))
        by_bucket = pl.PartitionBy(folder, key=_BUCKET, include_key=False)
        dealt.sink_parquet(by_bucket, compression="lz4", mkdir=True)
        return cls(folder, frame.collect_schema())

    def read(self, bucket: int) -> pl.DataFrame:
        """The rows of one bucket, in any order."""
        files = self._files(bucket)
        if not files:
            return pl.DataFrame(schema=self.schema)
        return pl.read_parquet(files, glob=False, hive_partitioning=False)

    def take(self, bucket: int) -> pl.DataFrame:
        """Those of one bucket for the last time: its files go."""
        rows = self.read(bucket)
        self.remove(bucket)
        return rows

    def remove(self, bucket: int) -> None:
        """Take the files of one bucket away."""
        shutil.rmtree(self._folder(bucket), ignore_errors=True)

    def _files(self, bucket: int) -> list[Path]:
        return sorted(self._folder(bucket).glob("*.parquet"))

    def _folder(self, bucket: int) -> Path:
        return self.folder / f"{_BUCKET}={bucket}"
