"""The package of `docs/examples`, beside Fulcrum's wheel: tested, trained, scored and served; and
what a machine without it says."""

import json
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from tests.integration.installed import INSTALL, PIP, ROOT, run
from tests.integration.test_promise import post, serving

EXAMPLE = ROOT / "docs" / "examples" / "shop-parts"
MODEL = ("--model", "models:/kuairand-film/1")
KEYS = ["user_id", "video_id", "time_ms"]
ROWS = 50
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


class Shop(NamedTuple):
    """A folder in which the example's config has been trained."""

    folder: Path
    fulcrum: Path
    """The console script of an environment without the package."""
    parts: Path
    """Where the package is installed: who has this on the path has the package."""


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the package, which setuptools leaves its build folders in."""
    return shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("example") / "shop-parts")


@pytest.fixture(scope="module")
def parts(source) -> Path:
    """The folder that the package is installed in."""
    folder = source.parent / "site-packages"
    run(*PIP, *INSTALL, "--target", folder, source, cwd=source.parent)
    return folder


@pytest.fixture(scope="module")
def shop(python, parts, tmp_path_factory) -> Shop:
    """Trained in a folder that has `models` and `features` of its own."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "data").symlink_to(ROOT / "data")
    for name in ("models", "features"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('not the one you want')\n")
    fulcrum = python.parent / "fulcrum"
    config = (EXAMPLE / "kuairand.yaml", "--set", "train.epochs=1")
    run(fulcrum, "train", *config, cwd=folder, PYTHONPATH=parts, OMP_NUM_THREADS=1)
    log = pl.read_parquet(folder / "data/kuairand-feedback/log_*.parquet").unique(KEYS).sort(KEYS)
    log.select(*KEYS, "duration_ms").tail(ROWS).write_parquet(folder / "rows.parquet")
    return Shop(folder, fulcrum, parts)


def test_its_parts_keep_what_fulcrum_testing_asks(python, source, parts) -> None:
    quiet = ("-q", "-p", "no:cacheprovider")
    tests = (python, "-m", "pytest", *quiet, source / "tests")
    run(*tests, cwd=source.parent, PYTHONPATH=parts, OMP_NUM_THREADS=1)


def test_a_server_imports_its_kinds_without_torch(python, parts, tmp_path) -> None:
    code = "import sys, fulcrum.features.kinds as f; print(*f.KINDS, 'torch' in sys.modules)"
    *_, last, torch = run(python, "-c", code, cwd=tmp_path, PYTHONPATH=parts).split()
    assert (last, torch) == ("cyclic", "False")


def test_the_run_and_the_bundle_name_it(shop: Shop) -> None:
    bundle = next(shop.folder.rglob("bundle.json"))
    assert json.loads(bundle.read_text())["plugins"] == ["shop-parts==1.0"]
    with sqlite3.connect(shop.folder / "mlruns.db") as store:
        tags = store.execute("SELECT value FROM tags WHERE key = 'fulcrum.plugins'").fetchall()
    assert ("shop-parts==1.0",) in tags


def test_service_and_files_get_the_same_scores(shop: Shop) -> None:
    score = (shop.fulcrum, "score", *MODEL, "--input", "rows.parquet", "--output", "scores")
    run(*score, cwd=shop.folder, PYTHONPATH=shop.parts)
    scores = pl.read_parquet(shop.folder / "scores/rows.parquet")
    assert len(scores) == ROWS and scores["click"].n_unique() > ROWS / 2
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shop.folder)
        rows = pl.read_parquet("rows.parquet").write_json()
        with serving(*MODEL, fulcrum=(shop.fulcrum,), path=shop.parts) as url:
            answer = post(f"{url}/score", {"rows": json.loads(rows)})
    both = scores.join(pl.DataFrame(answer["scores"]), on=KEYS, validate="1:1", suffix=" served")
    assert len(both) == ROWS
    for task in ("click", "long_view", "watch_time"):
        assert both[task].to_list() == pytest.approx(both[f"{task} served"].to_list(), rel=1e-5)


@pytest.mark.parametrize(
    "command", [("score", *MODEL, "--input", "rows.parquet", "--output", "none"), ("serve", *MODEL)]
)
def test_without_it_a_command_says_what_to_install(shop: Shop, command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [shop.fulcrum, *command], cwd=shop.folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2
    assert "feature `hour` is of kind `cyclic`" in done.stderr
    assert "(`pip install shop-parts==1.0`)" in done.stderr
    assert len(done.stderr.splitlines()) == 1
