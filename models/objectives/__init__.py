"""The kinds of task: the dictionary is the list of what `tasks.<name>.kind` may name."""

from fulcrum.models.objectives.base import TaskObjective
from fulcrum.models.objectives.binary import Binary
from fulcrum.models.objectives.multiclass import Multiclass
from fulcrum.models.objectives.regression import Regression

OBJECTIVES: dict[str, type[TaskObjective]] = {
    "binary": Binary,
    "regression": Regression,
    "multiclass": Multiclass,
}

__all__ = ["OBJECTIVES", "TaskObjective"]
