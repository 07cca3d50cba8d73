import numpy as np

from fulcrum.testing.designs import DesignContract
from tests.pipelines.designs.worlds import logged


class TestPooling(DesignContract):
    def document(self):
        return {"design": "pooling"}

    def test_every_row_weighs_1(self):
        assert (self.config().weights(logged(np.array([0, 1, -1, 1]))) == 1).all()
