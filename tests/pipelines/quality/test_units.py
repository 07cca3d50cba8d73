"""Who is counted as one."""

from dataclasses import fields, replace

import numpy as np
import pytest

from fulcrum.features.prepared.stage import NOBODY
from fulcrum.pipelines.quality.pulls import with_pulls
from fulcrum.pipelines.quality.units import units
from tests.pipelines.quality.arrays import Arrays
from tests.pipelines.quality.scored_rows import predictions


def test_rows_of_nobody_are_units_one_by_one_and_in_no_area():
    plain = predictions(groups=20)
    nobody = replace(plain, group=np.full(200, NOBODY))
    both = Arrays(
        plain.layout,
        *(
            np.concatenate([getattr(rows, field.name) for rows in (plain, nobody)])
            for field in fields(Arrays)[1:]
        ),
    )
    count, unit = units(both.group)
    assert count == 20 + 200
    assert (unit[:200] == units(plain.group)[1]).all()
    assert sorted(unit[200:]) == list(range(20, 220))
    area = with_pulls(plain)["click", "grouped_auc"][0]
    assert with_pulls(both)["click", "grouped_auc"][0] == pytest.approx(area, abs=1e-12)
    assert ("click", "grouped_auc") not in with_pulls(nobody)
