"""The one file that speaks to torchjd, whose weightings take the products of task gradients.

Its defaults hold traps, which `gradients.py` (scale, zero rows) and the settings here defuse.
"""

from torch import Tensor
from torchjd.aggregation import UPGradWeighting
from torchjd.linalg import QuadprogProjector

TIGHT = QuadprogProjector(norm_eps=1e-30, reg_eps=1e-12)
"""The default regulariser, 1e-4 of the trace, lets UPGrad's update conflict with tasks whose
gradients are some thirty times smaller than others'."""


def upgrad(products: Tensor) -> Tensor:
    """Mean of the tasks' gradients, each projected onto the cone that hurts no task."""
    return UPGradWeighting(projector=TIGHT)(products)
