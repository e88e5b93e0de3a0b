"""Words that results choose: each outcome has its own sentence, and no sentence claims what an interval does not."""

from __future__ import annotations

import itertools
import math

import pandas as pd
import pytest

from mixkd import claims, figures
from mixkd.claims import Comparison, Verdict
from mixkd.studies import load_profile

OUTCOMES = ("supported", "not supported", "unresolved")


def _verdict(as_stated="supported", attributed="supported", *, profile="digits", missing=0, estimate=1.5):
    stated = (Comparison("log ratio of this over that", estimate, estimate - 0.25, estimate + 0.25, 1.0, 6, as_stated),)
    return Verdict("e", profile, as_stated, attributed, stated, (), "", ("id",), missing, "Title", "Sentence.", "07-overconfidence")


def _frame(**columns):
    """Two arms over three seeds; ``columns`` give the values of ce, then of kd_mixup."""
    rows = [{"arm": arm, "seed": seed} for arm in ("ce", "kd_mixup") for seed in range(3)]
    return pd.DataFrame(rows).assign(**columns)


def test_the_short_answer_differs_for_each_pair_of_outcomes_that_can_be():
    # attributed is never better than as stated
    order = {"not supported": 0, "unresolved": 1, "supported": 2}
    can_be = [pair for pair in itertools.product(OUTCOMES, repeat=2) if order[pair[1]] <= order[pair[0]]]
    said = {repr(figures.finding(_verdict(*pair))) for pair in can_be}
    assert len(said) == len(can_be)
    assert "log ratio of this over that: 1.5 (1.25 to 1.75); the margin is 1." in repr(figures.finding(_verdict())).replace("Log", "log")


def test_the_short_answer_says_what_is_missing_and_how_to_get_it(tmp_path):
    assert "missing" not in repr(figures.finding(_verdict()))
    assert "4 of the planned records are missing" in repr(figures.finding(_verdict(missing=4)))
    for verdict in claims.evaluate("gaussians", tmp_path):
        assert "mixkd reproduce --profile gaussians" in repr(figures.finding(verdict))


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("digits", "on the same examples"),
        ("gaussians", "more than the 100 training examples"),
        ("cifar10-jpeg", "more than the 5,000 training examples"),
        ("cifar10", "on the same examples"),
        ("imagenet", "come pretrained"),
        ("authors-cifar100", "come pretrained"),
    ],
)
def test_who_saw_more_images_is_said_of_each_profile(profile, words):
    assert words in figures.same_images(load_profile(profile))


def test_the_short_answer_escapes_what_it_is_given():
    assert "<b>" not in figures.finding(_verdict(profile="<b>"))._repr_html_()


def test_a_claim_at_several_scales_has_a_row_each_with_its_own_numbers():
    verdicts = {"digits": [_verdict()], "gaussians": [_verdict("unresolved", "not supported", profile="gaussians", estimate=0.5)]}
    block = figures.across(verdicts, "e")
    assert block._repr_html_().count("<tr>") == 3
    assert "digits: as stated supported, attributed supported, 1.5 (1.25 to 1.75), margin 1" in repr(block)
    assert "gaussians: as stated unresolved, attributed not supported, 0.5 (0.25 to 0.75), margin 1" in repr(block)
    assert "No profile has records" in repr(figures.across(verdicts, "a"))
    assert "No profile has records" in repr(figures.across({}, "e"))


def test_a_verdict_without_estimate_is_no_number():
    block = figures.across({"digits": [_verdict(estimate=math.nan)]}, "e")
    assert "no estimate" in repr(block)
    assert "nan" not in block._repr_html_()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        # seed differences 1, 2, 3: mean 2, standard error 1 / sqrt 3, t(2, .975) = 4.303, so -0.484 to 4.484
        ([0.0, 0.0, 0.0, 1.0, 2.0, 3.0], "not told apart: the difference is +2.00 (95 % interval -0.48 to +4.48)"),
        # 11, 12, 13: 9.516 to 14.484
        ([0.0, 0.0, 0.0, 11.0, 12.0, 13.0], "surer by 12.00 (95 % interval 9.52 to 14.48)"),
        ([11.0, 12.0, 13.0, 0.0, 0.0, 0.0], "less sure by 12.00 (95 % interval 9.52 to 14.48)"),
    ],
)
def test_the_interval_chooses_the_word(values, words):
    frame = _frame(confidence=values)
    assert figures.versus(frame, "confidence", {"arm": "kd_mixup"}, {"arm": "ce"}, more="surer", less="less sure", digits=2) == words


def test_groups_are_paired_by_seed_and_may_read_another_column():
    frame = _frame(oe=[1.0, 2.0, 3.0, 9.0, 9.0, 9.0], ts_oe=[5.0, 6.0, 7.0, 8.0, 8.0, 8.0])
    said = figures.versus(frame, "oe", {"arm": "ce", "as": "ts_oe"}, {"arm": "ce"}, more="more", less="less", digits=1)
    assert said == "more by 4.0 (95 % interval 4.0 to 4.0)"
    shuffled = frame.sample(frac=1, random_state=1)
    assert figures.versus(shuffled, "oe", {"arm": "ce", "as": "ts_oe"}, {"arm": "ce"}, more="more", less="less", digits=1) == said


def test_one_seed_is_no_interval_and_no_seed_is_no_number():
    frame = _frame(oe=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    one = frame[frame.seed == 0]
    assert "tells nothing about chance" in figures.versus(one, "oe", {"arm": "kd_mixup"}, {"arm": "ce"}, more="more", less="less")
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
    verdicts = [_verdict(), _verdict("supported", "unresolved"), _verdict("unresolved", "not supported")]
    assert figures.tally(verdicts) == (
        "As stated: 2 (e, e) supported, none not, 1 (e) unresolved; attributed: 1 (e) supported, 1 (e) not, 1 (e) unresolved"
    )
    assert figures.tally([]) == "not run here"


def test_the_short_answer_names_the_condition_that_decides():
    first, second = (Comparison(what, 2.0, 1.5, 2.5, 1.0, 6, outcome) for what, outcome in (("one", "supported"), ("two", "unresolved")))
    verdict = Verdict("f", "digits", "unresolved", "unresolved", (first, second), (), "", ("id",), 0, "Title", "Sentence.", "page")
    assert "That alone is supported; what decides is another condition, two: 2 (1.5 to 2.5)." in repr(figures.finding(verdict))
    together = Verdict("g", "digits", "not supported", "not supported", (first,), (), "", ("id",), 0, "Title", "Sentence.", "page")
    assert "the conditions taken together are not" in repr(figures.finding(together))
    assert "That alone" not in repr(figures.finding(_verdict()))
