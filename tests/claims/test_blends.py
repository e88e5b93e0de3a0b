"""Claims (a), (b), (c), (h): each judge says each of its words, on records made by hand in which the truth is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from made import Made, Tensors, World, noise
from torch import Tensor

import mixkd.claims
from mixkd.claims import blends
from mixkd.measure import resampling, statistics
from mixkd.records import Record
from mixkd.spec import RunSpec
from mixkd.studies import LONGER, Cell, Profile, cell_spec, study
from mixkd.vicinal import LAM_GRID

K, TWO, ONE, N, WIDTH = 8, 80, 40, 600, 6
HALF = LAM_GRID.index(0.5)
LAM = torch.tensor(LAM_GRID)[:, None, None]
TINY = Profile(
    name="tiny", title="made by hand", data="digits", student="cnn8", wider_student="cnn16", teachers=("cnn16", "cnn32"),
    seeds=5, sweep_seeds=5, teacher_seeds=5, taus=(1.0, 2.0, 4.0), minutes=1, recipe={"epochs": 4}, teacher_recipe={"train_skip": 10},
    map_taus=(1.0, 2.0, 4.0), calibrations=("raw", "fitted"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def five_seeds(world):
    """A teacher for each of five students, and teachers that skip their students' images."""
    world.profile = TINY


def teach(world: World, made: Made) -> None:
    world.put(study("teachers", "tiny"), made)


def train(world: World, name: str, made: Made) -> None:
    world.put(study(name, "tiny"), made)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def own_seed(spec: RunSpec) -> int:
    return int(spec.id[:7], 16)


def two_class() -> Tensor:
    first = torch.arange(TWO) % K
    return torch.stack([first, (first + 1 + torch.arange(TWO) // K % (K - 1)) % K], 1)


def one_class(drop: float, spec: RunSpec, sharp: float = 4.0) -> Tensor:
    """(L, ONE, K) logits: the true class has `sharp` on clean images and `drop` less half-way between two."""
    truth = torch.nn.functional.one_hot(torch.arange(ONE) % K, K)
    return truth * (sharp - drop * 4 * LAM * (1 - LAM)) + 0.01 * normal(own_seed(spec), len(LAM_GRID), ONE, K)


def blended(
    spec: RunSpec,
    two: Tensor | None = None,
    *,
    accuracy: float = 0.8,
    drop: float = 1.0,
    costs: float | None = 0.3,
    features: float = 0.3,
    by_heart: bool = False,
    train: Tensor | None = None,
) -> Tensors:
    """A record: a calibrated model of this accuracy, with answers on two-class pairs (L, TWO, K) and what one-class blends do to it."""
    hits = torch.arange(N) < round(accuracy * N)
    labels = torch.arange(N) % K
    said = torch.where(hits, labels, (labels + 1) % K)
    logits = torch.nn.functional.one_hot(said, K) * math.log(accuracy / (1 - accuracy) * (K - 1))
    rest = one_class(drop, spec)
    two = 4 * torch.nn.functional.one_hot(two_class()[:, 0], K).float().expand(len(LAM_GRID), -1, -1) if two is None else two
    pairs = torch.cat([two_class(), (torch.arange(ONE) % K)[:, None].expand(-1, 2)])
    start, end, aside = (normal(seed, TWO // 2, WIDTH) for seed in (1, 2, 3))
    size = features * (1 + 0.02 * noise(spec, "features")) * (end - start).norm(dim=1, keepdim=True) / aside.norm(dim=1, keepdim=True)
    tensors = {
        "probe.logits": torch.cat([two, rest], 1), "probe.labels": pairs, "probe.pairs": torch.zeros_like(pairs),
        "train_probe.logits": (two if train is None else train)[[0, HALF, -1]], "train_probe.labels": two_class(),
        "train_probe.pairs": torch.zeros_like(two_class()), "features.test": normal(0, 9, WIDTH),
        "features.probe": torch.stack([start, (start + end) / 2 + size * aside, end]),
    }  # fmt: skip
    for split in ("test", "val", "train"):
        tensors |= {f"logits.{split}": logits.float(), f"labels.{split}": labels}
    if spec.train_skip:
        known = torch.nn.functional.one_hot(labels, K) * 9.0 if by_heart else logits
        tensors |= {"logits.skipped": known.float(), "labels.skipped": labels}
    if costs is not None:
        tensors |= {"noise.logits": one_class(costs, spec)[HALF], "noise.sigma": torch.tensor([1.0], dtype=torch.float64)}
    return tensors


BARRED = [
    ({"drop": -1.0}, ("premise not met", "premise not met"), "P1 fails"),
    ({"by_heart": True}, ("premise not met", "premise not met"), "P6 fails"),
]


def says(verdict, words, note=""):
    assert (verdict.as_stated, verdict.attributed) == words
    assert note in verdict.note


def tail(spec: RunSpec, *, private: float, shared: float) -> Tensor:
    """Two-class logits whose classes of neither image hold a part that all teachers have, and one of their own."""
    inside = torch.zeros(TWO, K).scatter_(1, two_class(), 1.0).bool()
    rest = shared * normal(5, len(LAM_GRID), TWO, K) + private * normal(own_seed(spec), len(LAM_GRID), TWO, K)
    return torch.where(inside, 5.0, rest)


class TestSignal:
    def fill(self, world, *, private=2.0, shared=0.5, met=0.0, **fields):
        def teacher(spec):
            return blended(spec, tail(spec, private=private, shared=shared), **fields)

        teach(world, teacher)
        train(world, "mixup_teachers", lambda spec: blended(spec, drop=met))

    def test_confusion(self, world):
        self.fill(world)
        verdict = world.judge("a")
        says(verdict, ("supported", "supported"), "points of probability")
        lost, _, own = verdict.stated
        assert lost.estimate == pytest.approx(0.14, abs=0.02)
        assert own.estimate == pytest.approx(4 / 4.25, abs=0.03)

    @pytest.mark.parametrize(
        ("fields", "words", "note"),
        [
            ({"private": 0.5, "shared": 2.0, "drop": 0.05}, ("not supported", "not supported"), ""),  # hardly any leak, and shared tails
            ({"private": 0.5, "shared": 2.0}, ("depends", "depends"), "holds for the leak"),
            ({"drop": 0.05}, ("depends", "depends"), "holds for the tail"),
            ({"costs": 2.0}, ("supported", "not supported"), ""),  # noise costs as much
            ({"met": 2.0}, ("supported", "not supported"), ""),  # a teacher trained on mixup leaks as much
            ({"costs": None}, ("supported", "unresolved"), "control is missing"),
            *BARRED,
        ],
    )
    def test_each_world_has_its_word(self, world, fields, words, note):
        self.fill(world, **fields)
        says(world.judge("a"), words, note)

    @pytest.mark.parametrize(("count", "word"), [(0, "not run"), (1, "not run"), (2, "unresolved")])
    def test_few_teachers_say_nothing_about_what_teachers_share(self, world, count, word):
        teach(world, lambda spec: blended(spec, tail(spec, private=2, shared=0.5)) if spec.seed < count else None)
        assert world.judge("a").as_stated == word

    def test_a_softer_teacher_leaks_less(self, world):
        """The calibration of the cell divides the logits; tau does not enter."""
        self.fill(world)

        def hot(spec):  # twice as sharp on validation as it should be
            found = blended(spec, tail(spec, private=2, shared=0.5))
            return found | {"logits.val": 2 * found["logits.val"]}

        teach(world, hot)
        raw, fitted, same = (world.judge("a", Cell("cnn32", how, tau)) for how, tau in (("raw", 2.0), ("fitted", 2.0), ("fitted", 4.0)))
        assert fitted.stated[1].estimate != pytest.approx(raw.stated[1].estimate, abs=0.01)
        assert fitted.stated[2].estimate == pytest.approx(raw.stated[2].estimate)
        assert [row.estimate for row in same.stated] == [row.estimate for row in fitted.stated]

    def test_answers_that_all_teachers_get_wrong_alike_are_shown(self, world):
        third = torch.nn.functional.one_hot((two_class()[:, 1] + 1) % K, K) * 9.0
        away = (torch.arange(TWO) < TWO // 4)[:, None] * third
        teach(world, lambda spec: blended(spec, tail(spec, private=0.5, shared=1.0) + away * (LAM > 0) * (LAM < 1)))
        wrong, same = world.judge("a").shown[1:]
        expected = float(((two_class()[:, 1] + 1) % K != two_class()[:, 0])[: TWO // 4].double().sum()) / TWO
        assert wrong.estimate == pytest.approx(expected, abs=0.02)
        assert same.estimate > 0.9


def bent(spec: RunSpec, bend: float, scale: float = 4.0) -> Tensor:
    """Two-class logits, the same for every model on clean images, that bend by `bend` between them."""
    first, second = (scale * torch.nn.functional.one_hot(two_class()[:, side], K).float() for side in (0, 1))
    return LAM * first + (1 - LAM) * second + 4 * LAM * (1 - LAM) * bend * (1 + 0.02 * noise(spec, "bend")) * scale * normal(1, TWO, K)


def is_ours(spec: RunSpec) -> bool:
    return spec.arm == "kd_mixup" and spec.teacher is not None and spec.teacher.model == TINY.default_teacher


class TestLinearity:
    def fill(self, world, ours=0.1, *, rival=0.6, teacher=0.6, accuracy=0.8, **fields):
        teach(world, lambda spec: blended(spec, bent(spec, teacher), **fields))
        for name in ("linearity", "temperature"):
            train(world, name, lambda spec: blended(spec, bent(spec, ours if is_ours(spec) else rival), accuracy=accuracy))

    def test_more_linear_than_all(self, world):
        self.fill(world)
        verdict = world.judge("b")
        says(verdict, ("supported", "supported"), "times as far from linear")
        assert len(verdict.rivals) == 10  # teacher, kd, self-distillation, wider, longer; each in two measures
        assert sum("accuracy" in row.what for row in verdict.shown) == 5

    @pytest.mark.parametrize(
        ("fields", "words", "note"),
        [({"ours": 0.9}, ("not supported", "not supported"), ""), ({"rival": 0.05}, ("supported", "not supported"), ""), *BARRED],
    )
    def test_each_world_has_its_word(self, world, fields, words, note):
        self.fill(world, **fields)
        says(world.judge("b"), words, note)

    def test_less_confidence_is_not_linearity(self, world):
        """The student is its teacher at a quarter of its confidence: linear as the authors measure it, and in no other way."""
        teach(world, lambda spec: blended(spec, bent(spec, 0.6)))
        train(world, "linearity", lambda spec: blended(spec, bent(spec, 0.6) / 4) | {"logits.val": blended(spec)["logits.val"] / 4})
        verdict = world.judge("b")
        assert verdict.as_stated == "supported"
        assert verdict.attributed != "supported"
        assert all(abs(row.estimate) < 0.05 for row in verdict.rivals[:2])

    def test_training_images_stand_beside(self, world):
        teach(world, lambda spec: blended(spec, bent(spec, 0.6), train=bent(spec, 0.9)))
        train(world, "linearity", lambda spec: blended(spec, bent(spec, 0.1)))
        verdict = world.judge("b")
        [row] = [row for row in verdict.shown if "training images" in row.what]
        assert row.estimate > verdict.stated[0].estimate

    def test_the_plain_rival_is_the_nearest_in_accuracy(self, world):
        self.fill(world)
        for tau, accuracy in ((1.0, 0.7), (4.0, 0.79)):
            specs = [cell_spec(TINY, "kd", seed, Cell("cnn32", "raw", tau)) for seed in TINY.core_seeds]
            world.put(specs, lambda spec, accuracy=accuracy: blended(spec, bent(spec, 0.05), accuracy=accuracy))
        specs = [cell_spec(TINY, "kd", seed, Cell("cnn32", "raw", 2.0)) for seed in TINY.core_seeds]
        world.put(specs, lambda spec: blended(spec, bent(spec, 0.6), accuracy=0.6))
        longer = [spec for spec in study("linearity", "tiny") if spec.epochs == LONGER * 4]
        world.put(longer, lambda spec: blended(spec, bent(spec, 0.6), accuracy=0.9))
        verdict = world.judge("b")
        assert [row.outcome for row in verdict.rivals if "kd at tau 4" in row.what] == ["not supported"] * 2
        assert not any("kd at tau 1" in row.what for row in verdict.rivals)
        assert verdict.attributed == "not supported"


class TestImitation:
    def answers(self, seed: int, apart: float) -> tuple[Tensor, Tensor]:
        """A teacher's answers on blends and its linear reference; `apart`: what part of its bend is its own."""
        first, second = (4.0 * torch.nn.functional.one_hot(two_class()[:, side], K).float() for side in (0, 1))
        bump = apart * normal(100 + seed, TWO, K) + (1 - apart) * normal(1, TWO, K)
        p = (LAM * first + (1 - LAM) * second + 8 * LAM * (1 - LAM) * bump).softmax(-1)
        return p, LAM * p[-1] + (1 - LAM) * p[0]

    def fill(self, world, ours, plain=0.0, apart=0.5, count=5, **fields):
        """Students part of the way from their teacher's answers to its linear reference: `ours` (a share, or of the spec), or `plain`."""
        profile = world.profile
        teach(world, lambda spec: blended(spec, self.answers(spec.seed, apart)[0].log(), **fields) if spec.student == "cnn32" else None)

        def student(spec: RunSpec) -> Tensors | None:
            if spec.arm not in ("kd", "kd_mixup") or spec.seed >= count:
                return None
            p, m = self.answers(profile.teacher_seed(spec.seed), apart)
            share = (ours(spec) if callable(ours) else ours) if spec.arm == "kd_mixup" else plain
            share += 0.01 * noise(spec, "share")
            return blended(spec, ((1 - share) * p + share * m).clamp_min(1e-6).log())

        train(world, "temperature", student)

    @pytest.mark.parametrize(
        ("fields", "words", "note"),
        [
            ({"ours": 0.6}, ("supported", "supported"), ""),
            ({"ours": -0.05}, ("not supported", "not supported"), ""),  # an imitator
            ({"ours": 0.5, "plain": 0.8}, ("supported", "not supported"), ""),  # clean distillation does it too
            ({"ours": lambda spec: 0.9 if spec.seed == 0 else -0.05}, ("unresolved", "unresolved"), ""),
            ({"ours": 0.6, "count": 0}, ("not run", "not run"), ""),
            ({"ours": 0.6, "count": 1}, ("not run", "not run"), ""),
            *[({"ours": 0.6, **fields}, *said) for fields, *said in BARRED],
        ],
    )
    def test_each_world_has_its_word(self, world, fields, words, note):
        self.fill(world, **fields)
        says(world.judge("c"), words, note)

    def test_a_student_of_another_teacher_is_no_more_linear(self, world):
        """It has nothing of its teacher's own, and is as far from linear: the first edition's rule called such a student displaced."""
        world.profile = replace(TINY, seeds=8, sweep_seeds=8, teacher_seeds=8)
        self.fill(world, 0.0, apart=1.0)
        others = study("temperature", "tiny")
        world.put(
            [spec for spec in others if spec.arm == "kd_mixup"], lambda spec: blended(spec, self.answers(1000 + spec.seed, 1.0)[0].log())
        )
        verdict = world.judge("c")
        assert verdict.as_stated == "unresolved"
        assert abs(verdict.stated[0].estimate) < 0.03

    def test_three_teachers_are_too_few(self, world):
        world.profile = replace(TINY, seeds=3, sweep_seeds=3, teacher_seeds=3)
        self.fill(world, 0.6)
        verdict = world.judge("c")
        assert verdict.as_stated == "not run"
        assert "3 are needed" in verdict.note

    def test_one_temperature_for_everything_changes_nothing(self, world):
        """Every model is read at its NLL-optimal temperature."""
        self.fill(world, 0.6)
        before = world.judge("c").stated[0].estimate
        specs = [spec for spec in study("temperature", "tiny") if spec.arm == "kd_mixup"]
        kept = {spec.id: Record(world.store.path / spec.id) for spec in specs}

        def sharper(spec):
            record = kept[spec.id]
            found = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in record.tensors.items()}
            return found | {name: 3 * found[name] for name in ("probe.logits", "logits.val", "logits.test")}

        world.put(specs, sharper)
        assert world.judge("c").stated[0].estimate == pytest.approx(before, abs=0.01)


class TestGeometry:
    def fill(self, world, ours=0.2, *, plain=0.4, mixup=0.3, better=0.0, spread=0.0, others=None, **fields):
        """Features that bend by so much; kd_mixup is `better` than kd, and kd at another tau as `others` says, by tau: accuracy."""
        teach(world, lambda spec: blended(spec, **fields))
        bends = {"kd_mixup": ours, "kd": plain, "mixup": mixup}

        def student(spec: RunSpec) -> Tensors:
            accuracy = 0.8 + (better if spec.arm == "kd_mixup" else 0)
            if spec.arm == "kd" and spec.epochs != 4:
                accuracy = 0.6
            if spec.arm == "kd" and spec.tau != 2:
                accuracy = (others or {}).get(spec.tau, 0.6)
            return blended(spec, features=bends.get(spec.arm, 0.5) * math.exp(spread * noise(spec, "f")), accuracy=accuracy)

        for name in ("overconfidence", "temperature", "duration"):
            train(world, name, student)

    def test_straighter(self, world):
        self.fill(world)
        verdict = world.judge("h")
        says(verdict, ("supported", "supported"))
        assert verdict.stated[0].estimate == pytest.approx(math.log(2), abs=0.05)

    @pytest.mark.parametrize(
        ("fields", "words", "note"),
        [
            ({"ours": 0.9}, ("not supported", "not supported"), ""),
            ({"mixup": 0.1}, ("supported", "not supported"), ""),
            ({"ours": 0.35, "spread": 0.5}, ("unresolved", "unresolved"), ""),
            ({"better": 0.019}, ("unresolved", "unresolved"), "Equal accuracy is not resolved"),
            ({"better": 0.15}, ("premise not met", "premise not met"), "Equal accuracy fails"),  # no kd is as accurate
            ({"by_heart": True}, ("premise not met", "premise not met"), ""),
        ],
    )
    def test_each_world_has_its_word(self, world, fields, words, note):
        self.fill(world, **fields)
        says(world.judge("h"), words, note)

    def test_a_kd_of_another_tau_is_as_accurate(self, world):
        self.fill(world, better=0.15, others={4.0: 0.95})
        verdict = world.judge("h")
        assert verdict.as_stated == "supported"
        assert "kd at tau 4" in verdict.stated[0].what
        assert verdict.premises[0].met


class TestIntervals:
    @pytest.mark.parametrize("n", [3, 6])
    def test_units_that_share_terms_are_covered(self, n):
        """A mean over pairs of teachers, each pair on the same pairs of images: 95 % intervals hold the truth about 95 % of the time."""
        random = np.random.default_rng(0)
        shares = resampling.weights(60)
        held = 0
        for _ in range(300):
            teachers, images, rest = random.normal(size=n), random.normal(size=60), random.normal(size=(n, n, 60))
            values = teachers[:, None, None] + teachers[None, :, None] + 3 * images + 2 * (rest + rest.transpose(1, 0, 2))
            drawn = np.einsum("rp,abp->rab", shares, values)

            def mean(units, drawn=drawn):
                rows = [drawn[:, a, b] for a in units for b in units if a < b]
                return np.mean(rows, axis=0) if rows else np.full(len(shares), np.nan)

            found = statistics.jackknife(mean, n)
            held += found.low <= 0 <= found.high
        assert 0.92 <= held / 300 <= 1.0


class TestEveryCell:
    def test_a_part_of_the_grid_never_crashes(self, world):
        teach(world, lambda spec: blended(spec) if spec.seed < 3 else None)
        train(world, "map", lambda spec: blended(spec) if spec.seed % 2 else None)
        rows = mixkd.claims.across("tiny", world.store, "abch")
        assert {row.claim for row in rows} == set("abch")
        assert len([row for row in rows if row.claim == "a"]) == len({(row.teacher, row.calibration) for row in rows})

    def test_models_without_any_answer_never_crash(self, world):
        def constant(spec: RunSpec) -> Tensors:
            return {name: tensor if "labels" in name else torch.zeros_like(tensor) for name, tensor in blended(spec).items()}

        teach(world, constant)
        train(world, "linearity", constant)
        train(world, "temperature", constant)
        for letter in "abch":
            assert world.judge(letter).as_stated != "supported"

    def test_intervals_are_over_seeds_and_pairs(self, world):
        """Models that all seeds agree about still leave the choice of pairs open."""
        teach(world, lambda spec: blended(spec, bent(spec, 0.6)))
        train(world, "linearity", lambda spec: blended(spec, bent(spec, 0.5)))
        row = world.judge("b").stated[0]
        evidence = world.evidence
        ours = evidence.students(None, "kd_mixup")
        teachers = evidence.teachers(ours)
        values = [blends.log_ratio(blends.nonlinearity(teachers[seed]), blends.nonlinearity(ours[seed]))[0] for seed in ours]
        over_seeds = 2.776 * np.std(values, ddof=1) / math.sqrt(len(values))  # t of 4 degrees of freedom
        assert (row.high - row.low) / 2 > 1.0001 * over_seeds
