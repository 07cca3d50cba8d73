"""AutoInt: the contract, its equations, and that fields have no order."""

import pytest
import torch

from fulcrum.models.interactions import Interaction
from fulcrum.models.interactions.autoint import AutoIntConfig
from fulcrum.testing.interactions import ROWS, D, InteractionContract, make, some_fields
from tests.models.debug import MODELS


class TestAutoInt(InteractionContract):
    block = MODELS["autoint"]


@pytest.mark.parametrize("layers", [1, 2])
def test_permuted_fields_give_the_permuted_output(layers: int) -> None:
    attend, fields = make(AutoIntConfig(layers=layers)), some_fields()
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(
        attend(fields[:, order]), attend(fields)[:, order], rtol=0, atol=1e-10
    )


HEADS, UNITS = 2, 3
INNER = HEADS * UNITS


def one_layer() -> tuple[Interaction, list[torch.Tensor], torch.Tensor]:
    """An interaction of one layer; its W_Q, W_K, W_V and W_R, heads below one another; its W_O."""
    attend = make(AutoIntConfig(layers=1, heads=HEADS, units=UNITS))
    maps = [p.detach() for p in attend.layers[0].weight.view(4, INNER, D)]  # type: ignore[index,union-attr,operator]
    return attend, maps, attend.out.weight[0]  # type: ignore[index,union-attr,return-value]


def test_one_layer_is_equations_5_to_8() -> None:
    attend, (w_q, w_k, w_v, w_r), w_o = one_layer()
    fields = some_fields()
    out = attend(fields)
    for row in range(ROWS):
        e, parts = fields[row], []
        for h in range(HEADS):
            own = slice(h * UNITS, (h + 1) * UNITS)
            a = ((e @ w_q[own].T) @ (e @ w_k[own].T).T).softmax(1)
            parts.append(a @ (e @ w_v[own].T))
        last = (torch.cat(parts, 1) + e @ w_r.T).relu()
        torch.testing.assert_close(out[row], e + last @ w_o.T, rtol=0, atol=1e-10)


def test_without_queries_every_field_meets_the_mean_of_all() -> None:
    attend, (w_q, _, w_v, w_r), w_o = one_layer()
    fields = some_fields()
    w_q.zero_()
    mean = (fields @ w_v.T).mean(1, keepdim=True)
    expected = fields + (mean + fields @ w_r.T).relu() @ w_o.T
    torch.testing.assert_close(attend(fields), expected, rtol=0, atol=1e-10)


def test_without_values_no_field_sees_another() -> None:
    attend, (_, _, w_v, _), _ = one_layer()
    fields = some_fields()
    changed = fields.clone()
    changed[:, 0] += 1
    assert (attend(changed) != attend(fields)).any(2).all()
    w_v.zero_()
    assert torch.equal(attend(changed)[:, 1:], attend(fields)[:, 1:])


def test_a_single_field_takes_all_the_attention() -> None:
    attend, (_, _, w_v, w_r), w_o = one_layer()
    e = some_fields()[:, :1]
    expected = e + (e @ (w_v + w_r).T).relu() @ w_o.T
    torch.testing.assert_close(attend(e), expected, rtol=0, atol=1e-10)


def test_with_a_zero_output_map_it_is_the_identity() -> None:
    attend, fields = make(AutoIntConfig()), some_fields()
    with torch.no_grad():
        attend.out.weight.zero_()  # type: ignore[union-attr,operator]
    assert torch.equal(attend(fields), fields)


def test_layers_heads_and_units_change_the_size() -> None:
    attend = make(AutoIntConfig(layers=3, heads=HEADS, units=UNITS))
    first, later, out = 4 * INNER * D, 4 * INNER * INNER, INNER * D
    assert sum(p.numel() for p in attend.parameters()) == first + 2 * later + out
