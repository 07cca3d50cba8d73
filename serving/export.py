"""From trained weights to a bundle whose graph was checked against torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from torch import Tensor

from features.state import FeatureState
from models.trunks import TrunkConfig
from serving.bundle import Bundle


def export(
    folder: Path,
    *,
    state: FeatureState,
    model: TrunkConfig,
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    config_fingerprint: str,
    held_out: pl.DataFrame,
    example: pl.DataFrame,
) -> Bundle:
    """Export, check parity, and write the bundle under a temporary name, then rename.

    `weights` are those of `Network.state_dict()`, unsharded; `config` the resolved run as plain
    JSON values; `held_out` prepared rows (one column per layout input); `example` a few raw rows.
    Raises ModelError when ONNX Runtime and torch differ by more than 1e-5.
    """
    raise NotImplementedError
