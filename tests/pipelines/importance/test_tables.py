"""The table of importance, as a pipe gets it."""

from fulcrum.pipelines.console.terminal import as_text
from fulcrum.pipelines.importance import tables
from fulcrum.pipelines.importance.permutation import Importance
from fulcrum.pipelines.quality.differences import Difference


def test_nine_tasks_fit_and_every_number_is_whole():
    tasks = {f"profile_entr{place}": "rmse" for place in range(9)}
    drops = {
        group: dict.fromkeys(tasks, Difference(value, value - 0.123, value + 0.456))
        for group, value in (("hour", 0.2), ("user_long_view, user_long_view_1d", 1.5))
    }
    found = Importance("test", 1000, tasks, dict.fromkeys(tasks, 43.656), drops)
    text = as_text(tables.importance(found))
    assert "…" not in text
    assert [text.count(number) for number in ("+1.500", "+1.377", "+1.956")] == [9, 9, 9]
    assert text.index("user_long_view and 1 more") < text.index("hour")
    assert "95% for all 18 numbers at once" in text
