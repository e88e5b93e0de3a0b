"""The questions every trained network is asked once, so that every measure can be computed later: the tensors of a record.

All runs of a data set answer the same questions. Evaluation is in float32 on unaugmented images. No metric is computed here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mixkd.data import Dataset, Images, normalise
from mixkd.draws import stream
from mixkd.models import Model
from mixkd.train import predict, whole_float32
from mixkd.vicinal import FEATURE_LAMS, LAM_GRID, probe_pairs

TWO_CLASS_PAIRS, ONE_CLASS_PAIRS = 100, 140
"""Pairs of test images in the probe."""
TRAIN_PAIRS = 40
"""Two-class pairs of training images, where the authors' script measures linearity."""
FEATURE_PAIRS = 40
FEATURE_ROWS = {"digits": 100, "gaussians": 100}
FEATURE_ROWS_DEFAULT = 300
NOISE_MAX = 8.0
"""Largest noise tried, in standard deviations of the normalised images."""


def evaluate(model: Model, data: Dataset) -> dict[str, Tensor]:
    """Return all answers a record keeps.

    Args:
        model: trained, in eval mode, on the device of the data.
        data: with splits "train_eval", "val", "test", and "skipped", "ood", "corrupted" where the data set has them.

    Returns:
        On the CPU: ``logits.SPLIT`` (N, K) float32 and ``labels.SPLIT`` (n,) int64 for each split ("train_eval" under the name "train"),
        where N is a multiple of n when each test image is seen under several views; ``probe.logits`` (L, P, K), ``probe.pairs`` (P, 2)
        indices into test, ``probe.labels`` (P, 2); ``train_probe.logits`` (3, Q, K), ``train_probe.pairs`` and ``train_probe.labels``
        (Q, 2) of training images at lam 0, 0.5, 1; ``features.test`` (M, d) and ``features.probe`` (3, F, d) at lam 0, 0.5, 1;
        ``noise.logits`` (O, K) and ``noise.sigma`` (1,), see :func:`matched_noise`, where such noise exists.
    """
    tensors: dict[str, Tensor] = {}
    for name, split in data.splits.items():
        if name == "train":
            continue
        recorded = "train" if name == "train_eval" else name
        tensors[f"logits.{recorded}"] = predict(model, data, split.images)
        tensors[f"labels.{recorded}"] = split.labels
    n = data.test_images  # the views repeat the same images, and so the labels, in blocks
    tensors["labels.test"] = tensors["labels.test"][:n]

    images, labels = data.splits["test"].images[:n], data.splits["test"].labels[:n]
    pairs = probe_pairs(labels.cpu(), TWO_CLASS_PAIRS, ONE_CLASS_PAIRS).to(labels.device)
    tensors["probe.pairs"], tensors["probe.labels"] = pairs, labels[pairs]
    tensors["probe.logits"] = torch.stack([_on_mix(model, data, images, pairs, lam) for lam in LAM_GRID])
    one_class = pairs[TWO_CLASS_PAIRS:]
    if (
        found := matched_noise(model, data, images[one_class[:, 0]], tensors["probe.logits"][LAM_GRID.index(0.5), TWO_CLASS_PAIRS:])
    ) is not None:
        tensors["noise.logits"], sigma = found
        tensors["noise.sigma"] = torch.tensor([sigma], dtype=torch.float64)
    own = data.splits["train_eval"]
    training = probe_pairs(own.labels.cpu(), TRAIN_PAIRS, 0).to(labels.device)
    tensors["train_probe.pairs"], tensors["train_probe.labels"] = training, own.labels[training]
    tensors["train_probe.logits"] = torch.stack([_on_mix(model, data, own.images, training, lam) for lam in FEATURE_LAMS])

    tensors["features.test"] = predict(model, data, images[: FEATURE_ROWS.get(data.name, FEATURE_ROWS_DEFAULT)], features=True)
    two_class = pairs[:FEATURE_PAIRS]
    tensors["features.probe"] = torch.stack([_on_mix(model, data, images, two_class, lam, features=True) for lam in FEATURE_LAMS])
    return {name: tensor.cpu() for name, tensor in tensors.items()}


@torch.inference_mode()
@whole_float32()
def _on_mix(model: Model, data: Dataset, images: Images, pairs: Tensor, lam: float, features: bool = False) -> Tensor:
    first, second = normalise(images[pairs[:, 0]], data), normalise(images[pairs[:, 1]], data)
    x = torch.lerp(second, first, lam)
    return (model.features(x) if features else model(x)).float()


@torch.inference_mode()
@whole_float32()
def matched_noise(model: Model, data: Dataset, images: Images, blended: Tensor) -> tuple[Tensor, float] | None:
    """Answers on images with as much Gaussian noise as makes the model exactly as uncertain as blends do: a control for "it is just hard".

    Args:
        model, data: as in :func:`evaluate`.
        images: (O, ...) raw test images.
        blended: (O, K) the model's logits on blends.

    Returns:
        (O, K) float32 logits and sigma, the smallest in units of normalised images at which the mean entropy equals that on blends; None
        where clean images have it already or no sigma up to ``NOISE_MAX`` reaches it.
    """
    x = normalise(images, data)
    noise = torch.randn(x.shape, generator=stream(0, "probe noise", 0)).to(x.device)
    target = float(_entropy(blended))

    def excess(sigma: float) -> float:
        return float(_entropy(model(x + sigma * noise).float())) - target

    return None if (sigma := first_crossing(excess)) is None else (model(x + sigma * noise).float(), sigma)


def first_crossing(excess: Callable[[float], float], most: float = NOISE_MAX) -> float | None:
    """Return the smallest sigma in (0, most] at which a function goes from below 0 to 0 or above; None where it does not."""
    low, below = 0.0, excess(0.0) < 0
    for step in range(1, 33):
        high = most * (step / 32) ** 2
        above = excess(high) >= 0
        if below and above:
            for _ in range(30):
                middle = (low + high) / 2
                low, high = (low, middle) if excess(middle) >= 0 else (middle, high)
            return high
        low, below = high, not above
    return None


def _entropy(logits: Tensor) -> Tensor:
    log_p = logits.double().log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1).mean()
