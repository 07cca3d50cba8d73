"""What was shown: all that a model of P(arm | row) may look at.

A feature that tells who the user is, or what the user did before, tells the arm whatever was shown,
because a user's arm never changes; one that tells what came of it makes weights depend on outcomes.
"""

from collections.abc import Iterator, Mapping, Sequence

from fulcrum.features.declared.arms import ArmsConfig
from fulcrum.features.declared.data import DataConfig
from fulcrum.features.declared.split import OrderSplit
from fulcrum.features.kinds import FeatureConfig
from fulcrum.features.spec import FeatureSpec, Problem, made_of, mentions
from fulcrum.features.spec import problems as problems_of
from fulcrum.pipelines.designs.identifying_features import arm_leak


def spec(
    data: DataConfig, features: Mapping[str, FeatureConfig], arm: str, unit: str | None
) -> FeatureSpec:
    """Features of rows that all lie in one split, with arm and unit beside them; without a unit the
    arm stands for it."""
    arms = ArmsConfig(column=arm, unit=unit or arm)
    split = OrderSplit(valid=0, test=0)
    data = data.model_copy(update={"arms": arms, "split": split})
    return FeatureSpec(data=data, features=features, tasks={})


def problems(declared: FeatureSpec, outcomes: Sequence[str]) -> Iterator[Problem]:
    """What is wrong with the features, by itself or because it is no part of what was shown."""
    yield from (problem for problem in problems_of(declared) if problem.path[0] == "features")
    for name in declared.features:
        for message in filter(
            None, [arm_leak(name, declared), *_outcomes(name, declared, outcomes)]
        ):
            yield Problem(("features", name), message)


def _outcomes(name: str, declared: FeatureSpec, outcomes: Sequence[str]) -> Iterator[str]:
    behind = made_of(outcomes, declared.data)
    for read in declared.features[name].reads(name, declared.features):
        for source in mentions(read.text) if read.is_sql else (read.text,):
            if read.row and source in behind:
                yield (
                    f"reads the outcome `{behind[source]}`; expected what was known when the row "
                    "was shown"
                )
