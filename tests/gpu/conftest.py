import pytest
import torch


@pytest.fixture(autouse=True)
def _card():
    if not torch.cuda.is_available():
        pytest.skip("torch finds no NVIDIA GPU on this machine")
