"""Encoded rows to the Parquet shards of one split."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import polars as pl

from fulcrum.features.prepared.manifest import Shard, checksum
from fulcrum.features.prepared.tally import MISSING, Tally

ROW_GROUP = 65_536
"""Rows that are encoded at a time, and lie together in a shard."""
GROUPS = 4
"""In a shard."""


def write_shards(
    rows: pl.LazyFrame,
    encode: Callable[[pl.DataFrame], pl.DataFrame],
    folder: Path,
    split: str,
    tally: Tally,
    advance: Callable[[int], None],
) -> list[Shard]:
    """Encode rows in their order and write them to `<split>/00000.parquet` and so on, a shard while
    the next is encoded. The tally counts them; `advance` hears of rows written."""
    (folder / split).mkdir()
    shards: list[Shard] = []

    def write(groups: Sequence[pl.DataFrame], number: int) -> Shard:
        for group in groups:
            tally.add(group)
        block = pl.concat(groups).select(pl.exclude(f"^{MISSING}.*$"))
        return write_shard(block, folder, f"{split}/{number:05}.parquet")

    def finish(unfinished: Sequence[Future[Shard]]) -> None:
        for shard in unfinished:
            shards.append(shard.result())
            advance(shards[-1].rows)

    groups = map(encode, rows.collect_batches(chunk_size=ROW_GROUP, maintain_order=True))
    with ThreadPoolExecutor(max_workers=1) as writer:
        unfinished: list[Future[Shard]] = []
        while block := list(islice(groups, GROUPS)):
            finish(unfinished)
            unfinished = [writer.submit(write, block, len(shards))]
        finish(unfinished)
    return shards


def write_shard(block: pl.DataFrame, folder: Path, name: str) -> Shard:
    """One Parquet file, `name` below `folder`."""
    file = folder / name
    block.write_parquet(file, row_group_size=ROW_GROUP, compression="lz4")
    size = file.stat().st_size
    return Shard(name=name, rows=len(block), bytes=size, sha256=checksum(file))
