"""The training loop and what runs inside it."""
