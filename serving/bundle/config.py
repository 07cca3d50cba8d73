"""Limits of the scorers."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fulcrum.features.config import Config
from fulcrum.features.values.duration import Duration, to_microseconds


class ServingConfig(Config):
    """Batch and online scoring."""

    batch_size: int | None = Field(None, ge=1)
    """Rows per call of the graph. None: 512 on a CPU, 4096 on CUDA."""
    tables: Literal["fp32", "fp16"] = "fp32"
    """Of the exported graph. fp16 halves the model; it is refused where it moves the metric that
    a task is judged by by more than half its interval."""
    max_rows: int = Field(1000, ge=1)
    """Rows that one HTTP request may carry."""
    max_body_bytes: int = Field(4 * 1024 * 1024, ge=1024)
    """Size of one HTTP request."""
    deadline: float | None = Field(None, gt=0)
    """Seconds within which an HTTP request is to be answered; one that would wait for longer, as
    requests take at present, is sent away with 503 at once. None: it may wait for five seconds."""
    batch_delay: float = Field(0, ge=0, le=1)
    """Seconds that an HTTP request which could be scored at once waits for others, to be scored
    with them. Those that have to wait anyway are scored together even so."""
    event_key: tuple[str, ...] = ()
    """Columns that make an event unique in the service's store; the time and all past columns when
    left out."""
    allowed_lateness: Duration | None = None
    """How far before the newest event a row that is scored over HTTP may be dated,
    `<number><s|m|h|d>`, for example `1d`: the service forgets the events that no such row looks
    back at, and refuses a row that would need one. None: it holds all events."""
    threads: int = Field(2, ge=1, le=1024)
    """Threads that one call of the graph may use."""

    @property
    def lateness(self) -> int | None:
        """`allowed_lateness` as microseconds."""
        return None if self.allowed_lateness is None else to_microseconds(self.allowed_lateness)

    @model_validator(mode="after")
    def _check_delay(self) -> Self:
        if self.deadline is not None and self.batch_delay >= self.deadline:
            raise ValueError("batch_delay: expected less than the deadline")
        return self
