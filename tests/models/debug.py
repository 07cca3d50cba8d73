"""Every network at a size that trains in seconds: what the shared suites run on."""

from typing import Any

from fulcrum.models.trunks import TrunkConfig
from fulcrum.testing.networks import small_model

MODELS: dict[str, dict[str, Any]] = {
    "single_task": {"architecture": "single_task", "hidden": [32, 16]},
    "shared_bottom": {"architecture": "shared_bottom", "hidden": [32, 16]},
    "mmoe": {"architecture": "mmoe", "experts": 3, "expert": [16, 8]},
    "omoe": {"architecture": "omoe", "experts": 3, "expert": [16, 8]},
    "ml_mmoe": {"architecture": "ml_mmoe", "experts": 3, "levels": [[16], [8]]},
    "ple": {"architecture": "ple", "levels": [[16], [8]]},
    "cgc": {"architecture": "ple", "levels": [[16, 8]], "task_experts": 1, "shared_experts": 2},
    "dtrn": {
        "architecture": "ple",
        "levels": [[16], [8]],
        "bottom": {"kind": "dtrn", "condition": 4},
    },
    "apem": {
        "architecture": "mmoe",
        "embedding_dim": 16,
        "experts": 3,
        "expert": [64],
        "bottom": {"kind": "apem", "groups": 8, "points": 4},
    },
    "pepnet": {"architecture": "pepnet", "hidden": [16, 8], "gate_hidden": 8},
    "pepnet_named": {
        "architecture": "pepnet",
        "hidden": [16, 8],
        "gate_hidden": 8,
        "domain": ["tab_id"],
        "prior": ["user"],
    },
    "dcn_v2": {"architecture": "mmoe", "experts": 3, "expert": [16, 8], "interaction": "dcn_v2"},
    "senet": {"architecture": "mmoe", "experts": 3, "expert": [16, 8], "interaction": "senet"},
    "autoint": {"architecture": "mmoe", "experts": 3, "expert": [16, 8], "interaction": "autoint"},
    "adatt": {"architecture": "adatt", "levels": [[16], [8]]},
    "adatt_sp": {"architecture": "adatt", "levels": [[16], [8]], "shared_experts": 0},
    "cross_stitch": {"architecture": "cross_stitch", "levels": [[16], [8]]},
    "home": {"architecture": "home", "levels": [[16], [8]], "rank": 4},
    "stem": {"architecture": "stem", "levels": [[16, 8]], "shared_experts": 2, "gate": [4]},
    "esmm": {"architecture": "mmoe", "experts": 3, "expert": [16, 8], "chain": "esmm"},
    "escm2_ips": {
        "architecture": "mmoe",
        "experts": 3,
        "expert": [16, 8],
        "chain": {"kind": "escm2", "estimator": "ips"},
    },
    "escm2_dr": {"architecture": "mmoe", "experts": 3, "expert": [16, 8], "chain": "escm2"},
    "aitm": {"architecture": "mmoe", "experts": 3, "expert": [16, 8], "chain": "aitm"},
}
"""`model:` blocks by the name of what they show: an architecture, a bottom, an interaction,
a chain."""


def debug_model(name: str, **settings: object) -> TrunkConfig:
    """A network of the list, with settings replaced."""
    return small_model(MODELS[name], **settings)
