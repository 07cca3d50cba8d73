"""The course of a training: weights and conflicts of the tasks, few enough to keep with it.

weight/<task>          mean weight since the last report
weighting/<fact>       what the weighting tells of itself at a report
cosine/<a>/<b>         cosine of two tasks' gradients, in a step that is evaluated
"""

import math
from collections.abc import Sequence

from torch import Tensor

Point = tuple[int, dict[str, float]]
"""Steps done, and values by name."""

WEIGHT, FACT, COSINE = "weight", "weighting", "cosine"
POINTS = 250
"""Kept of reports, and of cosines."""


def cosines(products: Tensor, tasks: Sequence[str]) -> dict[str, float]:
    """Of each pair in the order of tasks, from the `(tasks, tasks)` products of their gradients;
    without the tasks that have none."""
    norms = products.diagonal().sqrt()
    return {
        f"{COSINE}/{a}/{b}": float(products[i, j] / (norms[i] * norms[j]))
        for i, a in enumerate(tasks)
        for j, b in enumerate(tasks)
        if i < j and norms[i] > 0 and norms[j] > 0
    }


def extend(course: list[Point], step: int, values: dict[str, float]) -> None:
    """Add what is a number. When there are too many points of its kind, the one goes whose
    neighbours are closest to each other, so that what is left stays spread over the training; it
    depends on the points alone, so a resumed training keeps the same ones."""
    numbers = {name: value for name, value in values.items() if math.isfinite(value)}
    if not numbers:
        return
    course.append((step, numbers))
    kind = _is_cosine(numbers)
    places = [place for place, (_, facts) in enumerate(course) if _is_cosine(facts) == kind]
    if len(places) > POINTS:
        steps = [course[place][0] for place in places]
        gaps = [after - before for before, after in zip(steps, steps[2:], strict=False)]
        del course[places[1 + gaps.index(min(gaps))]]


def lines(course: Sequence[Point], kind: str) -> list[Point]:
    """The points of one kind, by the names that follow it."""
    points = [
        (step, {n.partition("/")[2]: v for n, v in values.items() if n.partition("/")[0] == kind})
        for step, values in course
    ]
    return [(step, values) for step, values in points if values]


def _is_cosine(values: dict[str, float]) -> bool:
    return next(iter(values)).startswith(f"{COSINE}/")
