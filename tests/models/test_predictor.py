"""The predictor: with fields per task, each trunk is the loop over tasks, and does less than it."""

from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from fulcrum.features.layout import Layout
from fulcrum.models.interactions.dcn_v2 import DCNv2Config
from fulcrum.models.layers.fusion import Experts
from fulcrum.models.predictor import Predictor
from fulcrum.models.trunks import Trunk
from fulcrum.models.trunks.home import HoME
from fulcrum.testing.layouts import binary_tasks, make_layout
from tests.models.debug import debug_model

ROWS, T, D = 5, 3, 4
LAYOUT: Layout = make_layout(binary_tasks(T))
ONE, TWO = [[8, 6]], [[8], [6]]
"""Levels."""
TRUNKS: list[tuple[str, dict[str, object]]] = [
    ("shared_bottom", {}),
    ("mmoe", {}),
    ("mmoe", {"bottom": "apem"}),
    ("omoe", {}),
    *(("ml_mmoe", {"levels": levels}) for levels in (ONE, TWO)),
    *(
        ("ple", {"levels": levels, "task_experts": m_t, "shared_experts": m_s})
        for levels in (ONE, TWO, [[8], [7], [6]])
        for m_t, m_s in ((1, 1), (1, 2), (2, 1), (2, 2), (0, 2), (2, 0))
    ),
    *(
        ("adatt", {"levels": levels, "task_experts": m_t, "shared_experts": m_s})
        for levels in (ONE, TWO)
        for m_t, m_s in ((1, 1), (2, 1), (2, 0))
    ),
    *(("cross_stitch", {"levels": levels}) for levels in (ONE, TWO)),
    *(
        ("home", {"categories": categories, "task_experts": m_t, "shared_experts": m_s})
        for categories in ({}, {"pair": ["t0", "t2"], "lone": ["t1"]})
        for m_t, m_s in ((1, 1), (2, 2))
    ),
    ("pepnet", {}),
    ("pepnet", {"domain": ["tab_id"], "prior": ["user", "cart"]}),
]
"""Every architecture that goes over a bottom per task, with settings."""


def make(architecture: str, layout: Layout = LAYOUT, **settings: object) -> Predictor:
    """Nothing that starts at 0, as feature gates do, stays there."""
    predictor = Predictor(layout, debug_model(architecture, **{"bottom": "dtrn", **settings}))
    for parameter in predictor.trunk.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return predictor.double().eval()


def shared_trunk(predictor: Predictor, architecture: str, **settings: object) -> Trunk:
    """The same trunk, made for fields that all tasks share."""
    model = debug_model(architecture, **{**settings, "bottom": "none"})
    trunk = model.build(predictor.bottom.names, predictor.names)
    trunk.load_state_dict(predictor.trunk.state_dict())
    return trunk.double().eval()


def some_fields(predictor: Predictor) -> Tensor:
    """`(ROWS, T · F, D)`, task-major."""
    width = len(predictor.names) * len(predictor.bottom.names)
    return torch.randn(ROWS, width, D, dtype=torch.float64)


def own(predictor: Predictor, fields: Tensor, task: int) -> Tensor:
    """The fields of one task."""
    return fields.unflatten(1, (len(predictor.names), -1))[:, task]


def close(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("architecture", "settings"), TRUNKS)
def test_it_is_the_loop_over_tasks(architecture: str, settings: dict[str, object]) -> None:
    """As if each task's own fields passed the whole trunk and its own representation were kept:
    values, and gradients of fields and parameters."""
    predictor = make(architecture, **settings)
    trunk = shared_trunk(predictor, architecture, **settings)
    fields = some_fields(predictor).requires_grad_()
    z = predictor.represent(fields)
    assert z.shape == (ROWS, T, predictor.trunk.width)
    looped = torch.stack([trunk(own(predictor, fields, t))[:, t] for t in range(T)], 1)
    close(z, looped)
    pull = torch.randn_like(z)
    moved = torch.autograd.grad((z * pull).sum(), [fields, *predictor.trunk.parameters()])
    expected = torch.autograd.grad((looped * pull).sum(), [fields, *trunk.parameters()])
    for gradient, other in zip(moved, expected, strict=True):
        close(gradient, other)


@pytest.mark.parametrize(("architecture", "settings"), TRUNKS)
def test_a_tasks_fields_reach_no_other_tasks_representation(
    architecture: str, settings: dict[str, object]
) -> None:
    predictor = make(architecture, **settings)
    for task in range(T):
        fields = some_fields(predictor).requires_grad_()
        predictor.represent(fields)[:, task].square().sum().backward()
        assert fields.grad is not None
        moved = fields.grad.unflatten(1, (T, -1)).flatten(2).any(2)
        assert moved.tolist() == [[t == task for t in range(T)]] * ROWS


def expert_passes(predictor: Predictor) -> float:
    """Expert passes of a row, over all levels."""
    passes = 0

    def count(module: nn.Module, args: object, h: Tensor) -> None:
        nonlocal passes
        passes += h.shape[0] * h.shape[1]

    for module in predictor.trunk.modules():
        if isinstance(module, Experts):
            module.mlp.register_forward_hook(count)
    predictor.represent(some_fields(predictor))
    return passes / ROWS


@pytest.mark.parametrize(
    ("architecture", "settings", "passes"),
    [
        ("ple", {"levels": ONE, "task_experts": 1, "shared_experts": 2}, 18),
        ("ple", {"levels": TWO, "task_experts": 1, "shared_experts": 2}, 48 + 18),
        ("ple", {"levels": TWO, "task_experts": 2, "shared_experts": 0}, 12 + 12),
        ("home", {}, 6 * 4 + 6 * 5),
        ("mmoe", {"experts": 4}, 24),
    ],
)
def test_experts_take_only_rows_that_are_used(
    architecture: str, settings: dict[str, object], passes: int
) -> None:
    """Of 6 tasks, of which each uses its own and the shared experts, and those of its category. The
    shared gate of a first level sees all of it."""
    layout = make_layout(binary_tasks(6))
    assert expert_passes(make(architecture, layout=layout, **settings)) == passes


def test_statistics_are_those_of_the_rows_that_an_expert_takes() -> None:
    """Level 2 of HoME as it trains: rows of one task, of a category's tasks, or of all."""
    settings = {"categories": {"pair": ["t0", "t2"], "lone": ["t1"]}, "task_experts": 2}
    predictor = make("home", **settings)
    shared = shared_trunk(predictor, "home", **settings)
    assert isinstance(predictor.trunk, HoME) and isinstance(shared, HoME)
    inputs: list[Tensor] = []
    last = shared.level2.experts.mlp.layers[-1]  # type: ignore[index]
    last.register_forward_hook(lambda module, args, u: inputs.append(u))
    fields = some_fields(predictor)
    predictor.trunk.train()
    z = predictor.represent(fields)
    levels = shared.train().diagnostics(fields.unflatten(1, (T, -1)).transpose(0, 1).flatten(0, 1))

    norm, (u,) = predictor.trunk.level2.experts.mlp.norm, inputs
    rows = {"t0": [0], "t1": [1], "t2": [2], "pair": [0, 2], "lone": [1], "shared": [0, 1, 2]}
    h = torch.zeros_like(levels[1].experts)
    for e, owner in enumerate(levels[1].owners):
        taken = u[e].unflatten(0, (T, ROWS))[rows[owner]]
        mean, var = taken.mean((0, 1)), taken.var((0, 1), correction=0)
        close(norm.running_mean[e, 0], 0.1 * mean)
        close(norm.running_var[e, 0], 0.9 + 0.1 * var)
        scale = norm.weight[e] * (var + norm.eps).rsqrt()
        h[:, e] = nn.functional.silu((u[e] - mean) * scale + norm.bias[e])
    looped = (levels[1].weights @ h).unflatten(0, (T, ROWS))
    close(z, torch.stack([looped[t, :, t] for t in range(T)], 1))


def test_each_task_interacts_with_its_own_fields() -> None:
    predictor = make("mmoe", interaction="dcn_v2")
    trunk = shared_trunk(predictor, "mmoe")
    assert isinstance(debug_model("mmoe", interaction="dcn_v2").interaction, DCNv2Config)
    fields = some_fields(predictor)
    z = predictor.represent(fields)
    for t in range(T):
        crossed = predictor.interaction(own(predictor, fields, t))
        close(z[:, t], trunk(crossed)[:, t])


@pytest.mark.parametrize(("architecture", "settings"), TRUNKS[:-2])
def test_diagnostics_tell_a_row_per_task_and_which_are_used(
    architecture: str, settings: dict[str, object]
) -> None:
    """And are those of a trunk that computes everything, wherever they are used."""
    predictor = make(architecture, **settings)
    fields = some_fields(predictor)
    levels = predictor.diagnostics(fields)
    last = levels[-1]
    assert last.outputs == ("t0", "t1", "t2") and last.used is not None
    assert last.used.tolist() == torch.eye(T).bool().repeat_interleave(ROWS, 0).tolist()
    kept = (last.weights @ last.experts)[last.used].unflatten(0, (T, ROWS))
    close(kept.transpose(0, 1), predictor.represent(fields))

    rows = fields.unflatten(1, (T, -1)).transpose(0, 1).flatten(0, 1)
    everything = shared_trunk(predictor, architecture, **settings).diagnostics(rows)
    for level, whole in zip(levels, everything, strict=True):
        used = torch.ones(level.weights.shape[:2]) if level.used is None else level.used.double()
        close(level.weights[used > 0], whole.weights[used > 0])
        in_use = used.double() @ level.visible.double() > 0
        close(level.experts[in_use], whole.experts[in_use])


def test_diagnostics_leave_out_what_goes_nowhere_below_the_last_level() -> None:
    """A task's rows use its own output and the shared one of a first level."""
    first, _ = make("ple", levels=TWO).diagnostics(some_fields(make("ple")))
    assert first.outputs == ("t0", "t1", "t2", "shared") and first.used is not None
    used = torch.cat([torch.eye(T), torch.ones(T, 1)], 1).bool()
    assert torch.equal(first.used, used.repeat_interleave(ROWS, 0))


def test_with_equal_fields_it_is_the_trunk_on_shared_fields() -> None:
    predictor, shared = make("ple"), make("ple", bottom="none")
    F = len(shared.bottom.names)
    assert len(predictor.bottom.names) == F
    shared.trunk.load_state_dict(predictor.trunk.state_dict())
    fields = torch.randn(ROWS, F, D, dtype=torch.float64)
    close(predictor.represent(fields.repeat(1, T, 1)), shared.represent(fields))
    assert shared.diagnostics(fields)[-1].used is None


class Representation(nn.Module):
    """What a predictor makes of fields, as a module that can be exported."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, fields: Tensor) -> Tensor:
        return self.predictor.represent(fields)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "settings"),
    [("ple", {}), ("home", {})],
)
def test_exports_to_onnx(architecture: str, settings: dict[str, object], tmp_path: Path) -> None:
    predictor = make(architecture, **settings).float()
    program = torch.onnx.export(
        Representation(predictor),
        (some_fields(predictor).float(),),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["fields"],
        verbose=False,
    )
    assert program is not None
    program.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for rows in (1, 2, 50):
        fields = some_fields(predictor).float().repeat(10, 1, 1)[:rows]
        (z,) = session.run(None, {"fields": fields.numpy()})
        with torch.no_grad():
            expected = predictor.represent(fields)
        torch.testing.assert_close(torch.from_numpy(z), expected, rtol=1e-5, atol=1e-5)
