import os

import pytest
import torch

# Networks here are tiny: threads would only wait for each other, in child processes as well.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def one_thread():
    """As in child processes, whatever other tests set: the same bits take as many threads."""
    torch.set_num_threads(1)
