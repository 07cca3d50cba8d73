"""Serving an experiment: who is in which arm, which model answers, what is logged."""
