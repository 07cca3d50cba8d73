"""Agents of the weightings by reinforcement: critics, actor-critic, their own Adam."""
