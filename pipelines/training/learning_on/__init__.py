"""Learning on from an earlier model: where its weights are, and what a new run takes of them."""
