"""CoBa."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from fulcrum.models.weightings import Declared
from fulcrum.models.weightings.coba import CoBa, CoBaConfig, History, slopes
from fulcrum.testing.course import Course, losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract

CONFIG = CoBaConfig(every=1, warm_up=5, history=10)


class TestContract(WeightingContract):
    """Absent tasks go on learning: the validation split is another one."""

    def config(self) -> CoBaConfig:
        return CoBaConfig(every=1, warm_up=3, history=6)


@dataclass
class Valid:
    """A validation split whose losses are given by the number of the look; remembers which were
    asked for."""

    curve: Callable[[int], list[float]]
    rate: float = 1.0
    asked: tuple[int, ...] = ()

    def held_out(self, number: int) -> Tensor:
        self.asked += (number,)
        return torch.tensor(self.curve(number), dtype=torch.float64)

    def again(self) -> Tensor:
        raise AssertionError("asked for the losses of the batch")


def course(valid: Valid, looks: int, config: CoBaConfig = CONFIG) -> tuple[CoBa, Tensor]:
    """The weighting after so many steps, and its weights `(steps, tasks)`."""
    tasks = len(valid.curve(0))
    weighting = config.build(Course(tasks=tuple(range(tasks))).setting(looks))
    weights = []
    for _ in range(looks):
        weights.append(weighting(losses_only(torch.ones(tasks))))
        weighting.after_step(valid)
    assert isinstance(weighting, CoBa)
    return weighting, torch.stack(weights)


def reference(curves: np.ndarray, warm_up: int, length: int, tau: float) -> np.ndarray:
    """The weights after the last look, of sum 1, straight from the equations."""

    def softmax(x: np.ndarray) -> np.ndarray:
        return np.exp(x - x.max()) / np.exp(x - x.max()).sum()

    def slope(y: np.ndarray) -> float:
        return float(np.polyfit(np.arange(len(y)), y, 1)[0])

    values = curves / curves[0]
    ends = range(warm_up, len(values) + 1)
    spans = [values[max(0, end - length) : end] for end in ends]
    each = np.array([[slope(column) for column in span.T] for span in spans])
    worst = np.array([slope(span.max(1)) for span in spans])
    tasks, looks, now = values.shape[1], len(worst), each[-1]
    recent = each[-length:]
    relative = softmax(tasks * now / np.abs(now).sum())
    absolute = softmax(-len(recent) * now / np.abs(recent).sum(0))
    divergence = min(looks * softmax(-tau * looks * worst / np.abs(worst).sum())[-1], 1)
    weights = divergence * relative + (1 - divergence) * absolute
    floor = 1 / (10 * tasks)
    return weights * (1 - tasks * floor) + floor if (weights < floor).any() else weights


@pytest.mark.parametrize("looks", [5, 8, 14, 30])
@pytest.mark.parametrize("rising", [False, True])
def test_weights_are_those_of_the_equations(looks: int, rising: bool) -> None:
    random = np.random.default_rng(looks)
    curves = np.exp(-0.05 * np.arange(looks)[:, None] * [1, 0.5, 0.2])
    curves[:, 1] += rising * 0.003 * np.arange(looks) ** 2
    curves *= np.exp(0.01 * random.normal(size=curves.shape)) * [3, 1, 0.1]
    weighting, _ = course(Valid(lambda number: curves[number].tolist()), looks)
    expected = 3 * reference(curves, 5, 10, 5.0)
    assert weighting.latest.tolist() == pytest.approx(expected.tolist(), rel=1e-9)


def test_identical_curves_give_equal_weights() -> None:
    _, weights = course(Valid(lambda number: [0.9**number] * 3), 30)
    torch.testing.assert_close(weights, torch.ones(30, 3))


def test_a_slow_task_gains_weight() -> None:
    _, weights = course(Valid(lambda number: [1 - 0.02 * number, 1 - 0.005 * number]), 30)
    assert (weights[6:, 1] > weights[6:, 0]).all()


def diverging(number: int) -> list[float]:
    """The first task falls as fast as the others, then rises."""
    turned = max(0, number - 10)
    return [0.95**number + 0.01 * turned**2, 0.95**number, 0.95**number]


def test_a_task_that_begins_to_diverge_loses_weight() -> None:
    _, weights = course(Valid(diverging), 22)
    assert (weights[13:19, 0].diff() < 0).all()
    assert (weights[19:, 0] < 0.2).all()


def test_the_scale_of_a_loss_changes_nothing() -> None:
    def curve(number: int) -> list[float]:
        return [0.9**number, 0.95**number]

    _, plain = course(Valid(curve), 30)
    _, scaled = course(Valid(lambda number: [1024 * curve(number)[0], curve(number)[1]]), 30)
    assert torch.equal(plain, scaled)


def test_no_weight_is_below_the_floor() -> None:
    _, weights = course(Valid(diverging), 22)
    torch.testing.assert_close(weights.sum(1), torch.full((22,), 3.0))
    floor = 3 / (10 * 3)
    assert floor <= weights.min() < 2 * floor


def test_looks_every_so_many_steps_at_the_next_batch() -> None:
    valid = Valid(lambda number: [1.0, 1.0])
    course(valid, 9, CoBaConfig(every=4))
    assert valid.asked == (0, 1, 2)


def test_a_task_that_a_look_does_not_observe_keeps_its_value() -> None:
    weighting, _ = course(Valid(lambda number: [2 - 0.1 * number if number % 2 else 0, 1]), 4)
    expected = [[1, 1], [1, 1], [1, 1], [1.7 / 1.9, 1]]
    torch.testing.assert_close(weighting.values.latest(), torch.tensor(expected).double())


def test_windows_follow_from_the_length_of_the_training() -> None:
    def windows(steps: int) -> tuple[int, int]:
        made = CoBaConfig(every=10).build(COURSE.setting(steps))
        assert isinstance(made, CoBa)
        return made.warm_up, len(made.values.rows)

    assert windows(10) == (2, 4)
    assert windows(2_000) == (20, 40)
    assert windows(100_000) == (100, 200)


def test_slopes_are_of_least_squares() -> None:
    values = torch.rand(7, 3, dtype=torch.float64)
    expected = np.polyfit(np.arange(7), values.numpy(), 1)[0]
    assert slopes(values).tolist() == pytest.approx(expected.tolist())


def test_a_history_forgets_its_oldest_rows() -> None:
    history = History(3, 1)
    for number in range(5):
        history.add(torch.tensor([float(number)]))
        assert history.latest()[:, 0].tolist() == list(range(max(0, number - 2), number + 1))


def test_needs_a_validation_split() -> None:
    tasks = {"click": "binary", "buy": "binary"}
    assert not list(CoBaConfig().problems(Declared(tasks)))
    [(path, message)] = CoBaConfig().problems(Declared(tasks, valid=False))
    assert path == ("method",) and "validation split" in message
