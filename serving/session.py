"""ONNX Runtime. No other file imports it."""

from typing import Literal

Device = Literal["auto", "cpu", "cuda"]
