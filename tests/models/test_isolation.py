"""The gradient-isolation matrix, and that one flipped entry of any mask turns it red."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from fulcrum.models.layers.expert_usage import SHARED
from fulcrum.models.predictor import Predictor
from fulcrum.models.trunks import Trunk
from fulcrum.testing.layouts import binary_tasks, make_layout
from tests.models.debug import MODELS, debug_model
from tests.models.isolation import CATEGORY, RULES, TASKS, check, levels, make

FIRST, LAST = 0, -1


def gradient(trunk: Trunk, fields: Tensor, loss: str, level: int, part: str, owner: str) -> Tensor:
    """Gradient of one task's loss in what a part of a level holds for an owner: its experts, or its
    gate."""
    module, seen = levels(trunk)[level], trunk.diagnostics(fields)[level]
    names = seen.owners if part == "experts" else seen.outputs
    own = torch.tensor([name == owner for name in names])
    parameters = [p for p in getattr(module, part).parameters() if len(p) == len(names)]
    assert parameters and own.any()
    z = trunk(fields)[:, TASKS.index(loss)].square().sum()
    grads = torch.autograd.grad(z, parameters, allow_unused=True)
    return torch.cat([g[own].flatten() for g in grads if g is not None] or [torch.zeros(1)])


ZERO = [
    ("mmoe", LAST, "gate"),
    ("ml_mmoe", LAST, "gate"),
    ("cgc", LAST, "gate"),
    ("cgc", LAST, "experts"),
    ("ple", LAST, "gate"),
    ("ple", LAST, "experts"),
    ("ple", FIRST, "gate"),
    ("adatt", LAST, "gate"),
    ("adatt_sp", LAST, "gate"),
    ("home", LAST, "gate"),
    ("home", LAST, "self_gate"),
    ("home", LAST, "experts"),
    ("stem", LAST, "gate"),
    ("stem", LAST, "experts"),
]
NOT_ZERO = [
    ("ple", FIRST, "experts"),
    ("adatt", LAST, "experts"),
    ("adatt", FIRST, "experts"),
    ("adatt_sp", LAST, "experts"),
    ("adatt_sp", FIRST, "experts"),
    ("stem", FIRST, "experts"),
]
"""Network, level, and the part of one task that another task's loss does not reach, or does."""


@pytest.mark.parametrize(("name", "level", "part"), ZERO)
@pytest.mark.parametrize(("a", "b"), [("a", "b"), ("a", "c"), ("c", "b")])
def test_no_gradient_at_all(name: str, level: int, part: str, a: str, b: str) -> None:
    trunk, fields = make(name)
    assert (gradient(trunk, fields, b, level, part, a) == 0).all()
    assert gradient(trunk, fields, a, level, part, a).any(), "its own loss does"


@pytest.mark.parametrize(("name", "level", "part"), NOT_ZERO)
def test_gradient_that_must_flow(name: str, level: int, part: str) -> None:
    trunk, fields = make(name)
    assert gradient(trunk, fields, "b", level, part, "a").any()


@pytest.mark.parametrize("loss", TASKS)
def test_home_keeps_categories_apart_but_for_what_is_shared(loss: str) -> None:
    """Level-2 category experts and level-1 gates belong to the category alone; level-1 experts are
    reached by all, through z_shared."""
    trunk, fields = make("home")
    for category in set(CATEGORY.values()):
        own = CATEGORY[loss] == category
        assert gradient(trunk, fields, loss, LAST, "experts", category).any() == own
        assert gradient(trunk, fields, loss, FIRST, "gate", category).any() == own
        assert gradient(trunk, fields, loss, FIRST, "self_gate", category).any() == own
        assert gradient(trunk, fields, loss, FIRST, "experts", category).any()
    assert gradient(trunk, fields, loss, LAST, "experts", SHARED).any()


def test_with_one_level_stem_keeps_tables_apart() -> None:
    config = debug_model("stem")
    trunk = config.build(("f", "g"), TASKS).double()
    copies = len(TASKS) + 1
    fields = torch.randn(5, copies * 2, 4, dtype=torch.float64, requires_grad=True)
    for task in range(len(TASKS)):
        (grad,) = torch.autograd.grad(trunk(fields)[:, task].square().sum(), fields)
        reached = grad.unflatten(1, (copies, 2)).abs().sum((0, 2, 3)) > 0
        assert reached.tolist() == [t == task for t in range(len(TASKS))] + [True]


@pytest.mark.parametrize("name", MODELS)
def test_a_task_never_reaches_another_tower(name: str) -> None:
    layout = make_layout(binary_tasks(3))
    model = debug_model(name)
    predictor = Predictor(layout, model).eval()
    n = 3 if model.bottom.per_task else model.copies(3)
    fields = torch.randn(6, n * len(predictor.bottom.names), model.embedding_dim)
    for task in range(3):
        predictor.zero_grad()
        losses = predictor.tasks.losses(predictor.logits(fields), torch.ones(6, 3))
        losses[:, task].sum().backward()
        for key, parameter in predictor.towers.named_parameters():
            assert parameter.grad is not None
            reached = parameter.grad.flatten(1).any(1).tolist()
            assert reached == [t == task for t in range(3)], key


@pytest.mark.parametrize("name", RULES)
def test_who_trains_whom(name: str) -> None:
    check(name, *make(name))


def masks(module: nn.Module) -> Iterator[Tensor]:
    """The masks that a level is made of."""
    yield module.gate.visible  # type: ignore[union-attr,misc]
    if hasattr(module, "self_gate"):
        yield module.self_gate.ownership  # type: ignore[union-attr,misc]
    for name in ("gradient", "support"):
        mask = getattr(module, name, None)
        if mask is not None:
            yield mask
    native = getattr(module, "native", None)
    if native is not None and not isinstance(native, nn.Parameter):
        yield native


@pytest.mark.parametrize("name", RULES)
def test_one_flipped_entry_of_a_mask_turns_the_check_red(name: str) -> None:
    trunk, fields = make(name)
    flips = 0
    for module in levels(trunk):
        module.gate.masked = True  # type: ignore[union-attr]
        for mask in masks(module):
            for place in torch.cartesian_prod(*map(torch.arange, mask.shape)).tolist():
                entry = mask[tuple(place)].clone()
                mask[tuple(place)] = ~entry if mask.dtype == torch.bool else 1 - entry
                with pytest.raises(AssertionError):
                    check(name, trunk, fields)
                mask[tuple(place)] = entry
                flips += 1
    assert flips >= len(TASKS) * 2
    check(name, trunk, fields)
