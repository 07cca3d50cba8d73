"""What every chain promises, beside what every network does."""

import numpy as np
import pytest
import torch

from fulcrum.features.layout import TaskSpec
from fulcrum.features.reading.batch import from_arrays
from fulcrum.models.chains import CHAINS
from fulcrum.models.network import Network
from fulcrum.testing.layouts import make_layout, random_arrays, random_batch
from fulcrum.testing.networks import CPU, NetworkContract, make_network, score


def chained(*given: str | None) -> tuple[TaskSpec, ...]:
    """Binary tasks a, b, c ... with the given `given`."""
    return tuple(
        TaskSpec(name=name, kind="binary", given=parent, rate=0.5)
        for name, parent in zip("abcdefgh", given, strict=False)
    )


class ChainContract(NetworkContract):
    """Tests that hold for every chain; `block` is an MMoE with it."""

    def swap_tasks(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {
            name: value[[1, 0, 2]] if ".gate." in name else value
            for name, value in super().swap_tasks(state).items()
        }

    def test_is_listed(self) -> None:
        chain = self.model().chain
        config = CHAINS[chain.kind]  # type: ignore[attr-defined]
        assert type(chain) is config
        assert config.source and config.summary

    @pytest.mark.parametrize("shape", ["line", "star"])
    def test_chains_may_be_long_and_wide(self, shape: str) -> None:
        names = [f"t{t}" for t in range(30)]
        tasks = tuple(
            TaskSpec(
                name=name,
                kind="binary",
                given=None if t == 0 else names[t - 1] if shape == "line" else names[0],
            )
            for t, name in enumerate(names)
        )
        layout = make_layout(tasks, histories=False)
        network = make_network(layout, self.model())
        loss, out = network(random_batch(layout, 1))
        loss.backward()
        assert out["scores"].shape == (1, 30) and out["scores"].isfinite().all()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name

    def test_learns_a_planted_funnel(self) -> None:
        """c given b given a, listed in another order: the scores tell the rows apart."""
        layout = make_layout(chained(None, "a", "b")[::-1])
        network, arrays = make_network(layout, self.model()), random_arrays(layout, 512)
        a = arrays["user"] % 4 > 0
        b = a & (arrays["item"] % 2 > 0)
        c = b & (arrays["length"] > 0)
        labels = np.stack([c, b, a], 1)
        batch = from_arrays(layout, arrays, labels, np.ones_like(labels))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
        for _ in range(80):
            optimizer.zero_grad()
            network(batch)[0].backward()
            optimizer.step()
        scores = score(network, layout, arrays).numpy()
        for t in range(3):
            right = ((scores[:, t] > 0.5) == labels[:, t]).mean()
            assert right > 0.95, (layout.tasks[t].name, right)

    def test_what_is_measured_is_the_log_loss_of_the_scores(self) -> None:
        """Whatever else the chain learns from."""
        layout = make_layout(chained(None, "a", "b"))
        network, batch = make_network(layout, self.model()).eval(), random_batch(layout, 32)
        _, out = network(batch)
        p, y = out["scores"].double(), batch.labels.double()
        expected = -(y * p.log() + (1 - y) * (1 - p).log()) * batch.observed
        torch.testing.assert_close(out["row_losses"].double(), expected, rtol=1e-4, atol=1e-5)

    def test_logits_of_a_chain_are_float32_in_bfloat16(self) -> None:
        """Whatever the towers say to each other; losses and products of probabilities are made of
        them outside the half-precision part."""
        layout = make_layout()
        for tower in ([8], []):
            model = self.model(tower=tower)
            network = Network(layout, model, tables_device=CPU, precision=torch.bfloat16)
            seen: list[torch.dtype] = []
            towers = network.objective.predictor.towers
            towers.last.register_forward_hook(
                lambda _, x, y, s=seen: s.extend((x[0].dtype, y.dtype))
            )
            loss, _ = network(random_batch(layout, 8))
            loss.backward()
            assert seen == [torch.float32] * 2 and loss.isfinite()
