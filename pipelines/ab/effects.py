"""The effect of a treatment on a metric, with the interval that users justify."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effect:
    """Of treatment against control."""

    control: float
    treatment: float
    difference: float
    se: float
    """Standard error of the difference."""
    low: float
    high: float
    p_value: float
    relative: float | None
    """difference / control; None, as its interval, where the control's value may well be 0."""
    relative_low: float | None
    relative_high: float | None
    n_control: int
    """Users."""
    n_treatment: int
