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
    for start, task in enumerate(tasks):
        at, steps = found[start], 1
        while at is not None:
            at, steps = found[at], steps + 1
            if steps > len(tasks):
                raise ConfigError(f"tasks.{task.name}.given: the chain of tasks is a circle")
    return found


def joint_logits(logits: Tensor, parents: Sequence[int | None]) -> Tensor:
    """Own logits `(batch, tasks)` to the logits of each task's whole chain `(batch, tasks)`."""
    if all(parent is None for parent in parents):
        return logits
    log_p: dict[int, Tensor] = {}
    log_q: dict[int, Tensor] = {}

    def walk(t: int) -> None:
        a, parent = logits[:, t], parents[t]
        log_p[t], log_q[t] = F.logsigmoid(a), F.logsigmoid(-a)
        if parent is not None:
            if parent not in log_p:
                walk(parent)
            log_q[t] = torch.logaddexp(log_q[parent], log_p[parent] + log_q[t])
            log_p[t] = log_p[parent] + log_p[t]

    for t in range(len(parents)):
        if t not in log_p:
            walk(t)
    columns = [
        logits[:, t] if parent is None else log_p[t] - log_q[t] for t, parent in enumerate(parents)
    ]
    return torch.stack(columns, 1)
