"""The verbs of `fulcrum ab`."""
