"""Claims (g) and (i): true, false, short of data, premise, not run; (i) never without (g). Neither has halves, so none depends."""

import math

import numpy as np
import pytest
from made import TEACHER, answers, jittered, noise, teacher

from mixkd.claims.trade_off import _ends, _moved
from mixkd.spec import RunSpec
from mixkd.studies import Cell

BOTH = ("temperature", "overconfidence")


def swept(gain=0.03, ours=0.7, plain=0.0, seeds=9, jitter=0.002, scale_only=False, n=4000):
    """Accuracy wins `gain` for each unit of log tau up to tau 4, log sharpness `ours` (for kd `plain`); calibrated at tau 1. Unless
    `scale_only`, validation data show nothing of it, so that one temperature mends nothing."""

    def made(spec: RunSpec):
        if spec.seed >= seeds:
            return None
        if spec.arm not in ("kd", "kd_mixup"):
            return jittered(spec, 0.70, 4.0, n=n)
        u = math.log(spec.tau)
        slope = ours if spec.arm == "kd_mixup" else plain
        sharpness = math.exp(slope * u)
        return jittered(spec, 0.78 + gain * u, sharpness, jitter, n, val=sharpness if scale_only else 1.0)

    return made


def judged(world, letter, taught=TEACHER, **fields):
    world.train(BOTH, swept(**fields), lambda spec: teacher(spec, taught))
    return world.judge(letter)


class TestTrade:
    def test_true(self, world):
        world.train(BOTH, swept())
        verdict = world.judge("g")
        assert verdict.as_stated == "supported"
        assert verdict.attributed == "supported"
        assert [premise.name for premise in verdict.premises] == ["P2", "P4", "P6"]
        assert [row.margin for row in verdict.stated] == [0.005, 0.01]
        assert verdict.stated[0].estimate == pytest.approx(0.03 * math.log(4), abs=0.01)
        assert "Accuracy is best at tau 4, calibration at tau 1." in verdict.note
        assert verdict.missing == 0

    @pytest.mark.parametrize(
        ("fields", "words", "note"),
        [
            ({"scale_only": True}, ("supported", "not supported"), "scale of the logits"),
            # the best of both lies at one tau: nothing is traded, whatever the slopes say
            ({"gain": -0.03}, ("not supported", "not supported"), ""),
            ({"gain": 0.01, "jitter": 0.02}, ("unresolved", "unresolved"), ""),
            ({"taught": 0.82}, ("premise not met", "premise not met"), "P4 fails: accuracy, teacher - student at tau 4"),
        ],
    )
    def test_each_world_has_its_word(self, world, fields, words, note):
        verdict = judged(world, "g", **fields)
        assert (verdict.as_stated, verdict.attributed) == words
        assert note in verdict.note

    def test_noise_is_no_trade(self, world):
        """Chosen and judged on the same seeds, the best of three would always seem better."""
        assert judged(world, "g", gain=0.0, ours=0.0, jitter=0.01).as_stated in ("unresolved", "not supported")

    def test_a_curve_that_saturates(self, world):
        """Nearly all of the accuracy is won from tau 1 to 2: a line over log tau would miss it."""

        def made(spec: RunSpec):
            if spec.arm not in ("kd", "kd_mixup"):
                return jittered(spec, 0.70, 4.0)
            accuracy, sharpness = {1.0: (0.76, 1.0), 2.0: (0.80, 1.6), 4.0: (0.79, 1.7)}[spec.tau]
            return jittered(spec, accuracy, sharpness)

        world.train(BOTH, made)
        verdict = world.judge("g")
        assert verdict.as_stated == "supported"
        assert "best at tau 2" in verdict.note

    def test_half_a_column(self, world):
        world.train(BOTH, lambda spec: swept()(spec) if (spec.seed, spec.tau) != (2, 4.0) else None)
        assert {row.seeds for row in world.judge("g").stated} == {3}

    def test_another_column(self, world):
        """A calibrated teacher: nothing to trade."""

        def made(spec: RunSpec):
            tempered = spec.teacher is not None and spec.teacher.temperature == "fitted"
            return swept(gain=0.0, ours=0.0)(spec) if tempered else swept()(spec)

        world.train("map", made)
        assert world.judge("g").as_stated == "supported"
        assert world.judge("g", Cell("cnn32", "fitted", 2.0)).as_stated == "not supported"


class TestEnds:
    def test_chosen_on_the_other_seeds(self):
        accuracy = {0: [0.9, 0.1, 0.1], 1: [0.1, 0.5, 0.4], 2: [0.1, 0.4, 0.6]}
        curves = {seed: {"accuracy": np.array(row)[:, None], "ece": -np.array(row)[:, None]} for seed, row in accuracy.items()}
        ends = _ends(curves, "ece")
        assert ends[0] == (2, 2)  # its own .9 does not count; .45 against .5
        assert ends[1] == (0, 0)
        assert _moved(curves, {0: (2, 0)}, "accuracy")[0] == pytest.approx(0.1 - 0.9)
        assert _ends({0: curves[0]}, "ece") == {}


class TestStronger:
    def test_true(self, world):
        world.train(BOTH, swept())
        verdict = world.judge("i")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "supported")
        assert [premise.name for premise in verdict.premises] == ["P2", "P4", "P6", "(g)"]

    @pytest.mark.parametrize(
        ("fields", "trade", "word", "note"),
        [
            ({"plain": 0.7}, "supported", "not supported", ""),
            ({"gain": 0.0}, "not supported", "premise not met", "(g) fails"),
            ({"gain": 0.005, "jitter": 0.01}, "unresolved", "unresolved", "(g) is not resolved"),
            ({"taught": 0.82}, "premise not met", "premise not met", ""),
        ],
    )
    def test_each_world_has_its_word(self, world, fields, trade, word, note):
        verdict = judged(world, "i", **fields)
        assert world.judge("g").as_stated == trade
        assert (verdict.as_stated, verdict.attributed) == (word, word)
        assert note in verdict.note

    def test_the_opposite_slope_is_not_the_same_trade(self, world):
        """kd's calibration goes the other way as steeply: the same move of tau costs it nothing, but its own trade costs as much."""

        def made(spec: RunSpec):
            if spec.arm != "kd":
                return swept()(spec)
            u = math.log(4) - math.log(spec.tau)
            return jittered(spec, 0.78 + 0.03 * u, math.exp(0.7 * u), val=1.0)

        world.train(BOTH, made)
        verdict = world.judge("i")
        assert verdict.as_stated == "supported"
        assert verdict.attributed == "not supported"
        assert verdict.rivals[0].outcome == "not supported"

    def test_short_of_data(self, world):
        def made(spec: RunSpec):
            if spec.arm != "kd":
                return swept()(spec)
            return answers(0.78, math.exp(0.7 * (spec.seed - 1) * math.log(spec.tau) + 0.01 * noise(spec)))

        world.train(BOTH, made)
        assert world.judge("g").as_stated == "supported"
        assert world.judge("i").as_stated == "unresolved"
