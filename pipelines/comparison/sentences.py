"""What came out of a comparison, in words that claim no more than its marks."""

from collections import Counter
from collections.abc import Mapping, Sequence

from fulcrum.features.errors import listed
from fulcrum.pipelines.comparison.order import FEW
from fulcrum.pipelines.comparison.seesaw import Seesaw
from fulcrum.pipelines.quality.pulls import LEVEL

NAMED = 3
"""Networks that are told one by one; the others are counted."""
ONE_SEED = (
    "One seed cannot tell a network from its luck, so nothing is marked and no order is sure: give "
    "`--seeds 2` or more."
)


def sentences(seesaw: Seesaw, notes: Mapping[str, str], trials: str) -> list[str]:
    """Who is first, who rises, who pays, whether it was fair, and what the marks rest on; `notes`
    by network are of what was not, `trials` says how many settings each was tried with."""
    told = [ONE_SEED] if len(seesaw.seeds) == 1 else [_first(seesaw), *_marked(seesaw)]
    if notes:
        told.append(_unfair(list(notes)))
    return [*told, trials, _chance(seesaw)]


def _first(seesaw: Seesaw) -> str:
    first, everyone = seesaw.order.first, seesaw.networks
    if not seesaw.order.gains:
        return "No task counts in the mean gain, so the networks have no order."
    if len(first) == len(everyone):
        return "By mean gain, no network can be told from another."
    if len(first) == 1:
        [best] = first
        gain = seesaw.order.gains[best].value
        return f"{best} is first: its mean gain, {gain:+.2f} %, is clearly above all others."
    return (
        f"By mean gain any of {len(first)} networks may be the first: {_some(first)} cannot be "
        "told apart."
    )


def _marked(seesaw: Seesaw) -> list[str]:
    others = [network for network in seesaw.ranked() if network != seesaw.single]
    risen = {n: seesaw.rises(n) for n in others if seesaw.rises(n)}
    fallen = {n: seesaw.falls(n) for n in others if seesaw.falls(n)}
    if not risen and not fallen:
        return ["No task clearly rises or falls in any network against single-task."]
    return [_risers(risen), _payers(fallen, risen, len(others))]


def _risers(risen: Mapping[str, Sequence[str]]) -> str:
    if not risen:
        return "No task clearly rises in any network."
    named = [f"{listed(tasks)} in {network}" for network, tasks in list(risen.items())[:NAMED]]
    rest = len(risen) - len(named)
    more = f"; and some task in {rest} more" if rest else ""
    return f"Clearly above single-task: {'; '.join(named)}{more}."


def _payers(
    fallen: Mapping[str, Sequence[str]], risen: Mapping[str, Sequence[str]], networks: int
) -> str:
    if not fallen:
        return "No task clearly falls in any network."
    named = [_paid(n, fallen[n], risen.get(n, ())) for n in list(fallen)[:NAMED]]
    text = "; ".join(named)
    sentence = f"{text[0].upper()}{text[1:]}."
    if len(named) == len(fallen):
        return sentence
    often = Counter(task for tasks in fallen.values() for task in tasks).most_common(1)
    [(task, times)] = often
    return (
        f"{sentence} Some task falls in {len(fallen)} of {networks} networks, most often {task} "
        f"({times} times)."
    )


def _paid(network: str, fallen: Sequence[str], risen: Sequence[str]) -> str:
    if risen:
        return f"in {network}, {listed(fallen)} paid for {listed(risen)}"
    return f"in {network}, {listed(fallen)} fell and none rose"


def _unfair(names: Sequence[str]) -> str:
    verb, its = ("was", "its") if len(names) == 1 else ("were", "their")
    return (
        f"{_some(names)} {verb} judged before {its} learning rates had run down, which is no fair "
        "comparison: try fewer epochs (`--sweep`), or `train.early_stopping=null`."
    )


def _chance(seesaw: Seesaw) -> str:
    others = [n for n in seesaw.networks if n != seesaw.single]
    marks = sum(s.gain.mark != 0 for n in others for s in seesaw.standings[n].values())
    users = "other users alone" if len(seesaw.seeds) == 1 else "other users and other seeds"
    few = [task for task, rows in seesaw.positives.items() if rows < FEW]
    left_out = (
        f" Fewer than {FEW} positive rows, not in the mean gain: {listed(few)}." if few else ""
    )
    return (
        f"{marks} of {seesaw.comparisons} gains are marked. Intervals hold {users}, all "
        f"{seesaw.comparisons} at once with {LEVEL:.0%}; a gain under {seesaw.relevant:g} % of "
        f"single-task's value is not marked.{left_out}"
    )


def _some(names: Sequence[str]) -> str:
    if len(names) <= NAMED:
        return listed(names)
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
