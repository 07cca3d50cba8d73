"""Kinds that look at past events."""

from collections.abc import Callable, Mapping
from typing import Self

import polars as pl

from fulcrum.features.kinds.base import Columns, FeatureKind
from fulcrum.features.past.events import Reach, Standing

PREFIX = "past."
"""Before the names of the columns that looking back adds, which so never meet those of the log."""


class RecallKind(FeatureKind):
    """Rows and events share a key; a row is answered from where it stands among its key's sorted
    events. Features of the same key and condition share one sorted past."""

    key: str

    @property
    def compares(self) -> bool:
        """Whether the answer sets events that have something beside those that have not, so that
        neither may count sooner."""
        return False

    def event_sql(self) -> Mapping[str, str]:
        """SQL over an event by field of the config; values are columns `sql.value`."""
        return {}

    def condition(self) -> pl.Expr | None:
        """The events that count; all of them for None."""
        return None

    def remembers(self) -> tuple[str, ...]:
        """Features whose ids are read from past events."""
        return ()

    def base(self) -> pl.Expr | None:
        """A number of the training split that `answer` is given, over its events."""
        return None

    def totals(self) -> Mapping[str, pl.Expr]:
        """What running sums are kept of."""
        return {}

    def reach(self) -> Reach | None:
        """What `answer` is made of, which a service may forget all else for; None: of any event."""
        return None

    def answer(self, name: str, standing: Standing, base: float) -> Columns:
        """Columns `past.<name>...` for a batch of rows, in numbers with NaN for null; `base` is 0
        without one."""
        raise NotImplementedError

    @classmethod
    def question(
        cls, features: Mapping[str, Self], bases: Mapping[str, float]
    ) -> Callable[[Standing], Columns]:
        """Every `answer` of the features of this kind that share a past, put together once."""

        def answer(standing: Standing) -> Columns:
            return {
                column: values
                for name, feature in features.items()
                for column, values in feature.answer(name, standing, bases.get(name, 0.0)).items()
            }

        return answer
