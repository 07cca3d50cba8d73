"""Rules for `share`: one vocabulary and embedding table for several features."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from features.errors import nearest
from features.kinds.base import FeatureKind

if TYPE_CHECKING:
    from features.spec import FeatureSpec


def sharing(
    feature: FeatureKind, name: str, owner: str | None, spec: "FeatureSpec"
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong with the vocabulary that `feature` wants to share."""
    if owner is None:
        return
    owners = [n for n, f in spec.features.items() if n != name and f.owns_vocabulary]
    if owner not in owners:
        yield (
            ("share",),
            f"expected a categorical or multi feature with a vocabulary of its own, got `{owner}`"
            + nearest(owner, owners),
        )
    for field in ("min_count", "hash_buckets"):
        if field in feature.model_fields_set:
            yield (field,), f"the vocabulary is that of `{owner}`; set it there"
