"""A kind that nothing but its own files names goes through a whole run."""

import polars as pl

from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.runs.run import start
from fulcrum.pipelines.tracking.mlflow import client, find_run
from tests.pipelines.runs.test_run import OPTIONS, YAML, write_log

WATCH = "  watch: {{kind: regression, label: watch, transform: log1p}}\n"
STOPPING = "train: {{early_stopping: {{metric: deviance}}, "


def test_counts_go_through_a_whole_run(tmp_path):
    write_log(tmp_path / "log.parquet")
    log = pl.read_parquet(tmp_path / "log.parquet")
    log.with_columns(pl.col("watch").floor()).write_parquet(tmp_path / "log.parquet")
    text = YAML.replace(WATCH, "  watch: {{kind: count, label: watch}}\n")
    text = text.replace("train: {{", STOPPING).format(folder=tmp_path)
    assert "kind: count, label" in text and "metric: deviance" in text
    (tmp_path / "small.yaml").write_text(text)
    start(load(tmp_path / "small.yaml"), OPTIONS)
    uri = f"sqlite:///{tmp_path}/store.db"
    found = client(uri).get_run(find_run(uri, "small").id).data.metrics
    assert any("deviance/watch" in name for name in found), sorted(found)
