"""The plan: what is trained for whom, that equal runs are trained once, that ids of records that lie on disk do not move."""

from dataclasses import replace

import pytest

import mixkd.studies
from mixkd.spec import SpecError
from mixkd.studies import LENGTHS, STUDIES, load_profile, profiles, stopped_early, study

RECORDED = """
baab3f3092ab03dd 4614fff59d8fa1d7 2fd4a68c4123e2e4 8b96c0177de9fd61 bee934bc670ee420 e4ad9743354bc4b8 c611208fac0fb5c1 98b617ac27c2fe17
6f7383ac30979468 353d78153eff0863 472f1cd11db91e2c 3e2325f66e416ef0 17ef95f4ba5e5e30 a2f6d4de06cad086 f025b4546ee81eb7
"""


@pytest.mark.parametrize("profile", profiles())
@pytest.mark.parametrize("name", STUDIES)
def test_every_study_of_every_profile_is_a_plan(profile, name):
    specs = study(name, profile)
    assert bool(specs) == (name not in load_profile(profile).without)
    assert len({spec.id for spec in specs}) == len(specs)


def test_ids_of_recorded_images_do_not_move():
    """A record is found by its id: a changed field or default must not orphan hours of training."""
    assert [spec.id for spec in study("overconfidence", "cifar10-jpeg")] == RECORDED.split()
    assert [spec.id for spec in study("teachers", "cifar10-jpeg")] == ["1de8466d2e306ecd"]


def test_each_student_of_digits_and_gaussians_has_a_teacher_of_its_own():
    for profile in ("digits", "gaussians"):
        taught = {spec.seed: spec.teacher.seed for spec in study("overconfidence", profile) if spec.teacher}
        assert len(set(taught.values())) == len(taught) == 6
        assert not set(taught) & set(taught.values())  # no network starts from the weights its teacher started from


def test_a_shared_teacher_is_that_of_the_seed_modulo_their_number():
    profile = load_profile("cifar10")
    for spec in study("accuracy", "cifar10"):
        if spec.teacher:
            assert spec.teacher.seed == spec.seed % profile.teacher_seeds


def runs(profile):
    specs = {spec.id: spec for spec in study("all", profile)}
    return specs | {run.id: run for spec in specs.values() if (run := spec.teacher_run())}


def test_the_digits_fit_their_budget():
    assert len(runs("digits")) <= 300


@pytest.mark.parametrize("profile", profiles())
def test_nothing_is_trained_twice_to_keep_more_of_it(profile):
    """A run that one study examines and another only counts would be two runs."""
    seen = {}
    for spec in runs(profile).values():
        bare = spec.replace(extras=True).canonical()
        assert seen.setdefault(bare, spec.id) == spec.id, bare


@pytest.mark.parametrize("profile", profiles())
def test_whoever_is_asked_about_mixed_inputs_keeps_the_answers(profile):
    for name in ("overconfidence", "linearity", "teachers", "mixup_teachers"):
        assert all(spec.extras is not False for spec in study(name, profile)), name


@pytest.mark.parametrize("profile", profiles())
def test_no_student_of_a_study_of_length_has_another_teacher(profile):
    for name in ("duration", "linearity"):
        specs = [spec for spec in study(name, profile) if spec.arm == "kd" and spec.teacher.model == load_profile(profile).default_teacher]
        assert len({(spec.seed, spec.teacher_run().id) for spec in specs}) == len({spec.seed for spec in specs}), name


@pytest.mark.parametrize("profile", profiles())
def test_a_teacher_that_was_stopped_early_was_not_trained_to_the_end_before(profile):
    plan = load_profile(profile)
    teacher, early = plan.teacher(plan.first_seed), stopped_early(plan, plan.first_seed)
    assert early.pretrained == (None if teacher.as_it_is else teacher.pretrained)
    assert early.epochs < (teacher.epochs or plan.spec("kd", plan.first_seed).epochs)


@pytest.mark.parametrize("profile", ["digits", "cifar10", "cifar10-jpeg"])
def test_a_longer_student_keeps_its_teacher_and_the_shape_of_its_schedule(profile):
    plan, [plain] = load_profile(profile), study("overconfidence", profile)[3:4]
    longer = [spec for spec in study("duration", profile) if spec.arm == "kd" and spec.seed == plain.seed]
    assert sorted(spec.epochs // plain.epochs for spec in longer) == [1, *LENGTHS]
    for spec in longer:
        assert spec.teacher_run().id == plain.teacher_run().id
        times = spec.epochs // plain.epochs
        assert spec.milestones == tuple(times * epoch for epoch in plain.milestones)
    assert plan.spec("kd", plain.seed) in longer


def test_a_longer_student_of_a_teacher_with_a_schedule_of_its_own(monkeypatch):
    own = replace(load_profile("cifar10"), teacher_recipe={"epochs": 100, "milestones": (60, 80)})
    longer = mixkd.studies._longer(own, "kd_mixup", 0, 4)
    assert longer.milestones == (600, 720, 840)
    assert (longer.teacher_run().epochs, longer.teacher_run().milestones) == (100, (60, 80))
    early = stopped_early(own, 0)
    assert (early.epochs, early.milestones) == (12, (8, 10))
    assert own.spec("kd_mixup", 0, teacher=early).teacher_run().epochs == 12


def test_a_profile_can_leave_a_study_out():
    assert study("mixing", "gaussians") == []
    assert not {spec.arm for spec in study("all", "gaussians")} & {"kd_noise", "kd_shuffled_tail"}


def test_unknown_profile_and_study_name_the_nearest():
    with pytest.raises(SpecError, match="did you mean 'digits'"):
        load_profile("digit")
    with pytest.raises(SpecError, match="did you mean 'temperature'"):
        study("temperatur")
