"""The study of tails: a few tests of each kind."""

from benchmarks.ab_tails import LAWS, SIZES, WAYS, claims, to_rich
from fulcrum.pipelines.console.terminal import as_text


def test_a_small_study_has_every_way():
    found = [claims(law, SIZES[-1], tests=3, draws=20) for law in LAWS]
    assert all(set(one.worse) == set(one.better) == set(WAYS) for one in found)
    text = as_text(to_rich(found))
    assert all(name in text for name in (*LAWS, *WAYS))
