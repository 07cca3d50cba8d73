"""An experiment as the service knows it: who is in which arm, and which models answer there."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from fulcrum.features.config import Config
from fulcrum.serving.experiments.columns import EXPOSURE, SCORE

TOLERANCE = 1e-9


class ArmConfig(Config):
    """One arm."""

    share: float = Field(gt=0, le=1)
    """Share of the experiment's users; the shares of all arms add up to 1."""
    models: tuple[str, ...] = ()
    """URI of the model that answers, for example `models:/shop@champion`. Several are instances of
    one recommender, trained with other seeds: the arm's users are dealt into as many buckets, and
    each instance answers one. Needed by `fulcrum serve`."""

    @field_validator("models", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class ExperimentConfig(Config):
    """Arms and how users are dealt to them."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.+-]+$")
    """Name of the experiment."""
    unit: str | None = "user_id"
    """Column that says who is randomised, one arm for all rows of one value; `null` for a log
    without one, whose rows are then all taken as units."""
    salt: str = ""
    """Makes the deal of this experiment independent of others'; the name when left out."""
    traffic: float = Field(1.0, gt=0, le=1)
    """Share of all users that take part. Raising it leaves everybody who takes part in their arm;
    the others get the control's model and are not logged."""
    control: str = "control"
    """The arm that others are compared with."""
    arms: dict[str, ArmConfig] = Field(min_length=2)
    """By name."""
    outcomes: tuple[str, ...] = ()
    """Columns, all numbers, that `POST /outcomes` brings for rows that were answered."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.control not in self.arms:
            raise ValueError(
                f"`control` is {self.control!r}; expected one of {', '.join(self.arms)}"
            )
        for name in self.outcomes:
            if name in EXPOSURE or name.startswith(SCORE) or self.outcomes.count(name) > 1:
                raise ValueError(
                    f"`outcomes` has {name!r}; expected names once each, and none that the log has "
                    f"itself: {', '.join(EXPOSURE)}, {SCORE}..."
                )
        total = sum(arm.share for arm in self.arms.values())
        if abs(total - 1) > TOLERANCE:
            raise ValueError(f"the shares of `arms` add up to {total:g}; expected 1")
        return self
