"""What each kind of task (`fulcrum.features.tasks`) is learned by."""

from fulcrum.models.objectives.base import TaskObjective
from fulcrum.models.objectives.binary import Binary
from fulcrum.models.objectives.count import Count
from fulcrum.models.objectives.multiclass import Multiclass
from fulcrum.models.objectives.regression import Regression

OBJECTIVES: dict[str, type[TaskObjective]] = {
    "binary": Binary,
    "regression": Regression,
    "multiclass": Multiclass,
    "count": Count,
}

__all__ = ["OBJECTIVES", "TaskObjective"]
