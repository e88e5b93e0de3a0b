"""What a trained network is asked, once, so that every measure can be computed later: the tensors of a record.

Evaluation is in float32 on raw, unaugmented images. No metric is computed here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mixkd.data import Dataset, Images, normalise
from mixkd.models import Model
from mixkd.spec import Extras
from mixkd.train import predict, whole_float32
from mixkd.vicinal import FEATURE_LAMS, LAM_GRID, probe_pairs

PROBE_PAIRS = 200
FEATURE_PAIRS = 100
FEATURE_ROWS = {"digits": 200, "gaussians": 200}
FEATURE_ROWS_DEFAULT = 500
SWEPT_ROWS = {"gaussians": 1000}
"""How many test points a run without all extras answers, where points cost nothing and records do; elsewhere all of them."""


def evaluate(model: Model, data: Dataset, extras: Extras = True) -> dict[str, Tensor]:
    """All answers a record keeps.

    Args:
        model: trained, in eval mode, on the device of the data.
        data: with splits "train", "val", "test", and "train_eval", "ood", "corrupted" where the data set has them.
        extras: False leaves only "test" and "val", "probe" these and the probe, without features.

    Returns:
        On the CPU: ``logits.SPLIT`` (N, K) float32 and ``labels.SPLIT`` (n,) int64 for each split but "train" (reported
        as its fixed subset "train_eval", under the name "train"), where N is a multiple of n when each image is seen
        under several noise draws; ``probe.logits`` (L, P, K), ``probe.pairs`` (P, 2) indices into test,
        ``probe.labels`` (P, 2); ``features.test`` (M, d) and ``features.probe`` (3, Q, d) at lam 0, .5, 1.
    """
    tensors: dict[str, Tensor] = {}
    for name, split in data.splits.items():
        if name == "train" or (extras is not True and name not in ("test", "val")):
            continue
        recorded = "train" if name == "train_eval" else name
        rows = SWEPT_ROWS.get(data.name) if name == "test" and extras is not True else None
        tensors[f"logits.{recorded}"] = predict(model, data, split.images[:rows])
        tensors[f"labels.{recorded}"] = split.labels[:rows]
    n = data.test_images  # noise draws repeat the same images, and so the labels, in blocks
    tensors["labels.test"] = tensors["labels.test"][:n]
    if not extras:
        return {name: tensor.cpu() for name, tensor in tensors.items()}

    test = data.splits["test"]
    images, labels = test.images[:n], test.labels[:n]
    pairs = probe_pairs(labels.cpu(), PROBE_PAIRS).to(labels.device)
    tensors["probe.pairs"], tensors["probe.labels"] = pairs, labels[pairs]
    tensors["probe.logits"] = torch.stack([_on_mix(model, data, images, pairs, lam) for lam in LAM_GRID])
    if extras == "probe":
        return {name: tensor.cpu() for name, tensor in tensors.items()}
    rows = FEATURE_ROWS.get(data.name, FEATURE_ROWS_DEFAULT)
    tensors["features.test"] = predict(model, data, images[:rows], features=True)
    half = pairs[:FEATURE_PAIRS]
    tensors["features.probe"] = torch.stack([_on_mix(model, data, images, half, lam, features=True) for lam in FEATURE_LAMS])
    return {name: tensor.cpu() for name, tensor in tensors.items()}


@torch.inference_mode()
@whole_float32()
def _on_mix(model: Model, data: Dataset, images: Images, pairs: Tensor, lam: float, features: bool = False) -> Tensor:
    first, second = normalise(images[pairs[:, 0]], data), normalise(images[pairs[:, 1]], data)
    x = torch.lerp(second, first, lam)
    return (model.features(x) if features else model(x)).float()
