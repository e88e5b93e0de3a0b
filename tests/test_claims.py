"""Claims: each judge can say yes, no and "cannot tell", on records made by hand in which the truth is known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import mixkd.claims
import mixkd.records
import mixkd.studies
from mixkd.claims import CLAIMS, KEPT, Verdict, decide, evaluate, every, to_frame, to_json, to_text
from mixkd.claims.imitation import DISPLACEMENT_MARGIN
from mixkd.claims.verdicts import equivalent
from mixkd.measure.statistics import Interval
from mixkd.records import RecordStore
from mixkd.spec import RunSpec, SpecError
from mixkd.studies import Profile, study
from mixkd.vicinal import LAM_GRID

K, PAIRS, WIDTH = 6, 60, 8
Tensors = dict[str, Tensor]
RANK = {"supported": 2, "unresolved": 1, "not supported": 0, "not run": -1}
TINY = Profile(
    name="tiny", title="made by hand", data="digits", student="cnn8", wider_student="cnn16", teachers=("cnn16", "cnn32"),
    seeds=3, sweep_seeds=3, teacher_seeds=3, taus=(1, 2, 4, 8), minutes=1, recipe={}, teacher_recipe={}, core={},
)  # fmt: skip


@dataclass
class World:
    """A store that holds whatever a test says was trained."""

    store: RecordStore
    profile: Profile = field(default=TINY)

    def train(self, name: str, made: Callable[[RunSpec], Tensors | None]) -> None:
        self.put(study(name, "tiny"), made)

    def teach(self, name: str, made: Callable[[RunSpec], Tensors | None]) -> None:
        """The teachers of a study's students."""
        self.put(list(dict.fromkeys(run for spec in study(name, "tiny") if (run := spec.teacher_run()) is not None)), made)

    def put(self, specs: list[RunSpec], made: Callable[[RunSpec], Tensors | None]) -> None:
        for spec in specs:
            if (tensors := made(spec)) is not None:
                self.store.put(
                    spec, tensors, lam=LAM_GRID, classes=list(map(str, range(K))), curve=[], provenance={}, weights={"w": torch.zeros(1)}
                )

    def judge(self, letter: str) -> Verdict:
        [verdict] = evaluate("tiny", self.store, [letter])
        assert verdict.claim == letter
        assert RANK[verdict.attributed] <= RANK[verdict.as_stated]  # whatever the records say
        return verdict


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(RecordStore(tmp_path))
    for module in (mixkd.claims.evidence, mixkd.studies):
        monkeypatch.setattr(module, "load_profile", lambda name: made.profile)
    monkeypatch.setattr(mixkd.records, "_fsync", lambda path: None)
    return made


def noise(spec: RunSpec, *what: object) -> float:
    """A standard normal number, the same for the same run and purpose."""
    return float(np.random.default_rng(list(f"{spec.id}/{what}".encode())).normal())


def clean(accuracy: float = 0.85, sharpness: float = 1.0, *, val: float | None = None, n: int = 600, tilt: Tensor | None = None) -> Tensors:
    """Answers of a model whose logits are `sharpness` times calibrated ones, on test and (with sharpness `val`) on validation data."""

    def split(factor: float) -> tuple[Tensor, Tensor]:
        unsure = round(n * (0.98 - accuracy) / (0.98 - 0.6))
        labels, logits, start = torch.arange(n) % K, torch.zeros(n, K), 0
        for size, confidence in ((unsure, 0.6), (n - unsure, 0.98)):
            rows = torch.arange(start, start + size)
            hit = torch.arange(size) < round(confidence * size)
            answer = torch.where(hit, labels[rows], (labels[rows] + 1) % K)
            logits[rows, answer] = math.log(confidence / (1 - confidence) * (K - 1))
            start += size
        return logits * factor, labels

    (test, labels), (held_out, _) = split(sharpness), split(sharpness if val is None else val)
    if tilt is not None:
        test = test.scatter_add(1, test.argmax(1, keepdim=True), tilt[:, None])
    return {"logits.test": test, "labels.test": labels, "logits.val": held_out, "labels.val": labels}


def core(spec: RunSpec, by_arm: Mapping[str, tuple[float, float]], jitter: float = 0.002, n: int = 600) -> Tensors:
    """Clean answers with the (accuracy, sharpness) of each arm, and seed noise."""
    accuracy, sharpness = by_arm[spec.arm]
    return clean(accuracy + jitter * noise(spec, "a"), sharpness + jitter * noise(spec, "s"), n=n)


def pairs() -> Tensor:
    first = torch.arange(PAIRS) % K
    return torch.stack([first, (first + 1 + torch.arange(PAIRS) // K % (K - 1)) % K], 1)


def along(start: Tensor, end: Tensor, bend: Tensor) -> Tensor:
    """(L, P, D): straight from `start` (lam 0) to `end`, bent in between by 4 lam (1 - lam) `bend`."""
    lam = torch.tensor(LAM_GRID)[:, None, None]
    return lam * end + (1 - lam) * start + 4 * lam * (1 - lam) * bend


def probe(logits: Tensor) -> Tensors:
    labels = pairs()
    return {"probe.logits": logits, "probe.labels": labels, "probe.pairs": torch.zeros_like(labels)}


def bent(spec: RunSpec, bend: float, scale: float = 4.0) -> Tensors:
    """A probe in which every model has the same answers at the ends, and its logits bend by `bend` between them."""
    labels = pairs()
    aside = torch.randn(PAIRS, K, generator=torch.Generator().manual_seed(1))
    size = bend * (1 + 0.02 * noise(spec, "bend"))
    first, second = (scale * torch.nn.functional.one_hot(labels[:, side], K).float() for side in (0, 1))
    return clean() | probe(along(second, first, size * scale * aside))


# --- the rules ------------------------------------------------------------------------------------------------------------

finite = st.floats(-5, 5)


class TestRules:
    def test_decide(self):
        def at(low: float, high: float, n: int = 3) -> Interval:
            return Interval((low + high) / 2, low, high, n)

        assert decide(at(0.1, 0.2)) == "supported"
        assert decide(at(-0.2, 0.0)) == "not supported"  # the margin itself is not beyond the margin
        assert decide(at(0.0, 0.2)) == "unresolved"
        assert decide(at(-0.1, 0.2)) == "unresolved"
        assert decide(at(0.1, 0.2), 0.15) == "unresolved"
        assert decide(at(0.1, 0.2), 0.2) == "not supported"
        assert decide(at(0.1, 0.2, n=1)) == "unresolved"
        for undefined in (Interval(math.nan, 0.1, 0.2, 3), Interval(0.1, math.nan, math.nan, 3), Interval(math.inf, 0.1, 0.2, 3)):
            assert decide(undefined) == "unresolved"

    @given(finite, st.floats(0, 3), finite, st.floats(0, 2))
    def test_decide_is_monotone_in_the_margin(self, centre, half, margin, more):
        interval = Interval(centre, centre - half, centre + half, 5)
        assert RANK[decide(interval, margin + more)] <= RANK[decide(interval, margin)]

    def test_every(self):
        assert every(["supported", "supported"]) == "supported"
        assert every(["supported", "unresolved"]) == "unresolved"
        assert every(["unresolved", "not supported", "supported"]) == "not supported"
        assert every([]) == "unresolved"

    @given(st.lists(st.sampled_from(["supported", "unresolved", "not supported"]), min_size=1))
    def test_every_is_as_weak_as_its_weakest(self, outcomes):
        assert RANK[every(outcomes)] == min(RANK[outcome] for outcome in outcomes)

    def test_same(self):
        def outcome(low: float, high: float, n: int = 3) -> str:
            return equivalent("", Interval((low + high) / 2, low, high, n), 0.1).outcome

        assert outcome(-0.05, 0.05) == "supported"
        assert outcome(0.12, 0.3) == outcome(-0.3, -0.12) == outcome(0.1, 0.2) == "not supported"
        assert outcome(0.05, 0.2) == outcome(-0.3, 0.3) == "unresolved"
        assert outcome(-0.01, 0.01, n=1) == outcome(math.nan, math.nan) == "unresolved"


# --- the ledger -----------------------------------------------------------------------------------------------------------


class TestLedger:
    def test_nothing_trained_is_not_run_and_names_the_command(self, world):
        verdicts = evaluate("tiny", world.store)
        assert [verdict.claim for verdict in verdicts] == list("abcdefghi")
        for verdict in verdicts:
            assert (verdict.as_stated, verdict.attributed) == ("not run", "not run")
            assert "mixkd reproduce --profile tiny" in verdict.note
            assert verdict.records == ()
            assert verdict.missing > 0

    def test_json_has_these_keys_and_no_number_that_is_none(self, world):
        world.train("overconfidence", lambda spec: bent(spec, 0.1) | features(spec, 0.1) if spec.arm == "ce" and spec.seed == 0 else None)
        verdicts = evaluate("tiny", world.store)

        def refuse(constant: str) -> None:
            raise AssertionError(constant)

        parsed = json.loads(to_json(verdicts), parse_constant=refuse)
        assert len(parsed) == len(CLAIMS)
        keys = {
            "claim", "profile", "as_stated", "attributed", "stated", "rivals", "note", "records", "missing", "title", "sentence", "chapter",
            "shown",
        }  # fmt: skip
        rows = {"what", "estimate", "low", "high", "margin", "seeds", "outcome"}
        for verdict in parsed:
            assert set(verdict) == keys
            assert all(set(row) == rows for row in verdict["stated"] + verdict["rivals"] + verdict["shown"])
        assert any(row["low"] is None for verdict in parsed for row in verdict["stated"])
        assert len(to_frame(verdicts)) == len(CLAIMS)
        assert "not run" in to_text(verdicts)

    def test_records_are_named_and_the_missing_counted(self, world):
        world.train("overconfidence", lambda spec: clean() if spec.seed < 2 else None)
        verdict = world.judge("e")
        specs = study("overconfidence", "tiny")
        assert set(verdict.records) == {spec.id for spec in specs if spec.seed < 2}
        assert verdict.missing == len(specs) - len(verdict.records)

    def test_only_what_a_verdict_was_computed_from_is_named(self, world):
        everything_bent(world, 0.1)
        ours = [spec for spec in study("linearity", "tiny") if is_ours(spec)]
        teachers = {run.id for spec in ours if (run := spec.teacher_run()) is not None}
        wider = {spec.id for spec in study("linearity", "tiny") if spec.student == TINY.wider_student}
        for letter, rivals in (("b", wider), ("c", set())):
            named = set(world.judge(letter).records)
            assert {spec.id for spec in ours} | teachers | rivals <= named <= set(world.store.ids())
            assert named & wider == rivals  # claim (c) has no wider student to be compared with

    def test_a_damaged_record_counts_as_missing(self, world):
        everything_bent(world, 0.1)
        students = [spec for spec in study("linearity", "tiny") if spec.arm == "kd_mixup"]
        for spec in (students[0], students[1].teacher_run()):
            (world.store.path / spec.id / "tensors.safetensors").write_bytes(b"not a tensor")
        before = len(study("linearity", "tiny"))
        verdict = world.judge("b")
        assert students[0].id not in verdict.records
        assert 0 < verdict.missing < before

    @pytest.mark.parametrize("kept", ["two seeds", "one seed", "no plain student", "no distilled student", "one record"])
    def test_a_part_of_the_grid_never_crashes(self, world, kept):
        keep: Callable[[RunSpec], bool] = {
            "two seeds": lambda spec: spec.seed < 2,
            "one seed": lambda spec: spec.seed == 1,
            "no plain student": lambda spec: spec.arm != "ce",
            "no distilled student": lambda spec: spec.arm not in ("kd", "kd_mixup"),
            "one record": lambda spec: spec.id == study("all", "tiny")[-1].id,
        }[kept]
        world.train("all", lambda spec: bent(spec, 0.2) | features(spec, 0.2) if keep(spec) else None)
        verdicts = evaluate("tiny", world.store)
        json.loads(to_json(verdicts))
        if kept == "one seed":
            assert {verdict.as_stated for verdict in verdicts} <= {"unresolved", "not run"}

    def test_models_without_any_answer_never_crash(self, world):
        """Constant logits and features: no entropy to match, no direction, nothing to take a logarithm of."""

        def constant(spec: RunSpec) -> Tensors:
            alive = bent(spec, 0.1) | features(spec, 0.1)
            return {name: tensor if "labels" in name else torch.zeros_like(tensor) for name, tensor in alive.items()}

        world.train("all", constant)
        for verdict in evaluate("tiny", world.store):
            assert verdict.as_stated != "supported"

    def test_unknown_names_get_the_nearest(self, world):
        with pytest.raises(SpecError, match="must be one of a, b"):
            evaluate("tiny", world.store, ["z"])

    def test_pages_of_one_build_judge_once_and_say_the_same(self, world, tmp_path, monkeypatch):
        world.train("all", lambda spec: bent(spec, 0.2) | features(spec, 0.2) if spec.seed < 1 else None)  # numbers that do not exist too
        first = evaluate("tiny", world.store)
        folder = tmp_path / "verdicts"
        folder.mkdir()
        monkeypatch.setenv(KEPT, str(folder))
        assert repr(evaluate("tiny", world.store)) == repr(first)  # nan is not equal to itself
        for name in CLAIMS:
            monkeypatch.setitem(CLAIMS, name, replace(CLAIMS[name], judge=lambda evidence: 1 / 0))
        assert repr(evaluate("tiny", world.store)) == repr(first)
        empty = evaluate("tiny", RecordStore(tmp_path / "empty"))
        assert {verdict.as_stated for verdict in empty} == {"not run"}  # of another store
        monkeypatch.delenv(KEPT)
        with pytest.raises(ZeroDivisionError):
            evaluate("tiny", world.store)


# --- (a) ------------------------------------------------------------------------------------------------------------------

MANY = replace(TINY, seeds=6, sweep_seeds=6, teacher_seeds=6)


def teacher(spec: RunSpec, *, private: float = 0.0, shared: float = 0.0, leak: float = 0.1) -> Tensors:
    """A teacher that answers clean inputs with its class and the class's own tail. On mixed ones the log tail of the honest mixture
    moves by `private` noise of its own and `shared` noise that all teachers have, and holds the mass `leak` (.1 is honest)."""
    labels, tails = pairs(), torch.randn(K, K, generator=torch.Generator().manual_seed(3))
    tails = tails.fill_diagonal_(-math.inf).softmax(1)
    sharp = torch.eye(K) * 0.9 + 0.1 * tails
    mixture = torch.stack([lam * sharp[labels[:, 0]] + (1 - lam) * sharp[labels[:, 1]] for lam in LAM_GRID])
    inside = torch.zeros(PAIRS, K).scatter_(1, labels, 1.0).bool()
    own, common = (torch.randn(PAIRS, K, generator=torch.Generator().manual_seed(seed)) for seed in (int(spec.id[:6], 16), 0))
    tail = (mixture.log() + private * own + shared * common).masked_fill(inside, -math.inf).softmax(-1)
    within = mixture.masked_fill(~inside, 0)
    mass = torch.full_like(mixture[..., :1], leak) if leak > 0.1 else mixture.masked_fill(inside, 0).sum(-1, keepdim=True)
    answer = tail * mass + within / within.sum(-1, keepdim=True) * (1 - mass)
    answer[0], answer[-1] = mixture[0], mixture[-1]
    jitter = 0.05 * torch.randn(answer.shape, generator=torch.Generator().manual_seed(int(spec.id[:6], 16) + 1))
    return clean() | probe(answer.clamp_min(1e-9).log() + jitter)


class TestSignal:
    def fill(self, world: World, *, met: float = 0.0, **fields: float) -> None:
        """Six teachers of each kind; those that met mixed inputs have `met` private noise left."""
        world.profile = MANY
        world.train("teachers", lambda spec: teacher(spec, **fields))
        world.train("mixup_teachers", lambda spec: teacher(spec, private=met))

    def test_confusion(self, world):
        self.fill(world, private=4)
        verdict = world.judge("a")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "supported")

    def test_structure(self, world):
        self.fill(world)
        verdict = world.judge("a")
        assert verdict.as_stated == "not supported"
        assert {row.outcome for row in verdict.stated} == {"not supported"}  # each row can say no

    def test_what_every_teacher_says_is_not_confusion(self, world):
        self.fill(world, shared=4)
        assert world.judge("a").as_stated == "not supported"

    def test_a_little_noise_is_not_domination(self, world):
        self.fill(world, private=0.3)
        verdict = world.judge("a")
        level, drop = verdict.stated[:2]
        assert (level.outcome, drop.outcome) == ("not supported", "supported")
        assert verdict.as_stated == "not supported"

    def test_a_common_leak_outweighs_a_confused_tail(self, world):
        self.fill(world, private=4, leak=0.9)
        verdict = world.judge("a")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "not supported")

    def test_teachers_that_met_mixed_inputs_are_as_confused(self, world):
        self.fill(world, private=4, met=4)
        verdict = world.judge("a")
        assert verdict.as_stated == "supported"
        assert verdict.attributed != "supported"

    def test_one_capacity_without_confusion_is_enough(self, world):
        world.profile = MANY
        world.train("teachers", lambda spec: teacher(spec, private=4 if spec.student == TINY.default_teacher else 0))
        assert world.judge("a").as_stated == "not supported"

    def test_teachers_that_differ(self, world):
        world.train("teachers", lambda spec: teacher(spec, private=4 if spec.seed == 0 else 0))
        assert world.judge("a").as_stated == "unresolved"

    @pytest.mark.parametrize("count", [1, 2])
    def test_too_few_teachers(self, world, count):
        world.train("teachers", lambda spec: teacher(spec, private=4) if spec.seed < count else None)
        verdict = world.judge("a")
        assert verdict.as_stated == verdict.attributed == "unresolved"


# --- (b), (c) -------------------------------------------------------------------------------------------------------------


def everything_bent(world: World, ours: float, *, rival: float = 0.5, teacher: float = 0.5) -> None:
    """Students and teachers of claim (b): kd_mixup of the recipe bends by `ours`, every rival by `rival`, teachers by `teacher`."""
    world.train("teachers", lambda spec: bent(spec, teacher))
    world.train("linearity", lambda spec: bent(spec, ours if is_ours(spec) else rival))


def is_ours(spec: RunSpec) -> bool:
    return spec.arm == "kd_mixup" and spec.teacher is not None and spec.teacher.model == TINY.default_teacher


class TestLinearity:
    def test_more_linear_than_all(self, world):
        everything_bent(world, 0.1)
        verdict = world.judge("b")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "supported")

    def test_less_linear_than_its_teacher(self, world):
        everything_bent(world, 0.8)
        assert world.judge("b").as_stated == "not supported"

    def test_a_rival_as_linear(self, world):
        everything_bent(world, 0.1, rival=0.05)
        verdict = world.judge("b")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "not supported")
        assert all(row.outcome == "not supported" for row in verdict.rivals)

    def test_seeds_that_differ(self, world):
        world.train("teachers", lambda spec: bent(spec, 0.4))
        world.train("linearity", lambda spec: bent(spec, 0.1 if spec.seed == 0 else 0.9))
        assert world.judge("b").as_stated == "unresolved"

    def test_scalings_that_disagree(self, world):
        """Straighter logits, but so sharp at equal clean entropy that the probabilities jump: the choice of scaling would decide."""
        world.train("teachers", lambda spec: bent(spec, 0.1, scale=2))
        world.train("linearity", lambda spec: bent(spec, 0.05, scale=20))
        verdict = world.judge("b")
        assert {row.outcome for row in verdict.stated} == {"supported", "not supported"}
        assert verdict.as_stated == "unresolved"


class TestImitation:
    def displaced(
        self, world: World, ours: Callable[[RunSpec], float], plain: float = 0.0, stranger: float = 0.0, apart: float = 0.0
    ) -> None:
        """Students part of the way from their teacher's answer to the mixture of its clean answers; teachers that lie `apart` as far
        (1: each bends in a direction of its own, so that an independent one scores about 1)."""

        def answers(spec: RunSpec) -> tuple[Tensor, Tensor]:
            own = torch.randn(PAIRS, K, generator=torch.Generator().manual_seed(spec.seed + 10))
            both = torch.randn(PAIRS, K, generator=torch.Generator().manual_seed(1))
            labels = pairs()
            first, second = (4.0 * torch.nn.functional.one_hot(labels[:, side], K).float() for side in (0, 1))
            p = along(second, first, 2 * (apart * own + (1 - apart) * both)).softmax(-1)
            lam = torch.tensor(LAM_GRID)[:, None, None]
            return p, lam * p[-1] + (1 - lam) * p[0]

        world.train("teachers", lambda spec: clean() | probe(answers(spec)[0].log()))

        def student(spec: RunSpec) -> Tensors | None:
            if spec.arm not in ("kd", "kd_mixup", "ce"):
                return None
            p, m = answers(spec.replace(seed=TINY.teacher_seed(spec.seed)))
            share = {"kd": plain, "ce": stranger}.get(spec.arm, ours(spec)) + 0.01 * noise(spec, "s")
            return clean() | probe(((1 - share) * p + share * m).clamp_min(1e-6).log())

        world.train("linearity", student)

    def test_towards_the_line(self, world):
        self.displaced(world, lambda spec: 0.9)
        verdict = world.judge("c")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "supported")

    def test_an_imitator(self, world):
        self.displaced(world, lambda spec: 0.0)
        assert world.judge("c").as_stated == "not supported"

    def test_no_further_than_an_independent_teacher(self, world):
        self.displaced(world, lambda spec: 0.3, apart=1.0)
        verdict = world.judge("c")
        assert verdict.shown[0].low > DISPLACEMENT_MARGIN  # measured from 0 it would have passed
        assert verdict.as_stated == "not supported"

    def test_clean_distillation_does_it_too(self, world):
        self.displaced(world, lambda spec: 0.7, plain=0.9)
        verdict = world.judge("c")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "not supported")

    def test_a_student_without_a_teacher_does_it_too(self, world):
        self.displaced(world, lambda spec: 0.7, stranger=0.9)
        verdict = world.judge("c")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "not supported")

    def test_seeds_that_differ(self, world):
        self.displaced(world, lambda spec: 0.4 * spec.seed)
        assert world.judge("c").as_stated == "unresolved"

    def test_one_teacher_for_all(self, world):
        world.profile = replace(TINY, teacher_seeds=1)
        self.displaced(world, lambda spec: 0.9)
        verdict = world.judge("c")
        assert verdict.as_stated == "unresolved"
        assert "independent" in verdict.note


# --- (d) ------------------------------------------------------------------------------------------------------------------

RIVALS = {"ce": (0.8, 1.0), "label_smoothing": (0.8, 1.0), "mixup": (0.8, 1.0), "kd": (0.8, 1.0)}


class TestAccuracy:
    def test_better_than_all(self, world):
        world.train("accuracy", lambda spec: core(spec, RIVALS | {"kd_mixup": (0.9, 1.0)}))
        verdict = world.judge("d")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "supported")

    def test_worse(self, world):
        world.train("accuracy", lambda spec: core(spec, RIVALS | {"kd_mixup": (0.7, 1.0)}))
        assert world.judge("d").as_stated == "not supported"

    def test_one_capacity_that_fails_is_enough(self, world):
        def made(spec: RunSpec) -> Tensors:
            weak = spec.teacher is not None and spec.teacher.model == TINY.teachers[0]
            return core(spec, RIVALS | {"kd_mixup": (0.7 if weak else 0.9, 1.0)})

        world.train("accuracy", made)
        assert world.judge("d").as_stated == "not supported"

    def test_mixup_alone_does_it(self, world):
        world.train("accuracy", lambda spec: core(spec, RIVALS | {"kd_mixup": (0.9, 1.0), "mixup": (0.95, 1.0)}))
        verdict = world.judge("d")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "not supported")

    def test_noise(self, world):
        world.train("accuracy", lambda spec: core(spec, RIVALS | {"kd_mixup": (0.82, 1.0)}, jitter=0.05))
        assert world.judge("d").as_stated == "unresolved"


# --- (e) ------------------------------------------------------------------------------------------------------------------

SURE = {"label_smoothing": (0.8, 3.0), "mixup": (0.8, 3.0), "kd": (0.8, 3.0), "ce": (0.8, 5.0)}


class TestOverconfidence:
    def fill(self, world: World, ours: tuple[float, float], n: int = 4000) -> None:
        world.train("overconfidence", lambda spec: core(spec, SURE | {"kd_mixup": ours}, n=n))

    def test_an_order_of_magnitude(self, world):
        self.fill(world, (0.9, 1.08))
        verdict = world.judge("e")
        assert verdict.as_stated == "supported"
        assert verdict.attributed == "not supported"  # one temperature removes all that ce has too much
        unexplained = [row.what for row in verdict.rivals if row.outcome == "not supported"]
        assert len(unexplained) == 1
        assert "temperature-scaled ce" in unexplained[0]

    def test_a_temperature_that_does_not_help(self, world):
        def made(spec: RunSpec) -> Tensors:
            if spec.arm == "kd_mixup":
                return clean(0.9, 1.08 + 0.002 * noise(spec), n=4000)
            return clean(0.8, 5 + 0.1 * noise(spec), val=1.0, n=4000)  # calibrated on validation, sure of itself on test

        world.train("overconfidence", made)
        verdict = world.judge("e")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "supported")

    def test_less_than_an_order(self, world):
        self.fill(world, (0.8, 3.0))
        assert world.judge("e").as_stated == "not supported"

    def test_underconfidence_is_no_success(self, world):
        self.fill(world, (0.9, 0.4))
        verdict = world.judge("e")
        assert verdict.as_stated == "not supported"
        assert verdict.stated[1].outcome == "not supported"

    def test_the_noise_floor(self, world):
        self.fill(world, (0.9, 1.08), n=150)
        verdict = world.judge("e")
        assert verdict.stated[0].low > 1  # the ratio alone would do
        assert verdict.as_stated == "unresolved"
        assert "unresolvable" in verdict.note

    def test_noise(self, world):
        world.train("overconfidence", lambda spec: core(spec, SURE | {"kd_mixup": (0.9, (1.05, 1.1, 3.0)[spec.seed])}, n=4000))
        verdict = world.judge("e")
        assert verdict.stated[0].outcome == verdict.as_stated == "unresolved"

    def test_no_overconfidence_at_all_has_no_ratio(self, world):
        self.fill(world, (0.9, 0.9))
        first = world.judge("e").stated[0]
        assert math.isnan(first.estimate)
        assert first.outcome == "unresolved"


# --- (f) ------------------------------------------------------------------------------------------------------------------


class TestPropagation:
    def fill(
        self,
        world: World,
        passed: float = 1.0,
        followed: float = 1.0,
        lost: float = 0.0,
        weaker: float = 1.0,
        jitter: float = 0.01,
        small: float = 0.85,
        early: float = 0.6,
    ) -> None:
        """Students whose log T* is `passed` times minus log T of the teacher; `followed` how far confidence follows h(x); `lost` accuracy
        for each unit of log T; `weaker` the sharpness of students of the small teacher; `small` and `early` the accuracies of the small
        teacher and of the one stopped early, where the others have .85."""
        h = torch.randn(600, generator=torch.Generator().manual_seed(0)) * 0.4
        usual = TINY.spec("kd", 0).epochs

        def taught(spec: RunSpec) -> Tensors:
            accuracy = early if spec.epochs != usual else small if spec.student == TINY.teachers[0] else 0.85
            return clean(accuracy + 0.002 * noise(spec))

        def made(spec: RunSpec) -> Tensors:
            assert spec.teacher is not None
            temperature = spec.teacher.temperature if isinstance(spec.teacher.temperature, float) else 1.0
            sharpness = temperature**-passed * math.exp(jitter * noise(spec))
            if spec.teacher.model == TINY.teachers[0]:
                sharpness *= weaker
            spread = spec.teacher.temperature_spread
            tilt = -spread * h * followed if spread else None
            return clean(0.85 - lost * math.log(temperature), sharpness, tilt=tilt) | ({"projection.test": h} if spread else {})

        world.train("propagation", made)
        world.teach("propagation", taught)

    def test_passed_on(self, world):
        self.fill(world)
        verdict = world.judge("f")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "supported")
        assert verdict.stated[0].estimate == pytest.approx(1, abs=0.05)
        assert verdict.rivals[0].estimate == pytest.approx(1, abs=0.05)

    def test_not_passed_on(self, world):
        self.fill(world, passed=-0.5)
        assert world.judge("f").as_stated == "not supported"

    def test_a_tenth_of_it_is_not_passed_on(self, world):
        self.fill(world, passed=0.1)
        verdict = world.judge("f")
        assert verdict.stated[0].low > 0
        assert verdict.as_stated == "not supported"

    def test_accuracy_moves_with_it(self, world):
        self.fill(world, lost=0.05)
        assert world.judge("f").as_stated == "not supported"

    def test_the_teachers_accuracy_moves_it(self, world):
        self.fill(world, weaker=1.5, small=0.7)
        assert world.judge("f").as_stated == "not supported"

    def test_teachers_of_one_accuracy_test_nothing(self, world):
        """Whatever their students do, and however alike they are."""
        for weaker in (1.0, 1.5):
            self.fill(world, weaker=weaker, early=0.85)
            verdict = world.judge("f")
            assert verdict.as_stated == "unresolved"
            assert "not tested" in verdict.note

    def test_one_pair_of_teachers_met_under_many_seeds_is_one_observation(self, world):
        world.profile = replace(world.profile, teacher_seeds=1)
        self.fill(world)
        verdict = world.judge("f")
        assert "not tested" in verdict.note
        assert verdict.as_stated == "unresolved"

    def test_mere_confidence_copying(self, world):
        self.fill(world, followed=-0.2)
        verdict = world.judge("f")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "not supported")

    def test_noise(self, world):
        self.fill(world, passed=0.1, jitter=0.8)
        assert world.judge("f").as_stated == "unresolved"


# --- (g), (i) -------------------------------------------------------------------------------------------------------------


def swept(
    spec: RunSpec, *, gain: float = 0.02, ours: float = 0.4, plain: float = 0.1, scale_only: bool = False, jitter: float = 0.01
) -> Tensors:
    """A student at its tau: accuracy gains `gain`, and log sharpness `ours` (or `plain` for kd), for each unit of log tau. Unless
    `scale_only`, validation data shows half of that, so that a temperature mends no more."""
    assert isinstance(spec.tau, float)
    u = math.log(spec.tau)
    same_seed = RunSpec(data="digits", arm="ce", student="cnn8", seed=spec.seed)  # the noise of a slope, not of its points
    slope = (ours if spec.arm == "kd_mixup" else plain) + jitter * noise(same_seed, spec.arm)
    return clean(0.8 + gain * u, math.exp(slope * u), val=math.exp(slope * u * (1 if scale_only else 0.5)), n=1200)


class TestTradeOff:
    def test_traded(self, world):
        world.train("temperature", swept)
        verdict = world.judge("g")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "supported")

    def test_scale_only(self, world):
        world.train("temperature", lambda spec: swept(spec, scale_only=True))
        verdict = world.judge("g")
        assert verdict.as_stated == "supported"
        assert verdict.attributed != "supported"
        assert "scale of the logits" in verdict.note

    def test_both_improve(self, world):
        world.train("temperature", lambda spec: swept(spec, gain=-0.02))
        assert world.judge("g").as_stated == "not supported"

    def test_neither_moves(self, world):
        world.train("temperature", lambda spec: swept(spec, gain=1e-4 * noise(spec), ours=0, jitter=0.001))
        assert world.judge("g").as_stated == "not supported"

    def test_noise(self, world):
        world.train("temperature", lambda spec: swept(spec, ours=0.1, jitter=0.4))
        assert world.judge("g").as_stated == "unresolved"

    def test_half_a_grid(self, world):
        world.train("temperature", lambda spec: swept(spec) if (spec.seed, spec.tau) != (2, 4.0) else None)
        verdict = world.judge("g")
        assert {row.seeds for row in verdict.stated} == {2}
        assert verdict.missing == 2

    def test_after_scaling_cannot_be_better_than_before(self, world):
        """Calibrated as it is, and mended into a trade-off by a temperature that validation data got wrong."""

        def made(spec: RunSpec) -> Tensors:
            assert isinstance(spec.tau, float)
            u = math.log(spec.tau)
            return clean(0.8 + 0.02 * u + 0.001 * noise(spec), 1.0, val=math.exp(-0.4 * u), n=1200)

        world.train("temperature", made)
        verdict = world.judge("g")
        assert [row.outcome for row in verdict.rivals] == ["supported"] * 3
        assert verdict.as_stated != "supported"


class TestInteraction:
    def test_steeper(self, world):
        world.train("temperature", swept)
        verdict = world.judge("i")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "supported")

    def test_flatter(self, world):
        world.train("temperature", lambda spec: swept(spec, ours=0.1, plain=0.4))
        assert world.judge("i").as_stated == "not supported"

    def test_scale_only(self, world):
        world.train("temperature", lambda spec: swept(spec, scale_only=True))
        verdict = world.judge("i")
        assert verdict.as_stated == "supported"
        assert verdict.attributed != "supported"

    def test_noise(self, world):
        world.train("temperature", lambda spec: swept(spec, ours=0.3, plain=0.25, jitter=0.2))
        assert world.judge("i").as_stated == "unresolved"

    def test_the_other_way_round_is_as_steep(self, world):
        world.train("temperature", lambda spec: swept(spec, ours=-0.1, plain=0.4))
        assert world.judge("i").as_stated == "not supported"

    def test_a_sign_is_not_chosen_from_its_own_data(self, world):
        """Slopes that are noise around 0 have no side on which to be steep."""
        world.profile = MANY

        def made(spec: RunSpec) -> Tensors:
            direction = 1 if spec.seed % 2 else -1
            return swept(spec, ours=0.3 * direction, plain=0.01, scale_only=True)

        world.train("temperature", made)
        assert world.judge("i").as_stated != "supported"

    def test_paired_by_seed_not_by_place(self, world):
        """Each arm lacks another seed; what is left has one seed in common, hence no interval."""
        gone = {"kd": 0, "kd_mixup": 2}
        world.train("temperature", lambda spec: swept(spec) if spec.seed != gone[spec.arm] else None)
        verdict = world.judge("i")
        assert verdict.stated[0].seeds == 1
        assert verdict.as_stated == "unresolved"


# --- (h) ------------------------------------------------------------------------------------------------------------------


def features(spec: RunSpec, bend: float) -> Tensors:
    """Penultimate features whose middle lies off the line by `bend` of its length."""
    generator = torch.Generator().manual_seed(7)
    start, end, aside = (torch.randn(PAIRS, WIDTH, generator=generator) for _ in range(3))
    size = bend * (1 + 0.03 * noise(spec, "h")) * (end - start).norm(dim=1, keepdim=True) / aside.norm(dim=1, keepdim=True)
    return {"features.probe": torch.stack([start, (start + end) / 2 + size * aside, end])}


class TestGeometry:
    def fill(self, world: World, jitter: float = 0.0, **bends: float) -> None:
        bends = {"ce": 0.5, "kd": 0.4, "mixup": 0.3, "label_smoothing": 0.5, "kd_mixup": 0.2} | bends

        def made(spec: RunSpec) -> Tensors:
            return clean() | probe(torch.zeros(len(LAM_GRID), PAIRS, K)) | features(spec, bends[spec.arm] * math.exp(jitter * noise(spec)))

        world.train("overconfidence", made)

    def test_straighter(self, world):
        self.fill(world)
        verdict = world.judge("h")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "supported")
        assert "Accuracies" in verdict.note

    def test_more_bent(self, world):
        self.fill(world, kd_mixup=0.9)
        assert world.judge("h").as_stated == "not supported"

    def test_straighter_than_one_of_two(self, world):
        self.fill(world, kd_mixup=0.45)
        assert world.judge("h").as_stated == "not supported"

    def test_unequal_accuracy_leaves_it_open(self, world):
        def made(spec: RunSpec) -> Tensors:
            bend = 0.2 if spec.arm == "kd_mixup" else 0.5
            answers = clean(0.95 if spec.arm == "kd_mixup" else 0.85)
            return answers | probe(torch.zeros(len(LAM_GRID), PAIRS, K)) | features(spec, bend)

        world.train("overconfidence", made)
        verdict = world.judge("h")
        assert [row.outcome for row in verdict.stated] == ["supported", "supported", "unresolved", "unresolved"]
        assert verdict.as_stated == "unresolved"

    def test_mixup_alone_does_it(self, world):
        self.fill(world, mixup=0.1)
        verdict = world.judge("h")
        assert (verdict.as_stated, verdict.attributed) == ("supported", "not supported")

    def test_noise(self, world):
        self.fill(world, jitter=1.0)
        assert world.judge("h").as_stated == "unresolved"


# --- (a) where the truth is known -----------------------------------------------------------------------------------------


class TestKnownTruth:
    """On Gaussian data the exact posterior is one more judge of claim (a)."""

    @pytest.mark.parametrize(("off", "outcome"), [("mixed", "supported"), ("clean", "not supported")])
    def test_distance_to_the_posterior(self, world, off, outcome):
        from mixkd.data import gaussian_log_posterior, load_data

        world.profile = replace(TINY, data="gaussians", student="mlp16", wider_student="mlp64", teachers=("mlp64",))
        test = load_data("gaussians").splits["test"]
        rows = torch.stack([torch.arange(PAIRS), torch.arange(PAIRS) + 1], 1)
        labels = test.labels[rows]
        first, second = test.images[rows[:, 0]], test.images[rows[:, 1]]
        exact = torch.stack([gaussian_log_posterior("gaussians", lam * first + (1 - lam) * second) for lam in LAM_GRID]).float()

        def made(spec: RunSpec) -> Tensors:
            wrong = torch.tensor([[[1.0 if (off == "clean") == (lam in (0, 1)) else 0.1]] for lam in LAM_GRID])
            logits = exact + (3 + 0.1 * noise(spec)) * wrong * torch.randn(exact.shape, generator=torch.Generator().manual_seed(spec.seed))
            answers = gaussian_log_posterior("gaussians", test.images[:300]).float()
            val = {"logits.val": answers, "labels.val": test.labels[:300], "logits.test": answers, "labels.test": test.labels[:300]}
            return val | {"probe.logits": logits, "probe.labels": labels, "probe.pairs": rows}

        world.train("teachers", made)
        [row] = [row for row in world.judge("a").stated if "exact posterior" in row.what]
        assert row.outcome == outcome


# --- what other settings change -------------------------------------------------------------------------------------------


class TestChanges:
    def test_patience(self, world):
        """Each doubling of the steps gives every arm a point of accuracy, and kd_mixup is five points ahead of all."""
        usual = TINY.spec("kd", 0).epochs

        def made(spec: RunSpec) -> Tensors:
            ahead = 0.05 if spec.arm == "kd_mixup" else 0.0
            answers = clean(0.8 + ahead + 0.01 * math.log2(spec.epochs / usual) + 0.0005 * noise(spec), n=4000)
            return answers | probe(bent(spec, 0.1)["probe.logits"])

        world.train("duration", made)
        found = mixkd.claims.changes("duration", mixkd.claims.Evidence.of("tiny", world.store))
        found = found[found["measure"] == "accuracy"].set_index(["setting", "arm", "against"])["estimate"]
        assert found["4 times the steps", "ce", "itself at the recipe's steps"] == pytest.approx(0.02, abs=0.003)
        assert found["2 times the steps", "kd_mixup", "mixup, equal steps"] == pytest.approx(0.05, abs=0.003)
        assert found["the recipe's steps", "kd_mixup", "kd at 4 times the steps"] == pytest.approx(0.03, abs=0.003)

    def test_amount_of_mixing(self, world):
        def made(spec: RunSpec) -> Tensors:
            return clean(0.8 + (0.02 * spec.alpha if spec.arm == "kd_mixup" and spec.partial == 1 else 0) + 0.0005 * noise(spec), n=4000)

        world.train("mixing", lambda spec: made(spec) | probe(bent(spec, 0.1)["probe.logits"]))
        found = mixkd.claims.changes("mixing", mixkd.claims.Evidence.of("tiny", world.store))
        found = found[found["measure"] == "accuracy"].set_index("setting")["estimate"]
        assert found["alpha 4"] == pytest.approx(0.06, abs=0.003)
        assert found["no mixing"] == pytest.approx(-0.02, abs=0.003)
        assert found["25% of each batch"] == pytest.approx(-0.02, abs=0.003)

    def test_nothing_trained_changes_nothing(self, world):
        evidence = mixkd.claims.Evidence.of("tiny", world.store)
        assert mixkd.claims.changes("duration", evidence).empty
        with pytest.raises(SpecError, match="did you mean 'mixing'"):
            mixkd.claims.changes("mixin", evidence)  # type: ignore[arg-type]
