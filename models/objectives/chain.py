"""Entire-space chains: P(task) = P(given) · P(task | given), from logits and in log space.

Source: ESMM (SIGIR 2018), equations 1-3; chains of any depth.

a_t   logit of P(t | given)        s  logistic function
p, q  probability of the whole chain, and 1 - p

    log p_t = log p_given + log s(a_t)
    log q_t = log(q_given + p_given · s(-a_t))

The result is the logit log p - log q of the whole chain, so that a chained task is a binary task
like any other. Nothing is ever subtracted from 1, so loss and gradient are finite for any logits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from features.errors import ConfigError
from features.layout import TaskSpec


def parents(tasks: Sequence[TaskSpec]) -> list[int | None]:
    """Position of the task that each one is conditional on.

    Raises ConfigError for a `given` that is not among the binary tasks, or a circle.
    """
    names = [task.name for task in tasks]
    for task in tasks:
        if task.given is not None and task.given not in names:
            raise ConfigError(
                f"tasks.{task.name}.given: {task.given!r} is not a binary task; "
                f"the binary tasks are {', '.join(names)}"
            )
    found = [None if task.given is None else names.index(task.given) for task in tasks]
    for task, parent in zip(tasks, found, strict=True):
        if parent is not None and len(_ancestors(parent, found)) == len(tasks):
            raise ConfigError(f"tasks.{task.name}.given: the chain of tasks is a circle")
    return found


def joint_logits(logits: Tensor, parents: Sequence[int | None]) -> Tensor:
    """Own logits `(batch, tasks)` to the logits of each task's whole chain `(batch, tasks)`."""
    if all(parent is None for parent in parents):
        return logits
    joint = list(logits.unbind(1))
    log_p, log_q = list(F.logsigmoid(logits).unbind(1)), list(F.logsigmoid(-logits).unbind(1))
    for t in sorted(range(len(parents)), key=lambda t: len(_ancestors(t, parents))):
        given = parents[t]
        if given is not None:
            log_q[t] = torch.logaddexp(log_q[given], log_p[given] + log_q[t])
            log_p[t] = log_p[given] + log_p[t]
            joint[t] = log_p[t] - log_q[t]
    return torch.stack(joint, 1)


def _ancestors(t: int, parents: Sequence[int | None]) -> list[int]:
    """The tasks that t is conditional on, nearest first; as many as there are tasks in a circle."""
    chain: list[int] = []
    parent = parents[t]
    while parent is not None and len(chain) < len(parents):
        chain.append(parent)
        parent = parents[parent]
    return chain
