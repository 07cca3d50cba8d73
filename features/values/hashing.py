"""A stable 64-bit hash of text: the same number in every version and on every machine.

Ids made with it are stored in models and splits, so neither Polars' own hash (stable within one
version only) nor Python's (random per process) would do. It is not meant to resist an adversary.
"""

import numpy as np
import polars as pl

_WORD = 8
_SEED = np.uint64(0x9E3779B97F4A7C15)
_KEEP = np.array([(1 << 8 * rest) - 1 for rest in range(_WORD + 1)], np.uint64)
"""Mask of a word of which so many bytes are left."""


def hash64(expr: pl.Expr, salt: str = "") -> pl.Expr:
    """UInt64 hash of a String expression; null stays null.

    Arithmetic is modulo 2^64. Text is its UTF-8 bytes, cut into words of 8 bytes, little-endian,
    the last one filled up with zeros; `length` is the number of bytes:

        h = mix(seed ^ length)          seed = 0x9E3779B97F4A7C15, or the unsalted hash of the salt
        h = mix(h ^ word)               for each word in turn

    with `mix` the finaliser of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable
    pseudorandom number generators", the `mix64variant13` constants of Stafford): every step is a
    bijection of h, so texts of one word and equal length never collide.
    """
    seed = np.uint64(hash_series(pl.Series([salt]))[0]) if salt else _SEED
    return expr.map_batches(
        lambda series: hash_series(series, seed), return_dtype=pl.UInt64, is_elementwise=True
    )


def bucket(expr: pl.Expr, buckets: int, salt: str = "") -> pl.Expr:
    """Int64 number of a String expression's bucket, 0 to buckets - 1: its hash modulo `buckets`.

    The share of a bucket differs from 1 / buckets by less than buckets / 2^64. Null stays null.
    """
    return (hash64(expr, salt) % pl.lit(buckets, dtype=pl.UInt64)).cast(pl.Int64)


def hash_series(series: pl.Series, seed: np.uint64 = _SEED) -> pl.Series:
    """`hash64` of a String series, all rows at once: one step for each word of the longest text."""
    array = series.cast(pl.String).cast(pl.Binary).rechunk().to_arrow()
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset :][: len(array) + 1]
    words = _words(bytes(array.buffers()[2] or b""))
    start, length = offsets[:-1], np.diff(offsets)
    state = _mix(length.astype(np.uint64) ^ seed)
    rows = np.flatnonzero(length > 0)
    offset = 0
    while len(rows):
        word = words[start[rows] + offset] & _KEEP[np.minimum(length[rows] - offset, _WORD)]
        state[rows] = _mix(state[rows] ^ word)
        offset += _WORD
        rows = rows[length[rows] > offset]
    result = pl.Series(series.name, state, dtype=pl.UInt64)
    return result.zip_with(series.is_not_null(), pl.Series([None], dtype=pl.UInt64))


def _words(data: bytes) -> np.ndarray:
    """The little-endian word that begins at each byte; the last ones run into zeros."""
    padded = data + bytes(_WORD)
    return np.ndarray(len(data) + 1, np.dtype("<u8"), padded, strides=(1,))


def _mix(h: np.ndarray) -> np.ndarray:
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))
