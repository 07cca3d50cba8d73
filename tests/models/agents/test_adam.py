"""Adam for what a weighting learns: torch's, resumable, and of some entries alone."""

import torch
from torch import Tensor, nn

from fulcrum.models.agents.adam import Adam


def gradient(number: int) -> Tensor:
    return torch.randn(3, generator=torch.Generator().manual_seed(number))


def test_is_torchs() -> None:
    ours, theirs = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    adam = Adam([ours], lr=0.1, weight_decay=0.01)
    optimizer = torch.optim.Adam([theirs], lr=0.1, weight_decay=0.01)
    for number in range(20):
        adam.step([gradient(number)])
        theirs.grad = gradient(number)
        optimizer.step()
        assert torch.equal(ours, theirs)


def test_entries_outside_the_mask_stay_as_they_are() -> None:
    """And those inside go on as if there were no others."""
    masked, plain = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    adam, reference = Adam([masked], lr=0.1, weight_decay=0.01), Adam([plain], 0.1, 0.01)
    for number in range(20):
        where = torch.tensor([True, number < 10, True])
        before = [entry.detach().clone() for entry in (masked, *adam.buffers())]
        adam.step([gradient(number)], where=where)
        reference.step([gradient(number)])
        if number >= 10:
            for entry, old in zip((masked, *adam.buffers()), before, strict=True):
                assert entry.ndim == 0 or entry[1] == old[1]
    assert torch.equal(masked[[0, 2]], plain[[0, 2]])
    assert masked[1] != plain[1]
