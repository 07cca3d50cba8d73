"""A policy as its own log shows it, and a model of the rewards in another's."""

from dataclasses import dataclass

import numpy as np

from fulcrum.features.errors import DataError

PSEUDO = 10.0
"""Rows that each cell of the reward model gets at the mean of all, against chance."""


@dataclass(frozen=True)
class LoggedPolicy:
    """How often each action was taken in each context."""

    contexts: np.ndarray
    """`(C,)` sorted."""
    actions: np.ndarray
    """`(A,)` sorted."""
    chance: np.ndarray
    """`(C, A)`, rows add up to 1."""

    def of(self, actions: np.ndarray, contexts: np.ndarray) -> np.ndarray:
        """`(rows,)` chance of each row's action in its context; 0 for one never taken."""
        action, known = _places(self.actions, actions)
        return np.where(known, self.chance[self.context(contexts), action], 0.0)

    def context(self, contexts: np.ndarray) -> np.ndarray:
        """`(rows,)` places of contexts. Raises DataError for those not in this policy's log."""
        places, known = _places(self.contexts, contexts)
        if not known.all():
            raise DataError(
                f"{(~known).sum()} of {len(known)} rows have a context that the target policy "
                f"never met, for example {contexts[~known][0]!r}; use fewer columns as context"
            )
        return places


def empirical_policy(actions: np.ndarray, contexts: np.ndarray) -> LoggedPolicy:
    """Frequencies of actions within each context, `(rows,)` labels of any kind.

    Unbiased for the policy's mean over the time of its log, given these contexts. It is not
    smoothed, which would move the policy: what was never taken gets weight 0. Intervals of its
    value take the frequencies for the policy; they do not know that another log would show others.
    """
    if len(actions) == 0:
        raise DataError("the target policy's log has no rows")
    names, action = np.unique(actions, return_inverse=True)
    places, context = np.unique(contexts, return_inverse=True)
    counts = np.zeros((len(places), len(names)))
    np.add.at(counts, (context, action), 1)
    return LoggedPolicy(places, names, counts / counts.sum(axis=1, keepdims=True))


def predict_rewards(
    rewards: np.ndarray,
    actions: np.ndarray,
    contexts: np.ndarray,
    target: LoggedPolicy,
    units: np.ndarray | None = None,
    folds: int = 5,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """`predicted` and `expected` of `off_policy.doubly_robust`, both `(rows,)`.

    The model is the mean reward of each action in each context, drawn towards the mean of all by
    `PSEUDO` rows. Each fold of rows (of whole units where given) is judged by the means of the
    others. Actions that the target never takes have weight 0, so their prediction is 0.
    """
    context, (action, known) = target.context(contexts), _places(target.actions, actions)
    owners = np.arange(len(rewards)) if units is None else np.unique(units, return_inverse=True)[1]
    fold = np.random.default_rng(seed).permutation(owners.max() + 1)[owners] % folds
    predicted, expected = np.zeros(len(rewards)), np.zeros(len(rewards))
    for part in range(folds):
        held, rest = fold == part, (fold != part) & known
        sums, counts = np.zeros_like(target.chance), np.zeros_like(target.chance)
        np.add.at(sums, (context[rest], action[rest]), rewards[rest])
        np.add.at(counts, (context[rest], action[rest]), 1)
        mean = rewards[rest].mean() if rest.any() else 0.0
        means = (sums + PSEUDO * mean) / (counts + PSEUDO)
        predicted[held] = np.where(known[held], means[context[held], action[held]], 0.0)
        expected[held] = (target.chance * means).sum(axis=1)[context[held]]
    return predicted, expected


def _places(labels: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each value among sorted labels, and whether it is there."""
    places = np.minimum(np.searchsorted(labels, values), len(labels) - 1)
    return places, labels[places] == values
