"""MMoE's synthetic study: the planted tasks, and what the paper found in them."""

import numpy as np
import pytest
import torch

from benchmarks.mmoe_study import NETWORKS, SIZES, Network, Study, Tasks, losses, picture, run


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 1.0])
def test_without_sines_labels_correlate_as_planted(correlation):
    rows, seeds = 50_000, 4
    _, y = Tasks(seeds, correlation, sines=0).draw(rows)
    for first, second in y.transpose(1, 2):
        measured = np.corrcoef(first, second)[0, 1]
        noise = 1 + 0.01  # variance of a label: that of w · x and the noise's
        assert measured == pytest.approx(correlation / noise, abs=5 / rows**0.5)


def test_weights_are_unit_vectors_at_the_planted_angle():
    w = Tasks(6, 0.3).w
    products = w.transpose(1, 2) @ w
    expected = torch.tensor([[1.0, 0.3], [0.3, 1.0]]).expand(6, 2, 2)
    torch.testing.assert_close(products, expected)


def test_the_networks_are_of_one_size():
    """Gates and biases aside: 100·16·8 + 16·8·2, and (100 + 8·2) · 113."""
    sizes = {
        name: sum(
            p.numel()
            for key, p in Network(config).named_parameters()
            if "gate" not in key and "bias" not in key and "last" not in key
        )
        for name, config in NETWORKS.items()
    }
    assert sizes["mmoe"] == sizes["omoe"] == 100 * 16 * 8 + 16 * 8 * 2 == 13_056
    assert sizes["shared_bottom"] == (100 + 8 * 2) * 113 == 13_108
    assert SIZES["tower"] == (8,)


def test_seeds_train_apart():
    """A seed's loss does not depend on which others train beside it."""
    few = run(Study(seeds=2, steps=5), [0.5], ["mmoe"])
    again = run(Study(seeds=2, steps=5), [0.5], ["mmoe"])
    assert few == again and len(set(few["mmoe"][0.5])) == 2
    assert picture({name: few["mmoe"] for name in NETWORKS}).axes


@pytest.mark.slow
def test_more_gates_help_as_tasks_grow_apart():
    """The paper's findings (sections 3.4 and 4.3) in fewer steps: MMoE beats shared-bottom on more
    seeds than chance would give, and OMoE on more seeds where tasks differ than where they do not.
    """
    results = run(Study(seeds=20, steps=800), [0.5, 1.0], list(NETWORKS))
    shared, omoe, mmoe = (losses(results, name) for name in NETWORKS)
    beyond_chance = 15  # of 20: a fair coin does it once in fifty times
    assert ((mmoe < shared).sum(1) >= beyond_chance).all()
    apart, alike = (mmoe < omoe).sum(1)
    assert apart > alike
