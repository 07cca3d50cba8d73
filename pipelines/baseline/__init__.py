"""Gradient boosting on the prepared features, to compare a network with."""
