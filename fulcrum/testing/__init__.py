"""What the parts of each family promise, as suites for pytest: those that Fulcrum's own parts pass.

The test of a part inherits the suite of its family and says how the part is declared:

    class TestTwoTowers(TrunkContract):
        block = {"architecture": "two_towers", "hidden": [32, 16]}

Other packages may import this one, Fulcrum itself never does.
"""

from pathlib import Path

try:
    import hypothesis  # noqa: F401
    import pytest
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"fulcrum.testing needs {error.name}: pip install 'fulcrum-recsys[testing]'",
        name=error.name,
    ) from None

# So that a promise that is not kept shows its values.
pytest.register_assert_rewrite(
    *(f"{__name__}.{path.stem}" for path in Path(__file__).parent.glob("[a-z]*.py"))
)
