"""A small config of a run, and what is wrong with one."""

from pathlib import Path

import pytest

from fulcrum.features.errors import ConfigError
from fulcrum.pipelines.config.load import load

SMALL = """\
name: small
data:
  events: logs/*.parquet
  time: {column: t}
  outcomes: [click]
features:
  user_id: {kind: categorical, min_count: 2}
  price: {kind: numeric, transform: log1p}
  seen: {kind: window, key: user_id, statistic: count}
tasks:
  click: {kind: binary, label: click}
"""


def problems(file: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, overrides)
    return str(caught.value)
