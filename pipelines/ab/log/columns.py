"""Names of the columns that every row of a test has once its log is read."""

UNIT, ARM, TIME = "test.unit", "test.arm", "test.time"
INSTANCE, VERSION = "test.instance", "test.version"
"""Columns of every row: who (null where the log names nobody), where (null outside the test), when
(Int64 microseconds, null where the log has no time), which instance of the arm's model (null where
each arm has one), and of which version (null where the log does not say)."""
CLUSTER = "test.cluster"
"""What the unit belongs to, null where the log does not say; only where clusters are declared."""
KEPT, CONTENT = "test.kept", "test.content"
"""Whether the row meets `where`; a hash of all that the log says of it."""
PROPENSITY, ACTION, CONTEXT = "test.propensity", "test.action", "test.context"


def segment(name: str) -> str:
    """Column of the row's segment."""
    return f"test.segment.{name}"
