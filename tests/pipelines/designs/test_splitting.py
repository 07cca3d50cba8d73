import numpy as np

from fulcrum.testing.designs import DesignContract
from tests.pipelines.designs.worlds import logged


class TestSplitting(DesignContract):
    def document(self):
        return {"design": "splitting"}

    def test_own_rows_weigh_1_over_their_share_and_others_nothing(self):
        weights = self.config().weights(logged(np.array([0, 1, 1, 1, -1])))
        assert weights[:, 1].tolist() == [0, 1 / (3 / 4), 1 / (3 / 4), 1 / (3 / 4), 1]
        assert weights[:, 0].tolist() == [1 / (1 / 4), 0, 0, 0, 1]
