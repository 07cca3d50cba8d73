import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """An export takes seconds, and every network has one."""
    for item in items:
        if item.name == "test_exports_to_onnx":
            item.add_marker(pytest.mark.slow)
