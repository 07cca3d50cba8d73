"""The kinds of task: the dictionary is the list of what `tasks.<name>.kind` may name."""

from typing import TYPE_CHECKING

from fulcrum.features.config import choice
from fulcrum.features.tasks.base import Task
from fulcrum.features.tasks.binary import BinaryTask
from fulcrum.features.tasks.count import CountTask
from fulcrum.features.tasks.multiclass import MulticlassTask
from fulcrum.features.tasks.regression import RegressionTask

TASKS: dict[str, type[Task]] = {
    "binary": BinaryTask,
    "regression": RegressionTask,
    "multiclass": MulticlassTask,
    "count": CountTask,
}

if TYPE_CHECKING:
    TaskConfig = Task
else:
    TaskConfig = choice(TASKS)

__all__ = ["TASKS", "Task", "TaskConfig"]
