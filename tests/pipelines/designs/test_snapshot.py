import numpy as np

from fulcrum.testing.designs import DesignContract
from tests.pipelines.designs.worlds import logged


class TestSnapshot(DesignContract):
    sums_to_one = False

    def document(self):
        return {"design": "snapshot"}

    def test_no_row_of_the_test_trains_and_held_out_rows_are_the_arms_own(self):
        weights = self.config().weights(logged(np.array([0, -1, 1, 0, -1, 1])))
        assert weights[:, 1].tolist() == [0, 1, 0, 0, 1, 1 / (2 / 4)]
