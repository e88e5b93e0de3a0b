"""(e) Overconfidence falls by an order of magnitude."""

from __future__ import annotations

import math

import numpy as np

from mixkd.claims.evidence import Claim, Evidence, difference, judged, log_ratio, pick
from mixkd.claims.verdicts import Verdict, compare, decide
from mixkd.measure import calibration
from mixkd.measure.statistics import Interval
from mixkd.records import Records


def _judge_overconfidence(evidence: Evidence) -> Verdict:
    frame = evidence.frame("overconfidence")
    ours, base = {"arm": "kd_mixup"}, {"arm": "ce"}
    floor = overconfidence_floor(evidence.records("overconfidence").select(**ours))
    ratio = log_ratio(frame, "oe", base, ours)
    cautious = log_ratio(frame, "oe", base, ours, floor.low)
    oe_base = pick(frame, base)["oe"].mean()
    resolvable = bool(oe_base >= 10 * floor.high)
    outcome = decide(ratio, 1.0)
    if outcome == "supported" and (decide(cautious, 1.0) != "supported" or not resolvable):
        outcome = "unresolved"
    above = bool(pick(frame, ours)["oe"].mean() > floor.high)
    if outcome == "not supported" and not resolvable and not above:
        outcome = "unresolved"  # the smaller error cannot be told from none, so the ratio cannot be told either
    under = difference(frame.assign(quarter=frame["ece"] / 4), ("quarter", "under"), base, ours)
    nll = difference(frame, "nll", base, ours)
    stated = [
        compare("log10 of overconfidence error, ce over kd_mixup", ratio, 1.0, outcome),
        compare("a quarter of ce's ECE - underconfidence of kd_mixup", under),
        compare("NLL, ce - kd_mixup", nll),
    ]
    rivals = [
        compare(f"log10 of overconfidence error, {rival} over kd_mixup", log_ratio(frame, "oe", {"arm": rival}, ours, floor.low))
        for rival in ("mixup", "label_smoothing", "kd")
    ]
    scaled = frame.assign(oe=np.where(frame["arm"] == "ce", frame["ts_oe"], frame["oe"]))
    what = "log10 of overconfidence error, temperature-scaled ce over kd_mixup"
    rivals.append(compare(what, log_ratio(scaled, "oe", base, ours, floor.low)))
    note = (
        f"Overconfidence error of ce is {oe_base:.4f}; the noise floor of a perfectly calibrated model with kd_mixup's confidences "
        f"is {floor.low:.4f} on average and {floor.high:.4f} at its 95th percentile, so a factor of ten is "
        f"{'resolvable' if resolvable else 'unresolvable'} with this many test images."
    )
    if not resolvable and outcome == "not supported":
        note += " The overconfidence error of kd_mixup lies above that floor, so that less than a factor of ten can be told all the same."
    return judged(evidence, "e", stated, rivals, note)


def overconfidence_floor(records: Records) -> Interval:
    """The overconfidence error a perfectly calibrated model would show by chance, with these models' confidences.

    Noise draws of one image are not independent; their number counts by the effective sample size N / (1 + (m - 1) rho), m draws an
    image, rho the intra-image correlation of hit minus confidence.

    Returns:
        An Interval whose ``low`` is the mean of the floor and ``high`` its 95th percentile, averaged over the records.
    """
    means, tails = [], []
    for record in records:
        p = record.logits().double().softmax(-1)
        confidence, answer = p.max(-1)
        residual = ((answer == record.labels()).double() - confidence).numpy()
        draws = len(residual) // (int(record.images().max()) + 1)
        n = round(len(residual) / (1 + (draws - 1) * max(0.0, _intraclass(residual.reshape(draws, -1)))))
        floor = calibration.noise_floor(confidence, n=n)
        means.append(floor.oe)
        tails.append(floor.oe_high)
    if not means:
        return Interval(math.nan, math.nan, math.nan, 0)
    return Interval(float(np.mean(means)), float(np.mean(means)), float(np.mean(tails)), len(means))


def _intraclass(residual: np.ndarray) -> float:
    """Intra-class correlation of (draws, images) values by one-way analysis of variance; 0 for a single draw."""
    draws, images = residual.shape
    if draws < 2:
        return 0.0
    between = draws * residual.mean(0).var(ddof=1)
    within = ((residual - residual.mean(0)) ** 2).sum() / (images * (draws - 1))
    return float((between - within) / (between + (draws - 1) * within))


CLAIM = Claim(
    letter="e",
    title="Overconfidence",
    sentence="Overconfidence falls by an order of magnitude against the cross-entropy student.",
    statistic="log10 of the ratio of overconfidence errors, ce over kd_mixup, paired by seed",
    rule=(
        "supported when its 95 % t interval lies above 1, the underconfidence of kd_mixup is at most a quarter of ce's ECE and "
        "its NLL is lower; a ratio the noise floor could fake is unresolved"
    ),
    rivals="mixup, label smoothing, kd, and ce with one post-hoc temperature",
    chapter="07-overconfidence",
    studies=("overconfidence",),
    judge=_judge_overconfidence,
)
