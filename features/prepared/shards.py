"""Encoded rows to the Parquet shards of one split."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from fulcrum.features.prepared.manifest import Shard, checksum

SHARD_ROWS = 262_144
ROW_GROUP = 65_536
MISSING = "missing."
"""Before the names of the columns that say where a feature has no value; counted, not written."""


def write_shards(
    rows: pl.LazyFrame,
    encode: Callable[[pl.DataFrame], pl.DataFrame],
    folder: Path,
    split: str,
    advance: Callable[[int], None],
) -> tuple[list[Shard], dict[str, int]]:
    """Stream rows, in their order and encoded, into `<split>/00000.parquet` and so on.

    Returns the shards and, by feature, the rows without a value. `done` hears of rows written.
    """
    (folder / split).mkdir()
    shards: list[Shard] = []
    missing: Counter[str] = Counter()
    for block in rows.collect_batches(chunk_size=SHARD_ROWS, maintain_order=True):
        block = encode(block)
        flags = [name for name in block.columns if name.startswith(MISSING)]
        missing.update(_count(block, flags))
        name = f"{split}/{len(shards):05}.parquet"
        shards.append(write_shard(block.drop(flags), folder, name))
        advance(len(block))
    return shards, dict(missing)


def write_shard(block: pl.DataFrame, folder: Path, name: str) -> Shard:
    """One Parquet file, `name` below `folder`."""
    file = folder / name
    block.write_parquet(file, row_group_size=ROW_GROUP, compression="lz4")
    size = file.stat().st_size
    return Shard(name=name, rows=len(block), bytes=size, sha256=checksum(file))


def _count(block: pl.DataFrame, flags: Sequence[str]) -> dict[str, int]:
    counts = block.select(pl.col(name).sum() for name in flags).row(0)
    return {name.removeprefix(MISSING): n for name, n in zip(flags, counts, strict=True)}
