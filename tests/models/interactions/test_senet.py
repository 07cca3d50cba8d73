"""SENet before the trunk: the contract, and that it does no more than weigh fields."""

import torch

from fulcrum.models.interactions.senet import SENetConfig
from fulcrum.testing.interactions import InteractionContract, make, some_fields
from tests.models.debug import MODELS


class TestSENet(InteractionContract):
    block = MODELS["senet"]


def test_with_a_zero_output_layer_it_is_the_identity() -> None:
    senet, fields = make(SENetConfig()), some_fields()
    with torch.no_grad():
        senet.senet.excite.weight.zero_()  # type: ignore[union-attr,operator]
    assert torch.equal(senet(fields), fields)


def test_a_field_only_changes_its_length() -> None:
    """One weight a field and row, between 0 and 2."""
    fields = some_fields()
    weights = make(SENetConfig())(fields) / fields
    torch.testing.assert_close(weights, weights[:, :, :1].expand_as(weights), rtol=0, atol=1e-10)
    assert (weights > 0).all() and (weights < 2).all()
    assert weights.std(0).min() > 0 and weights.mean(0)[:, 0].std() > 0


def test_a_field_is_seen_by_its_mean_alone() -> None:
    """Squeeze: fields of equal means have equal weights."""
    senet, fields = make(SENetConfig()), some_fields()
    turned = fields.roll(1, 2)
    torch.testing.assert_close(senet(turned), senet(fields).roll(1, 2), rtol=0, atol=1e-10)


def test_one_field_weighs_the_others() -> None:
    senet, fields = make(SENetConfig()), some_fields()
    changed = fields.clone()
    changed[:, 0] *= -3
    moved = (senet(changed) != senet(fields)).any(2).any(0)
    assert moved.all()
