"""Surveys made by hand: maps whose ratios, words and seeds a test chooses."""

import math

import numpy as np

from mixkd.claims import Model, Reading, Survey, Trade
from mixkd.measure.statistics import Interval
from mixkd.studies import CALIBRATIONS, Cell, Profile

PROFILE = Profile(
    name="digits", title="made by hand", data="digits", student="cnn8", wider_student="cnn16", teachers=("cnn16", "cnn32"),
    seeds=3, sweep_seeds=3, teacher_seeds=3, taus=(1.0, 2.0, 4.0, "std"), minutes=1, recipe={}, teacher_recipe={},
)  # fmt: skip
GAPS = {"half": 0.12, "raw": 0.06, "fitted": 0.0, "double": -0.12}
RATIOS = {"half": 1.6, "raw": 4.0, "fitted": 24.0, "double": 31.0}


def model(accuracy=0.8, gap=0.05, temperature=1.5, seeds=(61, 62, 63)):
    confidence = np.linspace(1, 15, 15) / 15 - 0.03
    share = np.linspace(0, 1, 15) / np.linspace(0, 1, 15).sum()
    found = {seed: (accuracy + 0.003 * i, gap + 0.002 * i, temperature * 1.1**i) for i, seed in enumerate(seeds)}
    return Model(accuracy, accuracy + gap, 0.04, 0.05, 0.01, 0.7, temperature, share, confidence, np.clip(confidence - gap, 0, 1), found)


def around(ratio, spread=1.2, n=3):
    return Interval(math.log10(ratio), math.log10(ratio / spread), math.log10(ratio * spread), n)


def reading(arm, cell, ratio, *, gain=0.05, **fields):
    word = "supported" if ratio > 12 and not fields.get("underconfident") else "not supported"
    given = {"as_stated": word, "attributed": "supported" if arm == "kd_mixup" and word == "supported" else None}
    taught = {seed: 1 + 10 * GAPS[cell.calibration] for seed in (61, 62, 63)} if cell else {}
    return Reading(
        arm, cell, model(0.8 + gain, 0.01), around(ratio), Interval(gain, gain - 0.013, gain + 0.012, 3),
        needs=around(1.5), taught={seed: max(value, 0.3) for seed, value in taught.items()}, **(given | fields),
    )  # fmt: skip


def survey(profile=PROFILE, change=None):
    """A map in which the default teacher's students fall by :data:`RATIOS` at tau 1, 2 and 4, as trained also at "std"; the rest waits.

    Args:
        change: (arm, cell) -> reading, in the place of what would stand there.
    """
    readings = {}
    default = profile.default_teacher
    for teacher in profile.teachers:
        for tau in profile.taus:
            for calibration in CALIBRATIONS:
                cell = Cell(teacher, calibration, tau)
                ran = teacher == default and (tau != "std" or calibration == "raw")
                for arm, share in (("kd_mixup", 1.0), ("kd", 0.3)):
                    waiting = Reading(arm, cell, command=f"mixkd run --profile {profile.name} --arm {arm} --tau {tau}")
                    factor = share * (1.5 if tau == 1 else 1.0)
                    bought = calibration == "double"
                    readings[arm, cell] = reading(arm, cell, factor * RATIOS[calibration], underconfident=bought) if ran else waiting
    readings |= change or {}
    teachers = {(default, name): model(0.9, gap, 1 + gap) for name, gap in GAPS.items()}
    trade = Trade(1.0, 4.0, Interval(0.039, 0.024, 0.053, 3), Interval(0.052, 0.048, 0.056, 3))
    trades = {(arm, default, name): trade for arm in ("kd_mixup", "kd") for name in CALIBRATIONS}
    return Survey(profile, model(0.65, 0.25, 2.9), reading("ce", None, 12.4, gain=0.0), readings, teachers, trades)
