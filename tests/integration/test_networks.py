"""One network of each family down the whole line: trained, exported, registered, and scoring files
as torch does, history included. That each of them exports is for the families' own suites."""

from pathlib import Path

import polars as pl
import pytest
import yaml

from fulcrum.models.bottoms import BOTTOMS
from fulcrum.models.chains import CHAINS
from fulcrum.models.trunks import TRUNKS
from fulcrum.pipelines.config.load import load
from tests.integration.shop import YAML, write_shop
from tests.integration.test_promise import agree, scores_of_training
from tests.models.debug import debug_model

ROOT = Path(__file__).parents[2]
WHOLE = ("mmoe", "pepnet_named", "apem", "aitm")
"""A trunk, one that names features, a bottom, a chain."""
NAMING = {"pepnet_named": {"domain": ["device"], "prior": ["user", "item"]}}
"""Settings that name features, by those of the shop."""
KUAIRAND = ROOT / "configs" / "kuairand"


@pytest.mark.parametrize("name", TRUNKS)
def test_every_architecture_has_a_config_on_the_shipped_logs(name):
    assert load(KUAIRAND / f"{name}.yaml").model.architecture == name


@pytest.mark.parametrize("name", [name for name in BOTTOMS if name != "none"])
def test_every_bottom_has_a_config_on_the_shipped_logs(name):
    assert load(KUAIRAND / f"{name}.yaml").model.bottom.kind == name


def test_every_chain_has_a_config_on_the_shipped_logs():
    configs = [load(path) for path in KUAIRAND.glob("*.yaml") if path.stem != "base"]
    chained = {c.model.chain.kind for c in configs if any(_given(t) for t in c.tasks.values())}
    assert chained == set(CHAINS)


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_it_goes_down_the_whole_line(name, tmp_path, monkeypatch, fulcrum):
    monkeypatch.chdir(tmp_path)
    write_shop(tmp_path)
    model = debug_model(name, **NAMING.get(name, {}))
    run = yaml.safe_load(YAML) | {"model": model.model_dump(mode="json")}
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(run))
    assert fulcrum("train", "shop.yaml").code == 0
    done = fulcrum(
        *("score", "--model", "models:/shop/1", "--input", "events.parquet"),
        *("--history", "events.parquet", "--output", "scores"),
    )
    assert done.code == 0, done.stderr
    agree(scores_of_training(tmp_path), pl.read_parquet("scores/events.parquet"))


def _given(task) -> bool:
    return getattr(task, "given", None) is not None
