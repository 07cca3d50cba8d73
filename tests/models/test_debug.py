"""Nothing that a `model:` may name is left out of the shared suites."""

import pytest

from fulcrum.models.bottoms import BOTTOMS
from fulcrum.models.chains import CHAINS
from fulcrum.models.interactions import INTERACTIONS
from fulcrum.models.trunks import TRUNKS
from tests.models.debug import MODELS, debug_model

PARTS = [*TRUNKS, *(name for name in (*BOTTOMS, *INTERACTIONS, *CHAINS) if name != "none")]

ALSO = {"cgc": "ple"}
"""A part's special case that has a name of its own."""


def parts(name: str) -> set[str]:
    """What a network is made of."""
    model = debug_model(name)
    return {
        model.model_dump()["architecture"],
        model.bottom.kind,  # type: ignore[attr-defined]
        model.interaction.kind,  # type: ignore[attr-defined]
        model.chain.kind,  # type: ignore[attr-defined]
    }


def test_every_part_has_a_debug_size_network() -> None:
    assert set(PARTS) <= set().union(*map(parts, MODELS))


@pytest.mark.parametrize("name", MODELS)
def test_the_network_holds_what_its_name_says(name: str) -> None:
    assert any(ALSO.get(name, name).startswith(part) for part in parts(name))
