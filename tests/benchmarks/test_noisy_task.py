"""A noisy task beside a clean one: the planted world, and who is helped."""

import pytest
import torch

from benchmarks.noisy_task import (
    CLEAN,
    EQUAL,
    NOISY,
    TUNED,
    Networks,
    Study,
    World,
    available,
    change,
    picture,
    run,
    table_rows,
    train,
)
from fulcrum.models.weightings import StaticConfig


def test_labels_are_as_planted():
    """The planted weights agree as stated, and what they leave of the labels is the noise."""
    study = Study(seeds=3, rows=50_000)
    world = World(study)
    products = world.w.mT @ world.w
    expected = torch.tensor([[1.0, 0.9], [0.9, 1.0]]).expand(3, 2, 2)
    torch.testing.assert_close(products, expected)
    x, y = world.train
    left = y - torch.stack([x @ world.w[..., :1], 10 * (x @ world.w[..., 1:])], 3)[..., 0, :]
    within = 5 / (2 * study.rows) ** 0.5
    assert left.std(1)[:, CLEAN].tolist() == pytest.approx([0.1] * 3, rel=within)
    assert left.std(1)[:, NOISY].tolist() == pytest.approx([40.0] * 3, rel=within)


def test_errors_are_those_of_many_rows():
    study = Study(seeds=2, valid=200_000)
    world, networks = World(study), Networks(study.seeds)
    losses = networks.losses(*world.valid).detach()
    noise = torch.tensor([0.1, 40.0]).square()
    scale = torch.tensor([1.0, 10.0]).square()
    measured = (losses - noise) / scale
    expected, within = networks.errors(world.w), 5 * (2 / study.valid) ** 0.5
    torch.testing.assert_close(measured[:, CLEAN], expected[:, CLEAN], rtol=within, atol=0)
    apart = (measured - expected)[:, NOISY].abs()
    assert (apart < within * losses[:, NOISY] / scale[NOISY]).all()


def test_products_are_those_of_each_seed_alone():
    study = Study(seeds=2)
    world, networks = World(study), Networks(study.seeds)
    losses = networks.losses(*world.train)
    for seed, products in enumerate(networks.products(losses)):
        gradients = [
            torch.autograd.grad(loss, networks.u, retain_graph=True)[0][seed]
            for loss in losses[seed]
        ]
        jacobian = torch.stack(gradients).double()
        torch.testing.assert_close(products, jacobian @ jacobian.T)


@pytest.mark.parametrize("method", available())
def test_seeds_train_apart(method):
    """A seed's errors do not depend on which others train beside it: each world is drawn for all
    seeds at once, so the second is trained again with the first one's labels spoilt."""
    study = Study(seeds=2, epochs=1)
    world, spoilt = World(study), World(study)
    spoilt.train[1][0] += 100
    config = available()[method]
    errors, others = (train(config, w, study).errors(w.w) for w in (world, spoilt))
    torch.testing.assert_close(errors[1], others[1])
    assert not torch.allclose(errors[0], others[0])


def test_a_small_study_has_a_table_and_a_picture():
    results = run(Study(seeds=2, epochs=1), {"upgrad": available()["upgrad"]})
    assert list(results) == [EQUAL, TUNED, "upgrad"]
    assert change(results, EQUAL) == (0, 0, 0)
    assert [row[:2] for row in table_rows(results)] == [(n, s) for n in results for s in range(2)]
    assert len(picture(results).axes) == 2


def test_equal_weights_do_little_harm_without_noise():
    """The clean task then loses no more than the planted weights differ: 1 - 0.9²."""
    study = Study(seeds=5, noise=0.0)
    world = World(study)
    errors = train(StaticConfig(), world, study).errors(world.w)
    assert errors[:, CLEAN].max() < 1.05 * (1 - 0.9**2)


@pytest.mark.slow
def test_who_helps():
    """With noise, equal weights leave the clean task little better than knowing nothing; weights by
    hand, uncertainty and UPGrad of unit gradients save some of it on these seeds for sure."""
    methods = {name: available()[name] for name in ("uncertainty", "upgrad")}
    results = run(Study(), methods)
    assert results[EQUAL][:, CLEAN].mean() > 0.5
    for name in (TUNED, *methods):
        _, _, high = change(results, name)
        assert high < 0, name
