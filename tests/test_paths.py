"""A path of ours is never a pattern, whatever characters the folders above it have."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [
    path
    for room in ("features", "models", "serving", "pipelines", "fulcrum", "benchmarks")
    for path in sorted((ROOT / room).rglob("*.py"))
]
READERS = {
    f"{verb}_{form}"
    for verb in ("scan", "read")
    for form in ("parquet", "csv", "ipc", "ndjson", "json", "parquet_schema", "ipc_schema")
}


def patterns(path: Path) -> list[str]:
    """Calls of Polars' readers that would take `[1]` in a path for a set of characters."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return [
        ast.unparse(call)
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in READERS
        and ast.unparse(call.func.value) == "pl"
        and not ast.unparse(call.args[0]).startswith("io.")
        and "glob=False" not in {ast.unparse(keyword) for keyword in call.keywords}
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_polars_expands_no_path(path: Path) -> None:
    assert patterns(path) == []
