"""Claim (f): true, false, contradictory, short of data, without a premise, not run."""

import math

import pytest
import torch
from made import DEFAULT, OTHER, SHARP, TINY, K, answers, noise, split, teacher

from mixkd.claims.propagation import _passed, _slope
from mixkd.measure.selective import score
from mixkd.measure.temperature import spread_temperature
from mixkd.spec import RunSpec
from mixkd.studies import CALIBRATIONS, Cell

N = 4000
H = torch.randn(N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
EARLY = TINY.spec("kd", 0).epochs


def own_change(spread: float) -> torch.Tensor:
    """What tempering by h does to the log-odds of a teacher of the default kind."""
    z = split(0.92, SHARP, N)[0].double()
    return score(z / spread_temperature(z, H, spread)[:, None]) - score(z)


def fill(world, passed=1.0, followed=1.0, lost=0.0, small=1.0, weak=1.0, early_accuracy=0.7, jitter=0.01, seeds=9, by_heart=False):
    """Students whose log T* moves by `passed` times their teacher's tempering; whose confidence follows h by `followed` times what their
    teacher's does; who lose `lost` accuracy per unit of log tempering; `small` and `weak` times as sharp from the small teacher and from
    the one that was stopped early at accuracy `early_accuracy`."""

    def taught(spec: RunSpec):
        if spec.seed >= seeds:
            return None
        return teacher(
            spec,
            early_accuracy if spec.epochs != EARLY else 0.90 if spec.student == OTHER else 0.92,
            by_heart=by_heart in (True, spec.student),
        )

    def made(spec: RunSpec):
        if spec.arm != "kd_mixup" or spec.seed >= seeds:
            return None
        school = spec.teacher
        tempering = math.log(SHARP * school.temperature_factor) if school.temperature == "fitted" else 0.0
        sharpness = math.exp(passed * (math.log(SHARP) - tempering) + jitter * noise(spec))
        sharpness *= small if school.model == OTHER else weak if school.epochs is not None else 1.0
        tilt = followed * own_change(school.temperature_spread) if school.temperature_spread else None
        accuracy = 0.80 - lost * tempering + 0.002 * noise(spec, "a")
        return answers(accuracy, sharpness, tilt=tilt, n=N) | ({"projection.test": H.float()} if school.temperature_spread else {})

    world.train(("map", "propagation"), made, taught)


WORLDS = [
    # accuracy stays equal and teachers of unequal accuracy do alike, yet nothing "depends": arriving is a condition
    ({"passed": 0.1}, "not supported", ""),
    ({"passed": -0.5}, "not supported", ""),
    ({"lost": 0.05}, "depends", "holds for calibrated teachers, teachers of unequal accuracy and fails for accuracy that stays"),
    ({"weak": 1.5}, "depends", "fails for teachers of unequal accuracy"),
    ({"small": 1.4}, "depends", "fails for calibrated teachers"),
    ({"lost": 0.05, "small": 1.4, "weak": 1.5}, "not supported", ""),
    ({"early_accuracy": 0.91}, "premise not met", "P5 fails"),
    ({"by_heart": True}, "premise not met", "P6 fails"),
    ({"by_heart": OTHER}, "premise not met", "P6 fails"),
    ({"jitter": 0.5}, "unresolved", "seeds would resolve it"),
]


class TestPropagation:
    def test_true(self, world):
        fill(world)
        verdict = world.judge("f")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "supported")
        assert verdict.stated[0].estimate == pytest.approx(1, abs=0.05)
        assert verdict.rivals[0].estimate == pytest.approx(1, abs=0.02)
        assert {premise.name for premise in verdict.premises} == {"P5", "P6"}
        assert {row.kind for row in verdict.stated[1:]} == {"equivalent"}
        assert verdict.missing == 0

    @pytest.mark.parametrize(("fields", "word", "note"), WORLDS)
    def test_each_world_has_its_word(self, world, fields, word, note):
        fill(world, **fields)
        verdict = world.judge("f")
        assert (verdict.as_stated, verdict.attributed) == (word, word)
        assert note in verdict.note

    def test_mere_confidence_copying(self, world):
        fill(world, followed=0.1)
        verdict = world.judge("f")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "not supported")

    def test_the_tempering_is_the_teacher_s_own(self, world):
        """Each seed's slope is over its own teacher's temperature, not over a nominal one."""

        def made(spec: RunSpec):
            factor = spec.teacher.temperature_factor if spec.teacher.temperature == "fitted" else 1 / sharp[spec.seed]
            return answers(0.8, factor**-0.5 * 1.2)

        sharp = {0: 1.5, 1: 2.0, 2: 2.5, 3: 3.0}
        world.train(
            "map", lambda spec: made(spec) if spec.arm == "kd_mixup" else None, lambda spec: teacher(spec, sharpness=sharp[spec.seed])
        )
        evidence = world.evidence
        tempered = {name: evidence.students(Cell(DEFAULT, name, 2.0), "kd_mixup") for name in CALIBRATIONS}
        interval = _passed(evidence, tempered)
        assert interval.n == 4
        assert interval.estimate == pytest.approx(0.5, abs=0.02)
        assert interval.high - interval.low < 0.1


def test_slope_is_least_squares():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 100, generator=generator, dtype=torch.float64)
    slopes = _slope(x, y, torch.arange(50).repeat(2))
    assert slopes[0] == pytest.approx(float(((x - x.mean()) * y).sum() / ((x - x.mean()) ** 2).sum()))
    assert slopes.shape == (201,)
    assert slopes[1:].std() > 0


def test_spread_keeps_the_mean_confidence():
    z = torch.randn(500, K, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 3
    h = torch.randn(500, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    tempered = z / spread_temperature(z, h, 0.5)[:, None]
    assert float(tempered.softmax(-1).amax(-1).mean()) == pytest.approx(float(z.softmax(-1).amax(-1).mean()), abs=1e-8)
