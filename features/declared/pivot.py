"""A long log, a row for each event: which rows are impressions, and what belongs to them."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from fulcrum.features.config import Config
from fulcrum.features.declared.outcomes import OutcomeConfig
from fulcrum.features.errors import listed
from fulcrum.features.values.duration import Duration, to_microseconds

AT = "_at"
"""Behind the name of a behaviour: the column of its time."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


_Action = Annotated[str, Field(coerce_numbers_to_str=True)]
Actions = Annotated[
    tuple[_Action, ...],
    Field(min_length=1),
    BeforeValidator(_as_list, json_schema_input_type=str | int | list[str | int]),
]
"""One value of the column `action`, or several."""


class BehaviourConfig(Config):
    """What counts as a behaviour; its values alone stand for a map without `value`."""

    action: Actions
    """One or several values of the column `action`."""
    value: str | None = None
    """Column of numbers: the behaviour's column holds that of the first such row which has one, and
    null where there is none, in place of 1 and 0."""


def _as_behaviour(value: Any) -> Any:
    return value if isinstance(value, Mapping | BehaviourConfig) else {"action": value}


Behaviour = Annotated[
    BehaviourConfig,
    BeforeValidator(
        _as_behaviour, json_schema_input_type=str | int | list[str | int] | BehaviourConfig
    ),
]


class PivotConfig(Config):
    """One row per impression, made of a log with a row for each event."""

    action: str
    """Column that says what happened, for example `event`."""
    impression: Actions
    """Its value, or values, in the rows that are kept: what was offered."""
    by: tuple[str, ...] = Field(min_length=1)
    """Columns that tie a behaviour to its impression, for example `[user_id, item_id]`."""
    within: Duration
    """A behaviour belongs to the latest impression of the same `by` at or before it, unless that is
    longer ago, `<number><s|m|h|d>`. A label is observed once so much of the log follows."""
    behaviours: dict[str, Behaviour] = Field(min_length=1)
    """By column, the `action` that it stands for: 1 where it followed the impression, else 0. With
    the column `<name>_at`, the time of the first one, it is an outcome, known at that time."""

    @property
    def microseconds(self) -> int:
        """`within` as microseconds."""
        return to_microseconds(self.within)

    @property
    def outcomes(self) -> dict[str, OutcomeConfig]:
        """The behaviours: a yes is known when it happens, a no when `within` has passed."""
        return {
            name: OutcomeConfig(known_at=name + AT, known_after=self.within)
            for name in self.behaviours
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that the log does not have, and its rows get."""
        return tuple(column for name in self.behaviours for column in (name, name + AT))

    def places(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Every place below that names a column of the log."""
        yield ("action",), self.action
        yield from ((("by", place), column) for place, column in enumerate(self.by))
        for name, behaviour in self.behaviours.items():
            if behaviour.value is not None:
                yield ("behaviours", name, "value"), behaviour.value

    def problems(self, time: str | None) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """What is wrong in itself, where `time` is the column of the time."""
        for place, column in enumerate(self.by):
            if column in (self.action, time):
                yield ("by", place), f"`{column}` differs between an impression and what follows it"
            elif column in self.by[:place]:
                yield ("by", place), f"`{column}` is named twice"
        columns = {column for _, column in self.places()} | {time}
        for name, behaviour in self.behaviours.items():
            path = "behaviours", name
            both = [action for action in behaviour.action if action in self.impression]
            if both:
                message = f"{listed([f'`{action}`' for action in both])} is an impression, too"
                yield path, f"{message}; take it out of one of them"
            for column in (name, name + AT):
                if column in columns or self.columns.count(column) > 1:
                    yield path, f"`{column}` is already a column; rename the behaviour"
