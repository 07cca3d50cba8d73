import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """As in child processes, whatever other tests set: the same bits take as many threads."""
    torch.set_num_threads(1)
