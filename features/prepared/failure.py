"""What stopped a preparation, as the user can put it right."""

from polars.exceptions import PolarsError

from fulcrum.features.declared.split import INDEX
from fulcrum.features.errors import DataError
from fulcrum.features.prepared.inputs import Inputs
from fulcrum.features.raw.complete import prune
from fulcrum.features.raw.misfit import misfit, row_of
from fulcrum.features.raw.pivot import pivot
from fulcrum.features.spec import FeatureSpec, places
from fulcrum.features.staging import is_full


def explain(error: PolarsError, inputs: Inputs, spec: FeatureSpec) -> Exception:
    """What stopped the preparation: a damaged file is told by its name, a value that an expression
    does not take by its row."""
    damage = next(filter(None, (source.damage() for source in inputs.sources)), None)
    if damage is None and is_full(error):
        return error
    if damage is None:
        events = inputs.log
        if spec.data.pivot is not None:
            events = pivot(events, spec.data).rows
        lineage, wanted = inputs.lineage(events, spec.data), list(places(spec))
        needs = lineage.needs([name for _, name in wanted])
        tables = {n: prune(n, inputs.tables[n].frame, needs, lineage) for n in needs.tables}
        for source in inputs.events.values():
            rows = source.frame.with_row_index(INDEX)
            if spec.data.pivot is not None:
                rows = pivot(rows, spec.data).rows
            if fault := misfit(rows, wanted, lineage, tables):
                place = rows.select(INDEX).slice(fault[1], 1).collect().item()
                return DataError(f"{fault[0]} ({row_of(source.parts, place)})")
    return DataError(damage or f"data: {str(error).strip().splitlines()[0]}")
