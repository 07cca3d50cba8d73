"""Methods that are known by name and cannot be had here, with the reason and what comes nearest.

Tables step their optimizer within backward, so a step is one backward of a weighted sum of losses.
"""

REFUSED = {
    "graddrop": "keeps or drops single elements of the gradients, which is no weighted sum of "
    "tasks; `upgrad` is the nearest that is",
    "trimmed_mean": "takes the mean of each element without its extremes, which is no weighted sum "
    "of tasks; `upgrad` is the nearest that is",
    "krum": "picks whole gradients that lie close together, for workers that may lie and not for "
    "tasks; expected another method, such as `upgrad`",
    "modo": "needs gradients of two or three independent batches a step; `mgda` is the nearest "
    "that needs one",
    "sdmgrad": "needs gradients of two or three independent batches a step; `cagrad` is the "
    "nearest that needs one",
    "excess_mtl": "keeps an accumulator for every parameter and task, tables included; `igb` "
    "weighs by excess loss without one",
    "pamal": "trains a network for every corner of the front, no weighting of one; `preference` "
    "trains one point of it",
}
