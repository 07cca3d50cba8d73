"""A feed of short and long videos whose truth is known.

A user is offered a few videos with features x, uniform on [0, 1]^10, each short or long with
probability 1/2. With x' = x - 1/2 and j = 1..10:

    short   P(finish) = sigmoid( 0.8 + sum_j 1.5 cos(j) x'_j)
            E[stay]   = exp(sum_j cos(2j) x'_j)
    long    P(finish) = sigmoid(-0.8 + sum_j 1.5 sin(j) x'_j)
            E[stay]   = exp(0.6 + sum_j sin(2j) x'_j)

and the stay is exponential. It has the form of the simulation in Si, "Tackling Interference Induced
by Data Training Loops in A/B Tests" (arXiv 2310.17496), whose coefficients were not published;
these are our own.
"""

from dataclasses import dataclass

import numpy as np

FEATURES = 10
WIDTH = 2 * FEATURES + 2
"""Length of what a model sees of a video: x' if short, else zeros; x' if long, else zeros; whether
it is short; whether it is long."""
_J = np.arange(1, FEATURES + 1)
_FINISH = np.concatenate([1.5 * np.cos(_J), 1.5 * np.sin(_J), [0.8, -0.8]]).astype(np.float32)
_STAY = np.concatenate([np.cos(2 * _J), np.sin(2 * _J), [0.0, 0.6]]).astype(np.float32)


@dataclass(frozen=True)
class Visits:
    """Users who arrive, with the luck that decides what they do: one draw for every policy, so that
    policies are compared on the same users."""

    videos: np.ndarray
    """`(..., videos, WIDTH)` float32."""
    taste: np.ndarray
    """`(..., videos)` Gumbel noise of the choice."""
    finish: np.ndarray
    """`(...,)` uniform: finished where below the probability."""
    stay: np.ndarray
    """`(...,)` exponential with mean 1: the stay over its mean."""
    arm: np.ndarray
    """`(...,)` uniform: treated where below the share."""


def visits(random: np.random.Generator, shape: tuple[int, ...], videos: int) -> Visits:
    """Users in any shape, each offered so many videos."""
    size = (*shape, videos)
    x = random.random((*size, FEATURES), np.float32) - np.float32(0.5)
    long = random.random(size, np.float32) < 0.5
    encoded = np.zeros((*size, WIDTH), np.float32)
    np.copyto(encoded[..., :FEATURES], x, where=~long[..., None])
    np.copyto(encoded[..., FEATURES : 2 * FEATURES], x, where=long[..., None])
    encoded[..., -2], encoded[..., -1] = ~long, long
    return Visits(
        encoded,
        random.gumbel(size=size).astype(np.float32),
        random.random(shape, np.float32),
        random.standard_exponential(shape, np.float32),
        random.random(shape, np.float32),
    )


def finish_rate(videos: np.ndarray) -> np.ndarray:
    """P(finish) of videos `(..., WIDTH)`."""
    return 1 / (1 + np.exp(-(videos @ _FINISH)))


def mean_stay(videos: np.ndarray) -> np.ndarray:
    """E[stay] of videos `(..., WIDTH)`."""
    return np.exp(videos @ _STAY)
