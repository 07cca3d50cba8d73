import math

from hypothesis import given
from hypothesis import strategies as st

from fulcrum.pipelines.config.run import EarlyStoppingConfig
from fulcrum.pipelines.training.early_stopping import EarlyStopping

VALUES = st.lists(st.none() | st.just(math.nan) | st.floats(0, 1), max_size=20)


@given(VALUES, st.integers(1, 4), st.sampled_from(["auc", "auc/click", "log_loss", "rmse/watch"]))
def test_keeps_the_first_best_and_stops_after_patience(
    values: list[float | None], patience: int, metric: str
) -> None:
    stopping = EarlyStopping(EarlyStoppingConfig(metric=metric, patience=patience))
    seen: list[float] = []
    for step, value in enumerate(values, start=1):
        if stopping.over:
            break
        stopping.update(value, step)
        if value is not None:
            seen.append(value)
        numbers = [value for value in seen if not math.isnan(value)]
        best = (max if metric.startswith("auc") else min)(numbers, default=None)
        assert stopping.best == best
        assert stopping.best_step == (None if best is None else values.index(best) + 1)
        hits = 0 if best is None else seen.index(best) + 1
        assert stopping.over == (len(seen) - hits >= patience)


@given(VALUES)
def test_state_goes_on_where_it_was(values: list[float | None]) -> None:
    one = EarlyStopping(EarlyStoppingConfig(patience=3))
    for step, value in enumerate(values):
        other = EarlyStopping(EarlyStoppingConfig(patience=3))
        other.load_state_dict(one.state_dict())
        assert one.update(value, step) == other.update(value, step)
        assert one == other


def test_without_a_config_nothing_stops() -> None:
    stopping = EarlyStopping(None)
    assert not any(stopping.update(0.5, step) for step in range(5))
    assert not stopping.over
    assert stopping.best_step is None
