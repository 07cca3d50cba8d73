"""A small run over the rows of `tests.prepared`."""

from typing import Any

from fulcrum.pipelines.config.run import RunConfig


def small_run(**train: Any) -> RunConfig:
    """MMoE on four tasks, not calibrated; `train` settings may be replaced."""
    settings = {
        "epochs": 2,
        "batch_size": 64,
        "precision": "fp32",
        "dense": {"lr": 0.02},
        "sparse": {"lr": 0.3},
        "early_stopping": {"metric": "auc", "patience": 5},
        "calibration": None,
    }
    return RunConfig.model_validate(
        {
            "name": "small",
            "data": {"events": "events.parquet"},
            "features": {"user": {"kind": "categorical"}},
            "tasks": {
                "click": {"kind": "binary", "label": "click"},
                "like": {"kind": "binary", "label": "like", "given": "click"},
                "watch": {"kind": "regression", "label": "watch", "transform": "log1p"},
                "page": {
                    "kind": "multiclass",
                    "label": "page",
                    "classes": ["home", "feed", "search"],
                },
            },
            "model": {
                "architecture": "mmoe",
                "experts": 2,
                "expert": [16, 8],
                "tower": [8],
                "embedding_dim": 8,
                "dropout": 0.1,
            },
            "train": settings | train,
        }
    )
