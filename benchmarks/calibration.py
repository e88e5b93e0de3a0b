"""The calibration engine against torch-uncertainty, torchmetrics, netcal, relplot and the two usual ways to bootstrap.

One thread, float32 logits, every contender starts from logits. What would take minutes is done in part and counted in part.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks import peers
from benchmarks.clock import alternate, ratios
from mixkd.measure import calibration, resampling

BINS = 15


@dataclass(frozen=True)
class Size:
    """Shapes of logits with their goals (report, sweep; must and stretch each), and how often."""

    shapes: tuple[tuple[int, int, tuple[float, float], tuple[float, float]], ...] = (
        (10_000, 100, (2, 2.5), (6, 12)),
        (50_000, 1000, (6, 8), (20, 60)),
    )
    temperatures: int = 100
    part: int = 20  # one in so many temperatures or resamples is done by contenders that take one at a time
    rounds: int = 5


QUICK = Size(shapes=((300, 5, (1, 1), (1, 1)),), temperatures=6, part=2, rounds=1)


def data(n: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of an overconfident classifier with an accuracy of about three in four."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(n, k, generator=draw) * 2
    labels = torch.randint(k, (n,), generator=draw)
    logits[torch.arange(n), labels] += 2 * (2 * np.log(k)) ** 0.5 + 1.5
    return logits, labels


def measure(size: Size) -> list[dict[str, Any]]:
    """One row for each comparison."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [row for shape in size.shapes for row in (*_report(size, *shape[:3]), *_sweep(size, shape[0], shape[1], shape[3]))]
        return rows + _bootstrap(size)
    finally:
        torch.set_num_threads(threads)


def _row(what: str, peer: str, rates: dict[str, list[float]], goal: tuple[float, float] | None) -> dict[str, Any]:
    seconds = {name: 1 / statistics.median(rates[name]) for name in ("ours", peer)}
    ratio = vars(ratios(rates["ours"], rates[peer]))
    return {"what": what, "peer": peer, "ours_s": seconds["ours"], "peer_s": seconds[peer], "ratio": ratio, "goal": goal}


def _report(size: Size, n: int, k: int, goal: tuple[float, float]) -> list[dict[str, Any]]:
    logits, labels = data(n, k)
    contenders: dict[str, Callable[[], float]] = {}

    def once(work: Callable[[], Any]) -> Callable[[], float]:
        def turn() -> float:
            work()
            return 1.0

        return turn

    contenders["ours"] = once(lambda: calibration.report(logits, labels, BINS))
    if peers.installed("torch_uncertainty"):
        from torch_uncertainty.metrics.classification import BrierScore, CalibrationError, CategoricalNLL

        def torch_uncertainty() -> None:
            p = logits.softmax(-1)
            metrics = (CalibrationError("multiclass", num_classes=k, num_bins=BINS), CategoricalNLL(), BrierScore(num_classes=k))
            for metric in metrics:
                metric.update(p, labels)
                metric.compute()

        contenders["torch-uncertainty: ECE, NLL, Brier"] = once(torch_uncertainty)
    if peers.installed("torchmetrics"):
        from torchmetrics.functional.classification import multiclass_calibration_error

        contenders["torchmetrics: ECE only"] = once(lambda: multiclass_calibration_error(logits.softmax(-1), labels, k, n_bins=BINS))
    if peers.installed("netcal.metrics"):
        from netcal.metrics import ECE

        contenders["netcal: ECE only"] = once(lambda: ECE(BINS).measure(logits.softmax(-1).numpy(), labels.numpy()))
    if peers.installed("relplot"):
        import relplot

        def smooth() -> None:
            confidence, predicted = logits.softmax(-1).max(-1)
            relplot.smECE(confidence.double().numpy(), (predicted == labels).double().numpy())

        contenders["relplot: smooth ECE only"] = once(smooth)
    rates = alternate(contenders, size.rounds)
    what = f"all figures of a report, {n:,} x {k:,} ({'float64' if n * k <= calibration._DOUBLE else 'float32'} exponentials)"
    return [_row(what, peer, rates, goal if peer.startswith("torch-unc") else None) for peer in contenders if peer != "ours"]


def _sweep(size: Size, n: int, k: int, goal: tuple[float, float]) -> list[dict[str, Any]]:
    if not peers.installed("torchmetrics"):
        return []
    from torchmetrics.functional.classification import multiclass_calibration_error

    logits, labels = data(n, k)
    temperatures = 1 / np.linspace(0.25, 2.5, size.temperatures)
    few = temperatures[:: size.part]

    def loop() -> float:
        for t in few:
            multiclass_calibration_error((logits / float(t)).softmax(-1), labels, k, n_bins=BINS)
        return len(few) / size.temperatures

    def ours() -> float:
        calibration.temperature_sweep(logits, labels, temperatures, BINS)
        return 1.0

    rates = alternate({"ours": ours, "torchmetrics, one at a time": loop}, size.rounds)
    return [_row(f"{size.temperatures} temperatures, {n:,} x {k:,}", "torchmetrics, one at a time", rates, goal)]


def _bootstrap(size: Size) -> list[dict[str, Any]]:
    n, k = size.shapes[0][:2]
    logits, labels = data(n, k)
    images = torch.arange(n)
    z, y, random = logits.numpy(), labels.numpy(), np.random.default_rng(0)
    few = resampling.DRAWS // size.part

    def ece(confidence: np.ndarray, hit: np.ndarray) -> float:
        edges = np.linspace(0, 1, BINS + 1)
        cell = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, BINS - 1)
        count = np.maximum(np.bincount(cell, minlength=BINS), 1)
        gap = np.bincount(cell, confidence, BINS) / count - np.bincount(cell, hit, BINS) / count
        return float((count / len(hit) * np.abs(gap)).sum())

    def figures(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        e = np.exp(rows - rows.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        return p.max(1), (p.argmax(1) == labels).astype(float)

    def naive() -> float:
        for _ in range(few):
            pick = random.integers(n, size=n)
            ece(*figures(z[pick], y[pick]))
        return few / resampling.DRAWS

    def confidences_only() -> float:
        confidence, hit = figures(z, y)
        for _ in range(few):
            pick = random.integers(n, size=n)
            ece(confidence[pick], hit[pick])
        return few / resampling.DRAWS

    def ours() -> float:
        resampling.resampled(logits, labels, images, 1.0)
        return 1.0

    rates = alternate({"ours": ours, "resampled logits": naive, "resampled confidences": confidences_only}, size.rounds)
    what = f"bootstrap of all binned errors, twice, {resampling.DRAWS:,} resamples, {n:,} x {k:,}"
    return [_row(what, "resampled logits", rates, None), _row(what, "resampled confidences", rates, None)]
