"""Features that tell the same, as groups of inputs of the network."""

from fulcrum.features.transform.state import FeatureState

Groups = dict[str, tuple[str, ...]]
"""By the names of the features, `length, length_bucket`: the names of their inputs."""


def feature_groups(state: FeatureState) -> Groups:
    """A feature with all of its inputs: a history with its attributes and ages, a number with the
    flag of its nulls. Features that read the same columns are one group, for either would tell
    what was taken from the other: a length and its buckets, a rate over a day and over all time."""
    spec = state.spec
    alike: dict[frozenset[tuple[str, bool, bool]], list[str]] = {}
    for name, feature in spec.features.items():
        reads = feature.reads(name, spec.features)
        read = frozenset((read.column, read.row, read.past) for read in reads)
        alike.setdefault(read, []).append(name)
    encoders = spec.encoders
    return {
        ", ".join(names): tuple(
            source.name
            for name in names
            for source in encoders[name].inputs(name, state.learned[name], encoders)
        )
        for names in alike.values()
    }


def short(group: str) -> str:
    """`user_click and 2 more` of the names of a group."""
    first, *others = group.split(", ")
    return f"{first} and {len(others)} more" if others else first
