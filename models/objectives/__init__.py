"""The kinds of task: the dictionary is the list of what `tasks.<name>.kind` may name."""

from models.objectives.base import TaskObjective
from models.objectives.binary import Binary
from models.objectives.multiclass import Multiclass
from models.objectives.regression import Regression

OBJECTIVES: dict[str, type[TaskObjective]] = {
    "binary": Binary,
    "regression": Regression,
    "multiclass": Multiclass,
}

__all__ = ["OBJECTIVES", "TaskObjective"]
