"""What training taught of the features, and the one transform that applies it."""
