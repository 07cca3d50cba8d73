"""What every design promises. A design's own test file inherits this and names its config."""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from fulcrum.pipelines.designs import DESIGNS, DesignChoice, DesignConfig, LoggedRows
from fulcrum.pipelines.designs.base import BEFORE
from fulcrum.testing.specs import make_spec

ADAPTER: TypeAdapter[DesignConfig] = TypeAdapter(DesignChoice)
FEATURES = {"item": {"kind": "categorical"}, "price": {"kind": "numeric"}}
"""Those that a design may name."""


class DesignContract:
    """Tests that hold for every design; flags say in which form."""

    sums_to_one = True
    """Whether the shares' mean of the arms' weights is 1 on every row that trains."""

    @pytest.fixture(params=range(12))
    def rows(self, request: pytest.FixtureRequest) -> LoggedRows:
        """Two to four arms with rows of each, in most cases rows outside the test, too."""
        random = np.random.default_rng(request.param)
        arms = random.integers(2, 5)
        more = random.integers(BEFORE, arms, request.param * 4)
        arm = random.permutation([*range(arms), *more])
        chance = random.dirichlet(np.ones(arms), int((arm != BEFORE).sum()))
        return LoggedRows(tuple("abcd"[:arms]), arm, random.random(len(arm)) < 0.5, chance)

    def document(self) -> dict[str, Any]:
        """The design as the YAML says it, without its arm."""
        raise NotImplementedError

    def config(self) -> DesignConfig:
        return ADAPTER.validate_python({"arm": "a", **self.document()})

    def test_is_listed(self) -> None:
        config = self.config()
        assert DESIGNS[config.design] is type(config)
        assert config.source and config.summary

    def test_config_round_trips(self) -> None:
        config = self.config()
        assert ADAPTER.validate_json(config.model_dump_json()) == config

    def test_needs_an_arm(self) -> None:
        with pytest.raises(ValidationError, match="arm"):
            ADAPTER.validate_python(self.document())

    def test_needs_the_arms_of_the_log(self) -> None:
        arms = {"outcomes": ["click"], "arms": {"column": "arm", "unit": "user_id"}}
        whole = make_spec(FEATURES, data=arms)
        without = whole.model_copy(update={"data": whole.data.model_copy(update={"arms": None})})
        config = ADAPTER.validate_python({"arm": "treatment", **self.document()})
        assert list(config.problems(whole)) == []
        assert [path for path, message in config.problems(without) if "data.arms" in message] == [
            ()
        ]

    def test_weights_lie_between_0_and_1_over_the_share(self, rows: LoggedRows) -> None:
        weights = self.config().weights(rows)
        assert weights.shape == (len(rows.arm), len(rows.names))
        assert np.isfinite(weights).all()
        limit = np.maximum(1 / rows.shares, 1.0)
        assert (weights >= 0).all() and (weights <= limit * (1 + 1e-12)).all()

    def test_rows_outside_the_test_weigh_1(self, rows: LoggedRows) -> None:
        assert (self.config().weights(rows)[rows.arm == BEFORE] == 1).all()

    def test_the_arms_weights_share_out_each_row_of_the_test(self, rows: LoggedRows) -> None:
        total = self.config().weights(rows) @ rows.shares
        counted = rows.test if self.sums_to_one else rows.test & ~rows.training
        assert total[counted] == pytest.approx(1.0, abs=1e-12)

    def test_rows_in_another_order_keep_their_weights(self, rows: LoggedRows) -> None:
        order = np.random.default_rng(0).permutation(len(rows.arm))
        place = np.cumsum(rows.test) - 1
        assert rows.chance is not None
        moved = rows.chance[place[order][rows.test[order]]]
        shuffled = LoggedRows(rows.names, rows.arm[order], rows.training[order], moved)
        whole, other = (self.config().weights(each) for each in (rows, shuffled))
        np.testing.assert_allclose(other, whole[order], rtol=1e-14)

    def test_arms_that_change_names_change_weights(self, rows: LoggedRows) -> None:
        arms = len(rows.names)
        arm = np.where(rows.test, arms - 1 - rows.arm, BEFORE)
        assert rows.chance is not None
        swapped = LoggedRows(rows.names, arm, rows.training, rows.chance[:, ::-1])
        whole, other = (self.config().weights(each) for each in (rows, swapped))
        np.testing.assert_allclose(other, whole[:, ::-1], rtol=1e-14)
