"""What every trunk promises, beside what every network does."""

from typing import ClassVar

import torch

from fulcrum.models.trunks import TRUNKS
from fulcrum.testing.networks import NetworkContract

FIELDS, NAMES = ("f", "g", "h", "i", "j"), ("t0", "t1", "t2")


class TrunkContract(NetworkContract):
    """Tests that hold for every architecture."""

    fuses: ClassVar[bool] = True
    """Whether a representation is a weighted sum of experts."""

    def test_is_listed(self) -> None:
        config = type(self.model())
        assert TRUNKS[self.block["architecture"]] is config
        assert config.source and config.summary

    def test_builds_from_defaults(self) -> None:
        config = type(self.model())()
        trunk = config.build(FIELDS, NAMES[:2])
        fields = torch.randn(3, config.copies(2) * len(FIELDS), config.embedding_dim)
        assert trunk(fields).shape == (3, 2, trunk.width)

    def test_diagnostics_explain_the_representation(self) -> None:
        trunk = self.model().build(FIELDS, NAMES)
        fields = torch.randn(7, self.model().copies(3) * 5, 4)
        levels = trunk.eval().diagnostics(fields)
        assert bool(levels) == self.fuses
        for level in levels:
            outputs, experts = len(level.outputs), len(level.owners)
            assert level.weights.shape == (7, outputs, experts)
            assert level.experts.shape[:2] == (7, experts)
            assert not level.weights[:, ~level.visible].any()
            if level.gates is not None:
                assert not level.gates[:, ~level.visible].any()
                torch.testing.assert_close(level.gates.sum(2), torch.ones(7, outputs))
        if levels:
            assert levels[-1].outputs == NAMES
            torch.testing.assert_close(levels[-1].weights @ levels[-1].experts, trunk(fields))

    def test_path_is_as_wide_as_the_representation(self) -> None:
        """The single-task control has the depth and widths of what a task passes."""
        path = self.model().path
        assert path and path[-1] == self.model().build(FIELDS, NAMES).width
