"""What is predicted: per task a label, where it is observed, and what it is conditional on."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fulcrum.features.config import Config, choice


class Task(Config):
    """What the three kinds of task have in common."""

    label: str
    """Polars SQL expression over the log's columns."""
    when: str | None = None
    """SQL condition: rows where the label is observed; everywhere when left out. A null label is
    never observed."""


class BinaryTask(Task):
    """A label of 0 or 1 (or a boolean); scored as a probability."""

    kind: Literal["binary"] = "binary"
    given: str | None = None
    """Another binary task that must happen first, as in a funnel; `model.chain` says what is made
    of it. The label is that of both: bought, not bought if clicked."""


class RegressionTask(Task):
    """A number; scored in its own unit."""

    kind: Literal["regression"] = "regression"
    transform: Literal["none", "log1p"] = "none"
    """Applied to the label before it is standardised with the training split's moments; inverted in
    the score."""


class MulticlassTask(Task):
    """One of a list of classes; scored as a probability per class."""

    kind: Literal["multiclass"] = "multiclass"
    classes: tuple[str | int, ...] = Field(min_length=2)
    """The values that the label takes, in the order of the scores."""


if TYPE_CHECKING:
    TaskConfig = BinaryTask | RegressionTask | MulticlassTask
else:
    TaskConfig = choice(
        {"binary": BinaryTask, "regression": RegressionTask, "multiclass": MulticlassTask}
    )
