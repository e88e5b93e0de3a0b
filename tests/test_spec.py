"""Specs: stable ids, and errors that teach."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixkd.spec import RunSpec, SpecError, TeacherSpec, build_spec

KD = {"data": "digits", "arm": "kd_mixup", "student": "cnn8", "teacher": TeacherSpec(model="cnn32")}


@pytest.mark.parametrize(
    ("changes", "id"), [({}, "2ccbf72e63346017"), ({"seed": 3, "tau": 4}, "c11196ccc1f38308"), ({"arm": "kd"}, "1f0ff4bc88e6b1d8")]
)
def test_ids_never_change(changes, id):
    """Committed records are found by id: if this fails, a default changed and every record is orphaned."""
    assert RunSpec(**{**KD, **changes}).id == id


def test_spelling_a_default_out_changes_nothing():
    assert RunSpec(**KD).id == RunSpec(**KD, tau=2, alpha=1, lam_per="sample", kd_weight=1.0).id
    assert RunSpec(**KD, tau=2) == RunSpec(**KD, tau=2.0)
    assert RunSpec(**{**KD, "arm": "ce", "teacher": None}).id == RunSpec(data="digits", arm="ce", student="cnn8").id


@given(
    tau=st.one_of(st.floats(0.1, 20), st.just("std")),
    alpha=st.floats(0, 8),
    partial=st.floats(0, 1),
    seed=st.integers(0, 10**9),
    temperature=st.floats(0.1, 9),
)
def test_canonical_json_round_trips(tau, alpha, partial, seed, temperature):
    teacher = TeacherSpec(model="cnn32", temperature=temperature)
    spec = RunSpec(**{**KD, "teacher": teacher}, tau=tau, alpha=alpha, partial=partial, seed=seed)
    again = RunSpec(**json.loads(spec.canonical()))
    assert again == spec
    assert again.id == spec.id
    assert hash(again) == hash(spec)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arm": "kd_mixpu"}, ["'kd_mixpu'", "label_smoothing", "did you mean 'kd_mixup'"]),
        ({"taau": 1}, ["taau", "no such field", "did you mean 'tau'"]),
        ({"tau": 0}, ["tau = 0", "greater than 0", "std"]),
        ({"tau": "sdt"}, ["'sdt'", "did you mean 'std'"]),
        ({"partial": 1.5}, ["partial = 1.5", "less than or equal to 1"]),
        ({"smoothing": 0.1}, ["smoothing = 0.1", "arm 'kd_mixup' does not use it", "label_smoothing"]),
        ({"arm": "ce"}, ["teacher", "arm 'ce' does not use it"]),
        ({"teacher": None}, ["needs a teacher"]),
        ({"kd_weight": 0}, ["kd_weight", "ce"]),
        ({"arm": "kd_clean_ce_mixed"}, ["ce_weight"]),
        ({"teacher": {"model": "cnn32", "arm": "kd"}}, ["teacher", "'kd'", "label_smoothing"]),
        ({"teacher": {"model": "cnn32", "alpha": 0.2}}, ["alpha = 0.2", "arm 'ce' does not use it"]),
        ({"milestones": (3,)}, ["milestones", "cosine"]),
        ({"teacher": {"model": "cnn32", "milestones": (3,)}}, ["teacher.milestones = (3,)", "cosine"]),
        ({"schedule": "step", "milestones": (9, 3)}, ["(9, 3)", "grow"]),
        ({"nesterov": True}, ["nesterov", "adamw"]),
        ({"warmup": 40}, ["warmup", "40"]),
        ({"teacher": {"model": "cnn32", "temperature_factor": 0.5}}, ["temperature_factor = 0.5", "temperature = 0.5 instead"]),
        ({"data": "folder:"}, ["folder:PATH"]),
        ({"epochs": 0}, ["epochs = 0: must be at least 1; only a pretrained"]),
        ({"tau": -1, "alpha": -2}, ["tau = -1", "alpha = -2"]),
        ({"lr": float("nan")}, ["lr", "finite"]),
    ],
)
def test_bad_fields_are_explained(changes, words):
    with pytest.raises(SpecError) as caught:
        RunSpec(**{**KD, **changes})
    for word in words:
        assert word in str(caught.value)


def test_replace_drops_what_the_new_arm_does_not_use_and_keeps_the_rest():
    spec = RunSpec(**KD, tau=4, seed=2, epochs=3)
    assert spec.replace(arm="ce") == RunSpec(data="digits", arm="ce", student="cnn8", seed=2, epochs=3)
    with pytest.raises(SpecError, match="does not use"):
        spec.replace(arm="ce", tau=1)


def test_tempering_a_teacher_gives_another_student_of_the_same_teacher():
    tempering = [{}, {"temperature": 3, "temperature_spread": 0.5}, {"temperature": "fitted"}]
    tempering += [{"temperature": "fitted", "temperature_factor": factor} for factor in (0.5, 2.0)]
    specs = [RunSpec(**{**KD, "teacher": TeacherSpec(model="cnn32", **fields)}) for fields in tempering]
    assert len({spec.id for spec in specs}) == len(specs)
    specs.append(specs[0].replace(seed=5, tau=8))
    assert len({spec.teacher_run() for spec in specs}) == 1
    assert specs[0].replace(teacher=TeacherSpec(model="cnn32", seed=1)).teacher_run() != specs[0].teacher_run()


def test_a_teacher_passes_over_its_own_rows_or_those_of_its_students():
    def rows(spec, **own):
        run = RunSpec(**{**KD, "teacher": TeacherSpec(model="cnn32", **own)}, **spec).teacher_run()
        return run.train_skip, run.train_size

    assert rows({"train_size": 200}) == (0, 200)
    assert rows({"train_size": 200}, train_skip=200) == (200, 200)
    assert rows({"train_size": 200}, train_skip=200, train_size="all") == (200, None)
    assert rows({"train_skip": 50, "train_size": 200}) == (50, 200)
    assert rows({"train_skip": 50, "train_size": 200}, train_skip=0, train_size=40) == (0, 40)
    one, other = RunSpec(**KD, train_size=200), RunSpec(**KD, train_size=200, train_skip=200)
    assert one.id != other.id
    assert one.cohort() != other.cohort()  # they see other images


def test_a_teacher_inherits_the_recipe_but_not_the_objective():
    own = TeacherSpec(model="resnet20", arm="mixup", alpha=0.4, epochs=7, train_size="all")
    spec = RunSpec(data="cifar10", arm="kd_mixup", student="resnet8", teacher=own, train_size=500, tau=4, optimizer="sgd", lr=0.1, epochs=3)
    teacher = spec.teacher_run()
    assert (teacher.arm, teacher.alpha, teacher.epochs, teacher.train_size) == ("mixup", 0.4, 7, None)
    assert (teacher.student, teacher.optimizer, teacher.lr, teacher.teacher) == ("resnet20", "sgd", 0.1, None)


def test_defaults_yield_but_given_fields_do_not():
    assert build_spec({"tau": 4, "data": "digits", "student": "cnn8"}, {"arm": "ce"}).arm == "ce"
    with pytest.raises(SpecError, match="tau = 4"):
        build_spec({"data": "digits", "student": "cnn8"}, {"arm": "ce", "tau": 4})
