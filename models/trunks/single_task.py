"""T independent networks: nothing shared, not even embeddings."""

from typing import ClassVar, Literal

from models.trunks.base import TrunkConfig


class SingleTaskConfig(TrunkConfig):
    """One network per task, tables included."""

    source: ClassVar[str] = "the baseline of every multi-task paper; PLE (RecSys 2020), section 5"
    summary: ClassVar[str] = (
        "one network per task, nothing shared: the reference for multi-task gain"
    )

    architecture: Literal["single_task"] = "single_task"
    hidden: tuple[int, ...] = (256, 128)
    """Hidden units of each task's trunk."""

    def copies(self, tasks: int) -> int:
        return tasks
