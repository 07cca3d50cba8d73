"""Files of past events, read a slice at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from features.errors import DataError, nearest
from serving.bundle import Bundle
