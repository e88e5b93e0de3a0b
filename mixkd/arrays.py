"""Read what a caller passes to a measure or a statistic: one rule for arrays, counts, temperatures and levels.

Arrays come from torch, NumPy, pandas or lists: any strides (reversed ones too), byte order and width, read-only, on any device, with or
without gradients. Every check raises TypeError for a wrong kind and ValueError for a wrong shape or value; the message says what was given
and what is allowed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Values = torch.Tensor | ArrayLike

_NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)


def check_dense(values: object) -> None:
    """Raise ValueError for a sparse tensor, or one of another layout, which no measure here can read."""
    if isinstance(values, torch.Tensor) and values.layout != torch.strided:
        raise ValueError(f"a tensor of layout {values.layout} was given where a dense one is needed; give .to_dense() of it")


def as_array(values: Values) -> Array:
    """Return values as a NumPy array in native byte order, with strides that torch can borrow.

    It shares memory where it can. A copy is made of what lies on a GPU, of bfloat16 (as float32), of long doubles (as float64), of foreign
    byte order and of negative strides.
    """
    check_dense(values)
    if isinstance(values, torch.Tensor):
        tensor = values.detach().cpu()
        odd = tensor.is_floating_point() and tensor.dtype not in _NUMPY_FLOATS
        array = (tensor.float() if odd else tensor).numpy()
    else:
        array = np.asarray(values)
    wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
    array = array.astype(np.float64 if wide else array.dtype.newbyteorder("="), copy=False)
    plain = all(stride >= 0 and stride % array.itemsize == 0 for stride in array.strides)
    return array if plain else array.copy()


def as_floats(values: Values, name: str, ndim: int, classes: int = 1) -> Array:
    """Return floating point values in their own dtype; :func:`check_finite` is left to the caller.

    Args:
        values: no integers, which hint at labels or images.
        name: for messages.
        ndim: number of dimensions, none of them empty.
        classes: least length of the last dimension.
    """
    array = as_array(values)
    if array.dtype.kind != "f":
        raise TypeError(f"{name} must be floating point, not {array.dtype}")
    if array.ndim != ndim or 0 in array.shape:
        raise ValueError(f"{name} must have {_dimensions(ndim)}, none of them empty, not shape {array.shape}")
    if array.shape[-1] < classes:
        raise ValueError(f"{name} must have at least {classes} classes in its last dimension, not shape {array.shape}")
    return array


def check_finite(array: Array, name: str, start: int = 0) -> None:
    """Raise ValueError naming the first value that is not finite; ``start`` is added to its row."""
    finite = np.isfinite(array)
    if not finite.all():
        at = np.argwhere(~finite)[0]
        where = [int(at[0]) + start, *map(int, at[1:])]
        raise ValueError(f"{name} must be finite; {name}{where} is {array[tuple(at)]}")


def as_tensor(values: Values, name: str, ndim: int, classes: int = 1) -> torch.Tensor:
    """Return a float64 copy on the CPU of finite floating point values; see :func:`as_floats`."""
    array = as_floats(values, name, ndim, classes)
    check_finite(array, name)
    return torch.from_numpy(array.astype(np.float64))


def as_logits(values: Values, name: str = "logits", ndim: int = 2) -> torch.Tensor:
    """Return logits as :func:`as_tensor` does, at least 2 classes last."""
    return as_tensor(values, name, ndim, 2)


def as_labels(values: Values, shape: tuple[int, ...], classes: int | None = None, name: str = "labels") -> Array:
    """Return an int64 copy of integers of any width.

    Args:
        values: integers, not booleans.
        shape: the only one allowed.
        classes: K; values must lie in 0 .. K - 1. None allows all that are not negative.
        name: for messages.
    """
    array = as_array(values)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, not {array.dtype}")
    if array.shape != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}, not {array.shape}")
    top = np.iinfo(np.int64).max if classes is None else classes - 1
    if array.size and not 0 <= int(array.min()) <= int(array.max()) <= top:
        wrong = int(array.min()) if array.min() < 0 else int(array.max())
        raise ValueError(f"{name} must lie in 0..{top}; found {wrong}")
    return array.astype(np.int64)


def as_hits(values: Values, n: int, name: str = "correct") -> Array:
    """Return (n,) booleans."""
    array = as_array(values)
    if array.dtype != np.bool_:
        raise TypeError(f"{name} must be boolean, not {array.dtype}")
    if array.shape != (n,):
        raise ValueError(f"{name} must have shape {(n,)}, not {array.shape}")
    return array


def as_numbers(values: Values, name: str, ndim: int = 1) -> Array:
    """Return real numbers as float64, nan allowed; integers and booleans count as numbers, None as nan."""
    array = as_array(values)
    if array.dtype.kind not in "biufO":
        raise TypeError(f"{name} must be real numbers, not {array.dtype}")
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {_dimensions(ndim)}, not shape {array.shape}")
    return array.astype(np.float64, copy=False)


def as_count(value: Any, name: str) -> int:
    """Return a whole number >= 1; 15.0 is 15."""
    if isinstance(value, (bool, str)) or not float(value).is_integer() or value < 1:
        raise ValueError(f"{name} must be a whole number >= 1, not {value!r}")
    return int(value)


def as_temperature(value: Any, name: str = "temperature") -> float:
    """Return a positive number whose inverse is finite."""
    t = float(value)
    if not (0 < t < math.inf and math.isfinite(1 / t)):
        raise ValueError(f"{name} must be positive and finite, not {value}")
    return t


def as_level(value: float) -> float:
    """Return the level of an interval or a quantile, between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"level must lie between 0 and 1, not {value}")
    return float(value)


def _dimensions(ndim: int) -> str:
    return "1 dimension" if ndim == 1 else f"{ndim} dimensions"
