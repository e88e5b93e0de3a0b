"""Claims (e), (f) and (g) computed again from the tensors on disk with NumPy and SciPy alone: estimates and bounds agree to 1e-6.

Of this project only the plan (which run is in which cell) and the simulated noise floor are used."""

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from made import DEFAULT, OTHER, teacher
from safetensors.numpy import load_file
from scipy import optimize, stats
from test_accuracy_and_overconfidence import of
from test_propagation import fill
from test_trade_off import swept

from mixkd.claims import evaluate, judge
from mixkd.claims.evidence import Evidence, overconfidence_floor
from mixkd.records import FORMAT
from mixkd.spec import RunSpec
from mixkd.store import RecordStore, committed_path
from mixkd.studies import CALIBRATIONS, TEACHER_SPREAD, Cell, cell_spec, load_profile, study

CLOSE = 1e-6


@cache
def tensors(folder: Path):
    return load_file(folder / "tensors.safetensors")


def read(folder: Path, split: str):
    """Logits float64, labels, and which image each row shows."""
    found = tensors(folder)
    logits = found[f"logits.{split}"].astype(np.float64)
    labels = found[f"labels.{split}"].astype(np.int64)
    views = len(found["logits.test"]) // len(found["labels.test"])  # of every test and validation image, one block each
    return logits, np.tile(labels, len(logits) // len(labels)), np.tile(np.arange(len(logits) // views), views)


def log_softmax(z):
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


@cache
def temperature(folder: Path) -> float:
    z, y, _ = read(folder, "val")

    def nll(log_t: float) -> float:
        return -log_softmax(z / math.exp(log_t))[np.arange(len(y)), y].mean()

    def slope(log_t: float) -> float:
        scaled = z / math.exp(log_t)
        p = np.exp(log_softmax(scaled))
        return float((scaled[np.arange(len(y)), y] - (p * scaled).sum(1)).mean())  # d nll / d log t

    rough = optimize.minimize_scalar(nll, bounds=(math.log(1e-2), math.log(1e2)), method="bounded", options={"xatol": 1e-3}).x
    return math.exp(optimize.brentq(slope, rough - 0.1, rough + 0.1, xtol=1e-13))


def draws(n: int):
    counts = np.random.default_rng(n).multinomial(n, np.full(n, 1 / n), size=200)
    return np.concatenate([np.ones((1, n)), counts])


@cache
def figures(folder: Path, scaled: bool = False):
    """Accuracy, NLL, ECE, OE, under part, gap, on the rows as they are and on 200 draws of images, row counts and all."""
    z, y, image = read(folder, "test")
    log_p = log_softmax(z / (temperature(folder) if scaled else 1.0))
    confidence, hit = np.exp(log_p.max(1)), (z.argmax(1) == y).astype(float)
    bins = np.clip(np.ceil(confidence * 15 - 1e-9).astype(int) - 1, 0, 14)
    found = {name: [] for name in ("accuracy", "nll", "ece", "oe", "under", "gap")}
    for counts in draws(int(image.max()) + 1):
        weight = counts[image]
        n, c, h = (np.bincount(bins, weight * value, 15) for value in (1.0, confidence, hit))
        full = n > 0
        share, conf, acc = n[full] / weight.sum(), c[full] / n[full], h[full] / n[full]
        found["accuracy"].append((weight * hit).sum() / weight.sum())
        found["nll"].append(-(weight * log_p[np.arange(len(y)), y]).sum() / weight.sum())
        found["ece"].append((share * np.abs(conf - acc)).sum())
        found["oe"].append((share * conf * np.maximum(conf - acc, 0)).sum())
        found["under"].append((share * np.maximum(acc - conf, 0)).sum())
        found["gap"].append((share * (conf - acc)).sum())
    return {name: np.array(values) for name, values in found.items()}


def log_temperatures(folder: Path):
    """log T* as it is, and moved by one Newton step for each draw of validation images."""
    z, y, image = read(folder, "val")
    t = temperature(folder)
    z = z / t
    p = np.exp(log_softmax(z))
    mean = (p * z).sum(1)
    pull, bend = mean - z[np.arange(len(y)), y], ((p * z**2).sum(1) - mean**2).mean()
    return np.array([math.log(t) + (c[image] * pull).sum() / c[image].sum() / bend for c in draws(int(image.max()) + 1)])


def interval(rows):
    """Mean over seeds with the interval over seeds and images."""
    table = np.stack(rows)
    v, r = table[:, 0], table[:, 1:].mean(0)
    seeds, images = v.var(ddof=1) / len(v), r.var(ddof=1)
    half = stats.t.ppf(0.975, len(v) - 1) * math.sqrt(seeds)
    if seeds + images > 0:
        df = (seeds + images) ** 2 / (seeds**2 / (len(v) - 1) + images**2 / (len(r) - 1))
        half = max(half, stats.t.ppf(0.975, df) * math.sqrt(seeds + images))
    return v.mean(), v.mean() - half, v.mean() + half


def agrees(row, rows):
    assert row.seeds == len(rows)
    assert (row.estimate, row.low, row.high) == pytest.approx(interval(rows), abs=CLOSE)


class Again:
    """The same claims from a store's folders."""

    def __init__(self, evidence: Evidence):
        self.evidence, self.profile = evidence, evidence.profile

    def folder(self, spec: RunSpec) -> Path:
        return self.evidence.store.path / spec.id

    def students(self, cell: Cell, arm: str):
        specs = {
            seed: cell_spec(self.profile, arm, seed, cell) if arm.startswith("kd") else self.profile.spec(arm, seed)
            for seed in self.profile.core_seeds
        }
        return {seed: self.folder(spec) for seed, spec in specs.items() if (self.folder(spec) / "record.json").is_file()}

    def overconfidence(self, cell: Cell):
        verdict = judge("e", self.evidence, cell)
        ours, base = self.students(cell, "kd_mixup"), self.students(cell, "ce")
        floor = overconfidence_floor(self.evidence.students(cell, "kd_mixup").values())[0]
        rows = {"ratio": [], "under": [], "nll": []}
        for seed in sorted(set(ours) & set(base)):
            own, plain = figures(ours[seed]), figures(base[seed])
            rows["ratio"].append(np.log10(np.maximum(plain["oe"], floor) / np.maximum(own["oe"], floor)))
            rows["under"].append(plain["ece"] / 4 - own["under"])
            rows["nll"].append(plain["nll"] - own["nll"])
        for row, found in zip(verdict.stated, rows.values(), strict=True):
            agrees(row, found)

    def trade_off(self, cell: Cell):
        verdict = judge("g", self.evidence, cell)
        # the planned column: every numeric tau of this teacher and calibration
        from mixkd.studies import cells

        there = [c for c in cells(self.profile) if (c.teacher, c.calibration) == (cell.teacher, cell.calibration) and c.tau != "std"]
        column = [self.students(c, "kd_mixup") for c in sorted(there, key=lambda c: c.tau)]
        seeds = sorted(set.intersection(*map(set, column)))
        for parts, scaled, badness in ((verdict.stated, False, "ece"), (verdict.rivals, True, "nll")):
            curve = {s: {"accuracy": np.stack([figures(f[s])["accuracy"] for f in column])} for s in seeds}
            for s in seeds:
                curve[s][badness] = np.stack([figures(f[s], scaled)[badness] for f in column])
            gains, costs = [], []
            for s in seeds:
                others = [curve[o] for o in seeds if o != s]
                best = int(np.mean([o["accuracy"][:, 0] for o in others], axis=0).argmax())
                calm = int(np.mean([o[badness][:, 0] for o in others], axis=0).argmin())
                gains.append(curve[s]["accuracy"][best] - curve[s]["accuracy"][calm])
                costs.append(curve[s][badness][best] - curve[s][badness][calm])
            agrees(parts[0], gains)
            agrees(parts[1], costs)

    def propagation(self):
        verdict = judge("f", self.evidence)
        default = self.profile.default_teacher
        tempered = {name: self.students(Cell(default, name, 2.0), "kd_mixup") for name in CALIBRATIONS}
        shares, factor = [], {"fitted": 1.0, "half": 0.5, "double": 2.0}
        for seed in sorted(set.intersection(*map(set, tempered.values()))):
            teacher = self.folder(self.profile.spec("kd_mixup", seed).teacher_run())
            x = np.array([math.log(temperature(teacher) * factor[n]) if n in factor else 0.0 for n in tempered])
            y = np.stack([log_temperatures(found[seed]) for found in tempered.values()])
            shares.append(-np.polyfit(x, y, 1)[0])
        agrees(verdict.stated[0], shares)
        ratios = []
        for seed in self.profile.swept_seeds:
            bent = self.folder(self.profile.spec("kd_mixup", seed, teacher=self.profile.teacher(seed, temperature_spread=TEACHER_SPREAD)))
            plain, teacher = (
                self.students(Cell(default, "raw", 2.0), "kd_mixup")[seed],
                self.folder(self.profile.spec("kd", seed).teacher_run()),
            )
            h, z = tensors(bent)["projection.test"].astype(np.float64), read(teacher, "test")[0]
            target = np.exp(log_softmax(z).max(1)).mean()

            def excess(log_c: float, z=z, h=h, target=target) -> float:
                return float(np.exp(log_softmax(z / np.exp(log_c + TEACHER_SPREAD * h)[:, None]).max(1)).mean() - target)

            scale = optimize.brentq(excess, -4.0, 4.0, xtol=1e-12)
            own = odds(z / np.exp(scale + TEACHER_SPREAD * h)[:, None]) - odds(z)
            moved = odds(read(bent, "test")[0]) - odds(read(plain, "test")[0])
            image, x = read(bent, "test")[2], -TEACHER_SPREAD * h
            ratios.append(np.array([slope(x, moved, c[image]) / slope(x, own, c[image]) for c in draws(int(image.max()) + 1)]))
        agrees(verdict.rivals[0], ratios)


def odds(z):
    ranked = np.sort(z, axis=1)
    rest = ranked[:, :-1]
    peak = rest.max(1)
    return ranked[:, -1] - peak - np.log(np.exp(rest - peak[:, None]).sum(1))


def slope(x, y, weight):
    x = x - np.average(x, weights=weight)
    return (weight * x * (y - np.average(y, weights=weight))).sum() / (weight * x * x).sum()


class TestMadeByHand:
    def test_overconfidence(self, world):
        world.train("map", of(n=600), lambda spec: teacher(spec, n=600))
        for cell in (Cell(DEFAULT, "raw", 2.0), Cell(DEFAULT, "half", 4.0), Cell(OTHER, "fitted", 2.0)):
            Again(world.evidence).overconfidence(cell)

    def test_trade_off(self, world):
        world.train("map", swept(n=800), lambda spec: teacher(spec, n=800))
        for calibration in ("raw", "fitted", "double"):
            Again(world.evidence).trade_off(Cell(DEFAULT, calibration, 2.0))

    def test_propagation(self, world):
        fill(world, followed=0.4, passed=0.7)
        Again(world.evidence).propagation()


def committed(profile: str) -> Evidence:
    """The committed records of a profile, where they are of today's format and its map is whole."""
    try:
        store = RecordStore(committed_path())
    except FileNotFoundError:
        pytest.skip("installed without the repository")
    folders = [store.path / spec.id for name in ("map", "propagation") for spec in study(name, profile)]
    for folder in folders:
        if not (folder / "record.json").is_file() or json.loads((folder / "record.json").read_text())["format"] != FORMAT:
            pytest.skip(f"the committed records do not hold the map of {profile}")
    return Evidence(load_profile(profile), store)


class TestCommitted:
    def test_three_cells_of_digits(self):
        again = Again(committed("digits"))
        default = again.profile.default_teacher
        for calibration in ("raw", "fitted", "double"):
            again.overconfidence(Cell(default, calibration, 2.0))
            again.trade_off(Cell(default, calibration, 2.0))
        again.propagation()
        assert evaluate("digits", "committed", ["e"])[0].stated[0].seeds > 1
