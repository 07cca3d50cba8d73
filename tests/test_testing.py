"""The suites that others import: what they need, and that a promise which is not kept is told."""

import subprocess
import sys

import pytest

from fulcrum.models.weightings.equal import EqualConfig
from fulcrum.testing.weightings import WeightingContract


@pytest.mark.parametrize("package", ["pytest", "hypothesis"])
def test_without_its_packages_it_says_what_to_install(package: str) -> None:
    code = f"import sys; sys.modules['{package}'] = None; import fulcrum.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    line = f"fulcrum.testing needs {package}: pip install 'fulcrum-recsys[testing]'"
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {line}"


class Unlisted(EqualConfig):
    """No entry point declares it."""


class OfUnlisted(WeightingContract):
    def config(self) -> Unlisted:
        return Unlisted()


def test_a_promise_that_is_not_kept_shows_its_values() -> None:
    with pytest.raises(AssertionError, match=r"EqualConfig'> is .*Unlisted'>"):
        OfUnlisted().test_is_listed()
