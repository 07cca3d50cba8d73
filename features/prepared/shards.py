"""Encoded rows to the Parquet shards of each split."""

from collections.abc import Callable, Mapping, Sequence
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
    splits: Mapping[str, pl.LazyFrame],
    encode: Callable[[pl.DataFrame], pl.DataFrame],
    folder: Path,
    tallies: Mapping[str, Tally],
    advance: Callable[[int], None],
) -> dict[str, tuple[Shard, ...]]:
    """Encode the rows of each split in their order and write them to `<split>/00000.parquet` and so
    on, a shard while the next is encoded. Tallies count them; `advance` hears of rows written."""
    shards: dict[str, list[Shard]] = {split: [] for split in splits}

    def write(groups: Sequence[pl.DataFrame], split: str) -> int:
        for group in groups:
            tallies[split].add(group)
        block = pl.concat(groups).select(pl.exclude(f"^{MISSING}.*$"))
        name = f"{split}/{len(shards[split]):05}.parquet"
        shards[split].append(write_shard(block, folder, name))
        return len(block)

    unfinished: list[Future[int]] = []
    with ThreadPoolExecutor(max_workers=1) as writer:
        for split, rows in splits.items():
            (folder / split).mkdir()
            batches = rows.collect_batches(chunk_size=ROW_GROUP, maintain_order=True)
            groups = map(encode, batches)
            while block := list(islice(groups, GROUPS)):
                while unfinished:
                    advance(unfinished.pop().result())
                unfinished.append(writer.submit(write, block, split))
                del block  # so that it goes once it is written
        while unfinished:
            advance(unfinished.pop().result())
    return {split: tuple(written) for split, written in shards.items()}


def write_shard(block: pl.DataFrame, folder: Path, name: str) -> Shard:
    """One Parquet file, `name` below `folder`."""
    file = folder / name
    block.write_parquet(file, row_group_size=ROW_GROUP, compression="lz4")
    size = file.stat().st_size
    return Shard(name=name, rows=len(block), bytes=size, sha256=checksum(file))
