"""A small shop: its log, its items, and a run that uses every kind of feature and task."""

from pathlib import Path

import numpy as np
import polars as pl

YAML = """\
name: shop
data:
  events: events.parquet
  tables:
    items: {path: items.csv, key: item}
  time: {column: at, unit: s}
  derive: {hour: (at // 3600) % 24, band: item % 5}
  outcomes: [clicked, paid, verdict]
  keys: [row]
  group: user
  split: {kind: time, valid: 0.1, test: 0.3}
tasks:
  click: {kind: binary, label: clicked}
  buy: {kind: binary, label: paid > 0, given: click}
  spend: {kind: regression, label: paid, transform: log1p, when: clicked}
  verdict: {kind: multiclass, label: verdict, classes: [bad, fine, good]}
features:
  user: {kind: categorical}
  item: {kind: categorical, min_count: 2}
  device: {kind: categorical}
  shelf: {kind: categorical, hash_buckets: 50}
  tags: {kind: multi, separator: "|"}
  price: {kind: numeric, transform: log1p}
  speed: {kind: numeric}
  speed_bucket: {kind: numeric, column: speed, transform: quantile, buckets: 5}
  night: {kind: expression, sql: hour < 6, encode: {kind: categorical}}
  place: {kind: cross, columns: [device, shelf]}
  clicks: {kind: window, key: user, statistic: count, where: clicked, over: 6h}
  item_rate: {kind: window, key: item, statistic: rate, where: clicked, smoothing: 5}
  shelf_rate: {kind: window, key: shelf, statistic: rate, where: clicked, smoothing: 5}
  band_seen: {kind: window, key: band, statistic: count, over: 1d}
  paid_mean: {kind: window, key: user, statistic: mean, value: paid}
  liked: {kind: history, key: user, where: clicked, length: 6, attributes: [item, shelf]}
model: {architecture: mmoe, embedding_dim: 4, experts: 2, expert: [8], tower: [4]}
train: {epochs: 2, batch_size: 64, precision: fp32, dense: {lr: 0.01}, sparse: {lr: 0.1}}
"""


def make_events(rows: int = 900, seed: int = 0) -> pl.DataFrame:
    """Pages of up to five impressions at one instant, in no order. Later users and items are new,
    and every column that features read has nulls."""
    random = np.random.default_rng(seed)
    page = np.arange(rows) // 5
    user = random.integers(0, 15 + page // 6, rows)
    item = random.integers(0, 20 + page // 6, rows)
    clicked = random.random(rows) < 0.2 + 0.6 * (item % 2)
    paid = np.where(clicked & (random.random(rows) < 0.5), random.integers(1, 90, rows), 0)
    events = pl.DataFrame(
        {
            "row": np.arange(rows),
            "at": 1_700_000_000 + 600 * page,
            "user": user,
            "item": item,
            "device": random.choice(["phone", "web"], rows),
            "speed": random.normal(size=rows),
            "clicked": clicked,
            "paid": paid,
            "verdict": random.choice(["bad", "fine", "good"], rows),
        }
    )
    holes = [
        pl.when(pl.Series(random.random(rows) > 0.1)).then(pl.col(name)).alias(name)
        for name in ("user", "item", "device", "speed", "verdict")
    ]
    return events.with_columns(holes).sample(fraction=1.0, shuffle=True, seed=seed)


def write_shop(folder: Path) -> None:
    """`events.parquet`, `items.csv` and `shop.yaml`; the last items are in no side table."""
    make_events().write_parquet(folder / "events.parquet")
    lines = [
        f"{item},{'ABC'[item % 3]},{item % 7},{'new|sale' if item % 4 else ''}"
        for item in range(25)
    ]
    (folder / "items.csv").write_text("\n".join(["item,shelf,price,tags", *lines]) + "\n")
    (folder / "shop.yaml").write_text(YAML)
