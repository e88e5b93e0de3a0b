"""Words that results choose: each outcome has its own sentence, and no sentence claims what an interval does not."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from mixkd import figures
from mixkd.claims import Verdict
from mixkd.studies import load_profile


def _frame(**columns):
    """Two arms over three seeds; ``columns`` give the values of ce, then of kd_mixup."""
    rows = [{"arm": arm, "seed": seed} for arm in ("ce", "kd_mixup") for seed in range(3)]
    return pd.DataFrame(rows).assign(**columns)


@pytest.mark.parametrize(
    ("profile", "words"), [("digits", "disjoint images"), ("cifar10", "the same examples"), ("imagenet", "come pretrained")]
)
def test_who_saw_more_images_is_said_of_each_profile(profile, words):
    assert words in figures.same_images(load_profile(profile))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        # seed differences 1, 2, 3: mean 2, standard error 1 / sqrt 3, t(2, .975) = 4.303, so -0.484 to 4.484
        ([0.0, 0.0, 0.0, 1.0, 2.0, 3.0], "undecided, a difference of +2.00 (−0.48 to +4.48)"),
        # 11, 12, 13: 9.516 to 14.484
        ([0.0, 0.0, 0.0, 11.0, 12.0, 13.0], "surer by 12.00 (9.52 to 14.48)"),
        ([11.0, 12.0, 13.0, 0.0, 0.0, 0.0], "less sure by 12.00 (9.52 to 14.48)"),
    ],
)
def test_the_interval_chooses_the_word(values, words):
    frame = _frame(confidence=values)
    assert figures.versus(frame, "confidence", {"arm": "kd_mixup"}, {"arm": "ce"}, more="surer", less="less sure", digits=2) == words


def test_groups_are_paired_by_seed_and_may_read_another_column():
    frame = _frame(oe=[1.0, 2.0, 3.0, 9.0, 9.0, 9.0], ts_oe=[5.0, 6.0, 7.0, 8.0, 8.0, 8.0])
    said = figures.versus(frame, "oe", {"arm": "ce", "as": "ts_oe"}, {"arm": "ce"}, more="more", less="less", digits=1)
    assert said == "more by 4.0 (4.0 to 4.0)"


def test_one_seed_is_no_interval_and_no_seed_is_no_number():
    frame = _frame(oe=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    one = frame[frame.seed == 0]
    assert "says nothing about chance" in figures.versus(one, "oe", {"arm": "kd_mixup"}, {"arm": "ce"}, more="more", less="less")
    for empty in (pd.DataFrame(), frame.iloc[:0]):
        assert figures.versus(empty, "oe", {"arm": "kd_mixup"}, {"arm": "ce"}, more="more", less="less") == "not run here"
        assert figures.average(empty, "oe", arm="ce") == "not run here"
    assert figures.average(frame, "oe", arm="ce", scale=100, digits=1, unit=" %") == "200.0 %"


def test_the_slowest_arm_is_the_lowest_at_the_first_epoch():
    curves = pd.DataFrame(
        [("ce", 1, 0.5), ("ce", 2, 0.6), ("kd_mixup", 1, 0.4), ("kd_mixup", 2, 0.9)], columns=["arm", "epoch", "val_accuracy"]
    )
    assert figures.slowest(curves) == figures.theme.look("kd_mixup").label


def test_agreement_beyond_strangers_is_a_difference_within_each_seed():
    rows = [
        {"arm": "kd", "seed": seed, "inputs": inputs, "measure": measure, "own": own, "other": own - 0.01 * gain}
        for seed, own in enumerate((0.9, 0.8, 0.7))
        for inputs, gain in (("clean", 2 + seed), ("mixed", 0))
        for measure in ("agreement", "copied errors")
    ]
    # gains of 2, 3, 4 points: mean 3, half-width 4.303 / sqrt 3 = 2.48
    assert figures.beyond_strangers(pd.DataFrame(rows)).startswith(
        f"{figures.theme.look('kd').label}: +3.0 (+0.5 to +5.5) on clean images, "
    )
    assert figures.beyond_strangers(pd.DataFrame()) == "not run here"


def test_the_tally_counts_every_verdict_once():
    words = [("supported", "supported"), ("supported", "unresolved"), ("unresolved", "not supported")]
    stated, attributed = figures.tally([Verdict("e", "digits", None, *pair) for pair in words]).split("attributed")
    for said in (stated, attributed):
        assert sum(map(int, re.findall(r"\d+", said))) == 3
    assert "2 (e, e) supported" in stated
    assert figures.tally([]) == "not run here"
