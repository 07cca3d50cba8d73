"""Raw rows made complete: times, labels, side tables, and types as in training."""
