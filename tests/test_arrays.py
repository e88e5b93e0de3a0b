"""One door: the same arrays in any container, layout, byte order and width give the same numbers; the same mistakes the same errors."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from mixkd import arrays, vicinal
from mixkd.measure import calibration, fidelity, geometry, linearity, resampling, selective, signal, statistics

RNG = np.random.default_rng(0)
LAM = np.array([0, 0.25, 0.5, 1.0])
LOGITS, LABELS = RNG.integers(-8, 9, size=(40, 5)) / 4, np.arange(40) % 5  # exact in bfloat16
PROBE, PAIRS = RNG.integers(-8, 9, size=(4, 12, 5)) / 4, np.stack([np.arange(12) % 5, np.arange(12) // 3], 1)
SCORES, HITS = RNG.integers(-8, 9, size=40) / 4, np.arange(40) % 3 > 0

MEASURES = {
    "report": (calibration.report, LOGITS, LABELS),
    "reliability": (calibration.reliability, LOGITS, LABELS),
    "temperature_sweep": (calibration.temperature_sweep, LOGITS, LABELS, np.array([0.5, 1, 2])),
    "fit_temperature": (calibration.fit_temperature, LOGITS, LABELS),
    "confidences": (calibration.confidences, LOGITS),
    "noise_floor": (calibration.noise_floor, LOGITS),
    "from_bins": (calibration.Reliability.from_bins, np.array([2, 3]), np.array([0.25, 0.75]), np.array([0.5, 1])),
    "agreement": (fidelity.agreement, LOGITS, LOGITS * 2),
    "copied_errors": (fidelity.copied_errors, LOGITS, LOGITS[:, ::-1].copy(), LABELS),
    "linear_cka": (geometry.linear_cka, LOGITS, LOGITS**2),
    "nc1": (geometry.nc1, LOGITS, LABELS),
    "class_mean_rsa": (geometry.class_mean_rsa, LOGITS, LOGITS**2, LABELS),
    "effective_rank": (geometry.effective_rank, LOGITS),
    "decompose": (signal.decompose, PROBE, LAM, PAIRS),
    "tails": (signal.tails, PROBE, LAM, PAIRS),
    "one_class": (signal.one_class, PROBE, LAM, PAIRS),
    "probability_linearity": (linearity.probability_linearity, PROBE, LAM, PAIRS),
    "logit_linearity": (linearity.logit_linearity, PROBE, LAM, PAIRS),
    "answers": (linearity.answers, PROBE, LAM, PAIRS),
    "feature_linearity": (linearity.feature_linearity, PROBE, LAM),
    "resampled": (lambda z, y: resampling.resampled(z, y, np.arange(40), 2.0), LOGITS, LABELS),
    "score": (selective.score, LOGITS),
    "selective": (selective.selective, LOGITS, LABELS),
    "aurc": (selective.aurc, SCORES, HITS),
    "detection": (selective.detection, SCORES, SCORES - 1),
    "nonlinearity": (vicinal.nonlinearity, *(2.0 ** -np.abs(np.rint(PROBE[:3]))), np.array(0.25)),
    "t_interval": (statistics.t_interval, SCORES),
    "crossed": (statistics.crossed, LOGITS[:, 0], LOGITS),
    "over_images": (lambda drawn: statistics.over_images(0.5, drawn), SCORES),
    "holm": (statistics.holm, np.array([0.25, 0.5, 0.125])),
}


def of_float(change):
    return lambda a: change(a) if a.dtype.kind == "f" else a


def of_integer(change):
    return lambda a: change(a) if a.dtype.kind == "i" else a


def frozen(a):
    a = a.copy()
    a.flags.writeable = False
    return a


WAYS = {
    "tensors": torch.from_numpy,
    "reversed in memory": lambda a: np.flip(np.flip(a).copy()),
    "one of two rows": lambda a: np.repeat(a, 2, axis=0)[::2] if a.ndim else a,
    "column order": np.asfortranarray,
    "read-only": frozen,
    "packed in structures": lambda a: np.rec.fromarrays([a, np.zeros(a.shape, np.int8)])["f0"],
    "the other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "lists": lambda a: a.tolist(),
    "pandas": lambda a: {1: pd.Series, 2: pd.DataFrame}.get(a.ndim, lambda b: b)(a),
    "float32": of_float(lambda a: a.astype(np.float32)),
    "float16": of_float(lambda a: a.astype(np.float16)),
    "long double": of_float(lambda a: a.astype(np.longdouble)),
    "bfloat16 with gradients": of_float(lambda a: torch.from_numpy(a).bfloat16().requires_grad_()),
    "int8": of_integer(lambda a: a.astype(np.int8)),
    "uint16": of_integer(lambda a: a.astype(np.uint16)),
    "uint16 tensor": of_integer(lambda a: torch.from_numpy(a.astype(np.uint16))),
    "uint64 reversed": of_integer(lambda a: np.flip(np.flip(a).astype(np.uint64))),
}


def numbers(found):
    if isinstance(found, dict):
        return [number for key in sorted(found) for number in numbers(found[key])]
    if hasattr(found, "__dataclass_fields__"):
        return [number for name in found.__dataclass_fields__ for number in numbers(getattr(found, name))]
    if isinstance(found, tuple):
        return [number for part in found for number in numbers(part)]
    if isinstance(found, torch.Tensor):
        found = found.detach().numpy()
    return np.asarray(found, dtype=np.float64).ravel().tolist()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MEASURES)
def test_the_same_numbers_from_any_array(name, way):
    measure, *given = MEASURES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = numbers(measure(*map(WAYS[way], given)))
    # a sum may run in another order
    assert found == pytest.approx(numbers(measure(*given)), rel=1e-12, abs=1e-12, nan_ok=True)


def test_logits_in_memory_are_shared_and_labels_copied(tmp_path):
    np.save(tmp_path / "logits.npy", LOGITS)
    for given in (LOGITS, torch.from_numpy(LOGITS), np.load(tmp_path / "logits.npy", mmap_mode="r"), LOGITS[::2]):
        base = given.numpy() if isinstance(given, torch.Tensor) else given
        assert np.shares_memory(arrays.as_floats(given, "logits", 2), base)
    assert not np.shares_memory(arrays.as_labels(LABELS, (40,), 5), LABELS)


BY_LABELS = [name for name, (_, *given) in MEASURES.items() if any(a is LABELS or a is PAIRS for a in given) and given[0].ndim > 1]
WRONG = {
    "integer logits": (0, lambda a: a.astype(int), TypeError, "must be floating point, not int64"),
    "boolean logits": (0, lambda a: a > 0, TypeError, "must be floating point, not bool"),
    "too few dimensions": (0, lambda a: a[0, ..., 0], ValueError, "dimensions, none of them empty, not shape"),
    "no rows": (0, lambda a: a[:0], ValueError, "none of them empty"),
    "nan": (0, lambda a: np.where(np.arange(a.size).reshape(a.shape) == 7, np.nan, a), ValueError, r"must be finite; \w+\[.*\] is nan"),
    "inf": (0, lambda a: np.where(np.arange(a.size).reshape(a.shape) == 7, np.inf, a), ValueError, r"must be finite; \w+\[.*\] is inf"),
    "float labels": (-1, lambda a: a * 1.0, TypeError, "labels must be integers, not float64"),
    "boolean labels": (-1, lambda a: a > 0, TypeError, "labels must be integers, not bool"),
    "too few labels": (-1, lambda a: a[1:], ValueError, r"labels must have shape \("),
    "negative label": (-1, lambda a: a - 1, ValueError, r"labels must lie in 0\.\.\d+; found -1"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("name", BY_LABELS)
def test_the_same_errors_everywhere(name, case):
    measure, *given = MEASURES[name]
    place, spoil, error, words = WRONG[case]
    at = place if place == 0 else next(i for i, a in enumerate(given) if a is LABELS or a is PAIRS)
    given[at] = spoil(given[at])
    with pytest.raises(error, match=words):
        measure(*given)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "15", float("nan"), float("inf")])
def test_no_whole_numbers(value):
    for whole in (15, 15.0, np.int8(15), np.float32(15), torch.tensor(15)):
        assert arrays.as_count(whole, "n_bins") == 15
    with pytest.raises(ValueError, match="n_bins must be a whole number >= 1"):
        calibration.report(LOGITS, LABELS, n_bins=value)
