"""When a test is judged: whenever somebody looks, or once, at an end that is declared before."""

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from fulcrum.features.config import Config, choice


class SequentialPlan(Config):
    """Look as often as you like, and stop when you like: intervals hold at all looks together."""

    assumed: ClassVar[bool] = True
    kind: Literal["sequential"] = "sequential"
    tuned_for: int = Field(5000, ge=2)
    """Number of units of two arms together near which intervals are tightest."""


class FixedPlan(Config):
    """One look, at the end; rows of later are left out, and nothing is decided before."""

    kind: Literal["fixed"] = "fixed"
    ends: str
    """Time in ISO 8601 at which the test ends."""

    @field_validator("ends")
    @classmethod
    def _is_a_time(cls, ends: str) -> str:
        try:
            datetime.fromisoformat(ends)
        except ValueError:
            raise ValueError(f"{ends!r} is no time; expected ISO 8601") from None
        return ends


if TYPE_CHECKING:
    PlanChoice = SequentialPlan | FixedPlan
else:
    PlanChoice = choice({"sequential": SequentialPlan, "fixed": FixedPlan})
