"""The data-training loop, played many times over."""
