"""Which calibration a task gets, and where it is kept."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fulcrum.features.errors import StateError
from fulcrum.features.layout import Layout, TaskSpec
from fulcrum.features.tasks.base import Linked
from fulcrum.models.calibrations import Calibration, NoCalibration
from fulcrum.models.calibrations.beta import BetaCalibration
from fulcrum.models.calibrations.isotonic import IsotonicCalibration
from fulcrum.models.calibrations.offset import OffsetCalibration
from fulcrum.models.calibrations.platt import PlattCalibration
from fulcrum.models.calibrations.scale import ScaleCalibration
from fulcrum.pipelines.calibration import kept
from fulcrum.pipelines.calibration.fit import FOLDS, SURE, choose, fit, losses
from fulcrum.testing.calibrations import linked_rows
from tests.pipelines.quality.arrays import Arrays

ROWS = 20_000
CURVE = IsotonicCalibration(x=(-3.0, -1.5, 0.0, 1.5), y=(-3.8, -1.2, -0.6, 1.6))
PLANTED = [
    PlattCalibration(slope=0.5, offset=-0.5),
    OffsetCalibration(offset=0.4),
    BetaCalibration(a=0.4, b=2.0, c=0.0),
    CURVE,
    ScaleCalibration(offset=0.3),
]


def chosen(
    truth: Calibration | None, seed: int = 0, rows: int = ROWS, per_user: int = 1
) -> tuple[Calibration, Linked]:
    link = "logit" if truth is None else min(truth.links)
    value, target, weight = linked_rows(link, truth, rows, seed)
    linked = Linked(link, value, target)
    return choose(linked, weight, np.arange(rows) // per_user), linked


@pytest.mark.parametrize("truth", PLANTED, ids=lambda truth: truth.kind)
def test_what_was_planted_is_put_right_on_new_rows(truth: Calibration) -> None:
    """With fewer numbers than what was planted, or as many; nearly all that there is to gain is
    gained."""
    found, _ = chosen(truth)
    assert found.kind != "none"
    value, target, _ = linked_rows(min(truth.links), truth, 100_000, seed=1)
    linked = Linked(min(truth.links), value, target)
    least, before, after = (losses(linked, z).mean() for z in (truth(value), value, found(value)))
    assert after - least < 0.15 * (before - least) + 1e-4


def test_scores_that_are_right_are_left_alone() -> None:
    """Each step to more numbers is taken by chance where a fall exceeds two standard errors."""
    tries, steps = 20, 4
    taken = sum(chosen(None, seed, 1_500)[0].kind != "none" for seed in range(tries))
    assert taken <= stats.binom.ppf(0.999, tries, steps * stats.norm.sf(SURE))


def test_rows_of_one_user_are_one_voice() -> None:
    """Labels that are wrong for a handful of heavy users alone speak for nothing."""
    value, target, weight = linked_rows("logit", rows=2_000)
    unit = np.concatenate([np.repeat(np.arange(4), 150), np.arange(4, 1_404)])
    target[unit < 2] = 1.0
    linked = Linked("logit", value, target)
    assert choose(linked, weight, np.arange(2_000)).kind != "none"
    assert choose(linked, weight, unit) == NoCalibration()


@pytest.mark.parametrize("rows", [0, 1, 2 * FOLDS - 1, 40])
def test_too_few_rows_are_left_alone(rows: int) -> None:
    value, target, weight = linked_rows("logit", PLANTED[0], rows)
    assert choose(Linked("logit", value, target), weight, np.arange(rows)) == NoCalibration()


def test_no_map_is_too_steep_for_float32() -> None:
    """Scores that hardly differ and labels that do."""
    value, target, weight = linked_rows("logit")
    linked = Linked("logit", value / 1e4, target)
    assert choose(linked, weight, np.arange(len(value))).terms.steepest <= 10.0


def predictions(rows: int = 4_000) -> Arrays:
    """`click` scored too high; `watch` too low; `page` and `plain` have nothing to be put right."""
    random = np.random.default_rng(0)
    tasks = (
        TaskSpec(name="click", kind="binary"),
        TaskSpec(name="watch", kind="regression", transform="log1p"),
        TaskSpec(name="page", kind="multiclass", classes=("a", "b")),
        TaskSpec(name="plain", kind="regression"),
    )
    logits, m = random.normal(size=(2, rows))
    click = random.random(rows) < 1 / (1 + np.exp(1 - logits))
    watch = np.expm1(1 + m + random.normal(size=rows))
    scores = [1 / (1 + np.exp(-logits)), np.expm1(1 + m), m * 0 + 0.5, m * 0 + 0.5, m]
    labels = [click, watch, click, m + random.normal(size=rows)]
    observed = random.random((rows, 4)) < 0.9
    nothing = np.zeros((rows, 4))
    unit = np.arange(rows) // 2
    return Arrays(
        *(Layout(tables=(), tasks=tasks), np.stack(scores, 1), nothing, np.stack(labels, 1)),
        *(observed, random.choice([0.0, 1.0, 2.0], rows), unit, np.zeros(rows, np.int64)),
    )


def test_each_task_is_put_right_on_its_own_scale() -> None:
    """e^(σ²/2) = e^(1/2) is what a lognormal's mean lacks."""
    found = fit(predictions())
    assert list(found) == ["click", "watch"]
    assert found["click"](np.zeros(1))[0] == pytest.approx(-1.0, abs=0.15)
    assert found["watch"](np.zeros(1))[0] == pytest.approx(0.5, abs=0.15)


def test_calibrations_are_kept_as_plain_data(tmp_path: Path) -> None:
    calibrations = dict(zip("abcdef", [*PLANTED, NoCalibration()], strict=True))
    assert kept.load(tmp_path) is None
    kept.save(tmp_path, calibrations)
    assert kept.load(tmp_path) == calibrations
    assert [file.name for file in tmp_path.iterdir()] == [kept.FILE]


@pytest.mark.parametrize("text", ["", "{", '{"a": {"kind": "platt"}}', '{"a": {"kind": "odd"}}'])
def test_a_damaged_file_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / kept.FILE).write_text(text)
    with pytest.raises(StateError, match=r"calibration\.json: damaged"):
        kept.load(tmp_path)
