import pytest

from fulcrum.features.prepared.dataset import PreparedDataset
from tests.pipelines.quality.planted import SPARSE
from tests.prepared import prepare


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    splits = {"train": 300, "valid": 401, "test": 200}
    return prepare(tmp_path_factory.mktemp("data"), splits, layout=SPARSE)
