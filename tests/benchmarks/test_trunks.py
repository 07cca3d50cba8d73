"""The cost of networks: what is counted, and that memory grows as it should."""

import pytest

from benchmarks import trunks
from benchmarks.logs import Size
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.models.trunks.ple import PLEConfig

SMALL = Size(batch_size=32, rounds=1)


@pytest.mark.slow
def test_fusion_is_compared_with_layers_of_its_size():
    eager, compiled, dense = trunks.fusion(None, SMALL)
    assert (eager.to, compiled.to) == (dense.what, eager.what)
    assert eager.aim == 1 / 1.3


def test_the_layers_are_as_much_work_as_the_experts():
    """Gates and mixing come on top: little, as long as experts are wide."""
    experts, rest = trunks.step_layers(trunks.PLE, 64)(), trunks.step(trunks.PLE, 64)()
    assert experts < rest < 1.1 * experts


@pytest.mark.parametrize(
    "make",
    [
        lambda m: MMoEConfig(experts=m),
        lambda m: PLEConfig(task_experts=m, shared_experts=m),
    ],
)
def test_memory_is_linear_in_the_experts(make):
    one, two, four = (trunks.bytes_per_row(make(m), 64) for m in (4, 8, 16))
    assert four - two == pytest.approx(2 * (two - one), rel=1e-6)
    assert one < two < four


def test_memory_figures_name_what_they_count():
    figures = trunks.memory(None, SMALL)
    assert [f.what for f in figures][:2] == [
        "MMoE, 8 experts: kept for backward",
        "MMoE, 16 experts: kept for backward",
    ]
    assert all(f.measured.endswith(" KiB per row") for f in figures)
