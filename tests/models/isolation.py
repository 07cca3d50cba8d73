"""What must not reach what: checks that any wrong entry of a mask turns red.

Rules are stated by the names of outputs and of experts' owners, without the code's own masks.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fulcrum.models.layers.expert_usage import SHARED
from fulcrum.models.trunks import Trunk, TrunkConfig
from tests.models.debug import debug_model

FIELDS, TASKS = ("f", "g", "h"), ("a", "b", "c")
CATEGORIES = {"pair": ("a", "b"), "lone": ("c",)}
CATEGORY = {task: category for category, tasks in CATEGORIES.items() for task in tasks}

Rule = Callable[[str, str], bool]
"""Whether gradient flows from an output into an expert, by their owners."""


def own_and_shared(output: str, owner: str) -> bool:
    """CGC, PLE and STEM: a task trains its own and the shared experts, the shared module all."""
    return output == SHARED or owner in (output, SHARED)


def category_too(output: str, owner: str) -> bool:
    """HoME: the experts of the task's category, too."""
    return own_and_shared(output, owner) or owner == CATEGORY.get(output)


RULES: dict[str, Rule] = {
    "ple": own_and_shared,
    "cgc": own_and_shared,
    "stem": own_and_shared,
    "home": category_too,
    "adatt": lambda output, owner: True,
    "adatt_sp": lambda output, owner: True,
}
WITH_OWN = {"home", "adatt", "adatt_sp"}
"""Networks that add a module's own experts to what its gate takes."""
SETTINGS: dict[str, dict[str, object]] = {
    "stem": {"levels": [[8], [6]], "task_experts": 2, "shared_experts": 2},
    "home": {"categories": CATEGORIES},
}
"""More levels, experts or categories than the debug-size network has."""


def make(name: str) -> tuple[Trunk, Tensor]:
    """A trunk in float64 whose gates and static weights are all far from 0, and fields for it."""
    torch.manual_seed(0)
    config: TrunkConfig = debug_model(name, **SETTINGS.get(name, {}))
    trunk = config.build(FIELDS, TASKS).double().eval()
    fields = config.copies(len(TASKS)) * len(FIELDS)
    return trunk, torch.randn(9, fields, config.embedding_dim, dtype=torch.float64)


def levels(trunk: Trunk) -> list[nn.Module]:
    """The modules that fuse, first level first."""
    return [m for m in trunk.modules() if hasattr(m, "experts") and hasattr(m, "gate")]


def reach(trunk: Trunk, fields: Tensor) -> list[Tensor]:
    """For every level `(outputs, experts)`: whether gradient flows from the output into what the
    expert gives."""
    found: list[Tensor] = []

    def cut(module: nn.Module, args: object, h: Tensor) -> Tensor:
        module.leaf = h.detach().requires_grad_()
        return module.leaf

    def look(module: nn.Module, args: object, z: Tensor) -> None:
        h = module.experts.leaf
        rows = [
            torch.autograd.grad(z[:, g].sum(), h, retain_graph=True)[0] for g in range(z.shape[1])
        ]
        found.append(torch.stack([row.abs().sum((0, 2)) > 0 for row in rows]))

    handles = [m.experts.register_forward_hook(cut) for m in levels(trunk)]  # type: ignore[union-attr,operator]
    handles += [m.register_forward_hook(look) for m in levels(trunk)]
    trunk(fields)
    for handle in handles:
        handle.remove()
    return found


def check(name: str, trunk: Trunk, fields: Tensor) -> None:
    """Raises AssertionError where an output reaches an expert that it must not, or the reverse;
    where a gate sees an expert that it must not, or the reverse; or where the weights that come on
    top of a gate's are not those of its own experts."""
    seen = trunk.diagnostics(fields)
    for level, reached in zip(seen, reach(trunk, fields), strict=True):
        rule = torch.tensor([[RULES[name](g, e) for e in level.owners] for g in level.outputs])
        assert level.gates is not None
        assert torch.equal(reached, rule)
        assert torch.equal((level.gates > 0).all(0), rule | (name == "stem"))
        own = torch.tensor([[g == e for e in level.owners] for g in level.outputs])
        on_top = (level.weights - level.gates).abs().amax(0) > 1e-9
        assert torch.equal(on_top, own & (name in WITH_OWN))
    loss = trunk(fields).square().sum()
    for module, level in zip(levels(trunk), seen, strict=True):
        if isinstance(getattr(module, "native", None), nn.Parameter):
            (grad,) = torch.autograd.grad(loss, module.native, retain_graph=True)  # type: ignore[arg-type]
            own = torch.tensor([[g == e for e in level.owners] for g in level.outputs])
            assert torch.equal(grad != 0, own)
