"""Softmax of many rows of logits, a chunk at a time, so that logits are never copied whole.

In each row the largest logit is subtracted first, and its exponential, exactly 1, is left out of the sums, which so keep their relative
precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from mixkd.arrays import Array, check_finite

CHUNK = 1 << 17  # float64 logits per chunk, twice as many float32: two buffers stay in a core's second-level cache


def shifted(z: Array, dtype: torch.dtype, per_row: int | None = None) -> Iterator[tuple[slice, Array, Array]]:
    """Yield chunks of rows: slice, logits minus their row's largest (R, K) in one reused buffer, prediction (R,).

    Args:
        z: (N, K) float, as :func:`mixkd.arrays.as_floats` returns it.
        dtype: torch.float64 or torch.float32, of the buffer.
        per_row: values a caller keeps for each row, to size chunks by; default K.

    Raises:
        ValueError: for logits that are not finite, naming the first.
    """
    n, k = z.shape
    step = max(1, CHUNK * (8 // dtype.itemsize) // (per_row or k))
    buffer = torch.empty((min(step, n), k), dtype=dtype)
    own = buffer.numpy().dtype
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        part = _contiguous(z, rows)
        x = buffer[: len(part)]
        top = part.argmax(1)
        largest = torch.from_numpy(part.take(np.arange(len(part)) * k + top))[:, None]
        if part.dtype == own and part.flags.writeable:  # a read-only array cannot be lent to torch
            torch.sub(torch.from_numpy(part), largest, out=x)
        elif part.dtype == np.float64:
            with np.errstate(over="ignore", invalid="ignore"):
                np.subtract(part, largest.numpy(), out=x.numpy(), casting="same_kind")
        else:
            np.copyto(x.numpy(), part)
            x -= largest
        if not (part.min() > -1e37 and largest.max() < 1e37):  # also where nan; 1e37: differences still fit float32
            check_finite(part, "logits", start)
            np.maximum(x.numpy(), np.finfo(own).min / (2 * k), out=x.numpy())
        yield rows, x.numpy(), top


def exponentials(z: Array, beta: float, dtype: torch.dtype) -> Iterator[tuple[slice, Array, Array, Array]]:
    """Yield as :func:`shifted` does, with exp(beta x) as third item, in a second reused buffer."""
    out: torch.Tensor | None = None
    for rows, x, top in shifted(z, dtype):
        lent = torch.from_numpy(x)
        out = torch.empty_like(lent) if out is None else out
        e = out[: len(x)]
        if beta == 1:
            torch.exp(lent, out=e)
        else:
            torch.mul(lent, beta, out=e).exp_()
        yield rows, x, e.numpy(), top


def top_confidence(z: Array, beta: float) -> tuple[Array, Array]:
    """Return confidence (N,) float64 and predicted class (N,) int64 at beta z, in double precision."""
    conf, predicted = np.empty(len(z)), np.empty(len(z), np.int64)
    for rows, x, e, top in exponentials(z, beta, torch.float64):
        e[np.arange(len(x)), top] = 0
        conf[rows], predicted[rows] = 1 / (1 + e @ np.ones(x.shape[1])), top
    return conf, predicted


def exact_confidence(z: Array, rows: Array, beta: Array) -> Array:
    """Return the confidence of the given rows, each at its own beta, in double precision."""
    conf = np.empty(rows.size)
    step = max(1, CHUNK // z.shape[1])
    for start in range(0, rows.size, step):
        part = _contiguous(z, rows[start : start + step]).astype(np.float64)
        top = part.argmax(1)[:, None]
        part -= np.take_along_axis(part, top, 1)
        part *= beta[start : start + step, None]
        np.exp(part, out=part)
        np.put_along_axis(part, top, 0, 1)
        conf[start : start + step] = 1 / (1 + part @ np.ones(z.shape[1]))
    return conf


def dot(a: Array, b: Array) -> Array:
    """Return the products of (n, k) and (n, k) row by row; what NumPy 2 calls vecdot."""
    product: Array = np.einsum("nk,nk->n", a, b)
    return product


def _contiguous(z: Array, rows: Any) -> Array:
    """Return some rows as a contiguous float32 or float64 array; no copy where none is needed."""
    return np.ascontiguousarray(z[rows], np.float32 if z.itemsize <= 4 else np.float64)
