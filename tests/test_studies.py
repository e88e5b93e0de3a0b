"""The plan: what is trained for whom, that equal runs are trained once, and that no teacher saw the images of its students."""

import hashlib
from collections import Counter
from dataclasses import replace

import pytest

import mixkd.studies
from mixkd.data import load_data
from mixkd.spec import SpecError
from mixkd.studies import (
    CALIBRATIONS,
    CORE_ARMS,
    LONGER,
    STUDIES,
    Cell,
    cell_spec,
    cells,
    load_profile,
    one,
    profiles,
    stopped_early,
    study,
)

BY_THE_BOOK = {"cifar10", "cifar100", "authors-cifar100", "imagenet"}
"""Protocols of the literature, whose teachers learn from the images of their students."""


@pytest.mark.parametrize("profile", profiles())
@pytest.mark.parametrize("name", STUDIES)
def test_every_study_of_every_profile_is_a_plan(profile, name):
    specs = study(name, profile)
    assert bool(specs) == (name not in load_profile(profile).without)
    assert len({spec.id for spec in specs}) == len(specs)


@pytest.mark.parametrize("profile", profiles())
def test_a_recipe_stands_whole_in_its_profile(profile):
    """No default of a spec decides how a profile trains."""
    plan = load_profile(profile)
    stated = {"augment", "epochs", "batch_size", "optimizer", "lr", "weight_decay", "schedule", "warmup"}
    stated |= {"momentum", "nesterov"} if plan.recipe["optimizer"] == "sgd" else set()
    stated |= {"milestones", "decay"} if plan.recipe["schedule"] == "step" else set()
    assert stated <= plan.recipe.keys() <= stated | {"train_size", "image_size", "pretrained"}


# --- teachers and their students ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", profiles())
def test_no_teacher_learns_from_an_image_of_its_students(profile):
    taught = [(spec, run) for spec in study("all", profile) if (run := spec.teacher_run())]
    assert taught
    if profile in BY_THE_BOOK:
        assert all(run.train_skip == spec.train_skip == 0 for spec, run in taught)
        return
    for spec, run in taught:
        assert spec.train_skip + spec.train_size <= run.train_skip


@pytest.mark.parametrize("profile", ["digits", "gaussians"])
def test_rows_of_teachers_and_students_are_disjoint_and_every_split_is_apart(profile):
    def rows(spec, *parts):
        data = load_data(spec.data, train_size=spec.train_size, train_skip=spec.train_skip)
        return [{row.numpy().tobytes() for row in data.splits[part].images} for part in parts]

    spec = load_profile(profile).spec("kd", 0)
    own, val, test = rows(spec, "train", "val", "test")
    taught, skipped = rows(spec.teacher_run(), "train", "skipped")
    assert len(own) == spec.train_size
    assert skipped == own
    assert not own & taught
    assert not (own | taught) & (val | test)
    assert not val & test


def test_each_student_of_a_small_profile_has_a_teacher_of_its_own():
    for profile in ("digits", "gaussians", "colab"):
        taught = {spec.seed: spec.teacher.seed for spec in study("overconfidence", profile) if spec.teacher}
        assert len(set(taught.values())) == len(taught) == 6
        assert not set(taught) & set(taught.values())  # no network starts from the weights its teacher started from


# --- the map ------------------------------------------------------------------------------------------------------------


def mapped(profile):
    """The runs of a profile's map that stand in a cell, by arm, seed and cell."""
    plan = load_profile(profile)
    return {
        (arm, seed, cell): cell_spec(plan, arm, seed, cell)
        for arm in ("kd", "kd_mixup")
        for seed in plan.swept_seeds
        for cell in cells(plan, arm)
    }


@pytest.mark.parametrize("profile", profiles())
def test_every_cell_of_kd_has_its_partner_on_mixup_and_none_is_twice(profile):
    plan = load_profile(profile)
    kd, mixed = cells(plan, "kd"), cells(plan)
    for several in (kd, mixed):
        assert max(Counter(several).values()) == 1
    assert set(kd) <= set(mixed)
    specs = mapped(profile)
    assert len({spec.id for spec in specs.values()}) == len(specs)
    assert {spec.id for spec in specs.values()} <= {spec.id for spec in study("map", profile)}
    for (arm, seed, cell), spec in specs.items():
        assert (spec.arm, spec.seed, spec.tau, spec.teacher.model) == (arm, seed, cell.tau, cell.teacher)
        if arm == "kd":
            assert specs["kd_mixup", seed, cell].replace(arm="kd") == spec


@pytest.mark.parametrize("profile", profiles())
def test_the_cell_of_the_paper_is_the_core_runs(profile):
    plan = load_profile(profile)
    core = {spec.id for spec in study("overconfidence", profile)}
    assert plan.paper_cell == Cell(plan.default_teacher, "raw", 2.0)
    assert plan.paper_cell in cells(plan, "kd")
    for seed in plan.core_seeds:
        assert {cell_spec(plan, arm, seed, plan.paper_cell).id for arm in ("kd", "kd_mixup")} <= core


def test_the_map_of_digits_holds_every_calibration_at_every_tau_and_the_sweep():
    plan = load_profile("digits")
    found = cells(plan)
    default = {(cell.calibration, cell.tau) for cell in found if cell.teacher == plan.default_teacher}
    assert default == {(calibration, tau) for calibration in CALIBRATIONS for tau in (1, 2, 4)} | {("raw", tau) for tau in (0.5, 8, "std")}
    others = {(cell.teacher, cell.calibration, cell.tau) for cell in found if cell.teacher != plan.default_teacher}
    assert others == {(model, calibration, 2) for model in ("cnn16", "cnn64") for calibration in ("raw", "fitted")}
    assert {cell.calibration for cell in cells(plan, "kd") if cell.teacher != plan.default_teacher} == {"raw"}


# --- one run ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["digits", "gaussians", "colab"])
def test_one_run_is_that_of_a_study(profile):
    plan = load_profile(profile)
    core = study("overconfidence", profile)
    for arm in CORE_ARMS:
        assert one(profile, arm=arm) in core
        assert one(profile, arm=arm, data=plan.data, tau=None, seed=plan.core_seeds[-1]) in core
    assert one(profile, arm="kd", tau=4.0) in study("temperature", profile)


def test_one_run_on_other_data_keeps_the_recipe_and_no_number_of_rows():
    spec = one("digits", arm="kd", data="folder:pets", image_size=8)
    known = load_profile("digits").recipe
    assert (spec.data, spec.epochs, spec.lr) == ("folder:pets", known["epochs"], known["lr"])
    assert spec.train_size is None
    assert spec.teacher.train_skip is None
    assert spec.teacher_run().train_size is None


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: one("digits", arm="kd_mixpu"), "did you mean 'kd_mixup'"),
        (lambda: one("digits", arm="ce", teacher="cnn16"), "teacher: arm 'ce' has no teacher; leave it out, or choose one of kd, kd_mixup"),
        (lambda: one("digits", arm="mixup", teacher_epochs=3), "teacher_epochs: arm 'mixup' has no teacher"),
        (lambda: one("digits", arm="kd", teacher_temperature_factor=2.0), "teacher: temperature_factor"),
        (lambda: one("digit", arm="ce"), "did you mean 'digits'"),
        (lambda: study("temperatur"), "did you mean 'temperature'"),
    ],
)
def test_what_cannot_be_is_explained(ask, words):
    with pytest.raises(SpecError, match=words):
        ask()


# --- schedules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", profiles())
def test_a_longer_student_keeps_its_teacher_and_the_shape_of_its_schedule(profile):
    plan = load_profile(profile)
    for name in ("duration", "linearity"):
        for spec in study(name, profile):
            if spec.arm == "kd" and spec.teacher.model == plan.default_teacher:
                plain = plan.spec("kd", spec.seed)
                times = spec.epochs // plain.epochs
                assert times in (1, LONGER)
                assert spec.milestones == tuple(times * epoch for epoch in plain.milestones)
                assert spec.teacher_run() == plain.teacher_run()


@pytest.mark.parametrize("profile", profiles())
def test_a_teacher_that_was_stopped_early_was_not_trained_to_the_end_before(profile):
    plan = load_profile(profile)
    teacher, early = plan.teacher(plan.first_seed), stopped_early(plan, plan.first_seed)
    assert early.pretrained == (None if teacher.as_it_is else teacher.pretrained)
    assert early.epochs < (teacher.epochs or plan.spec("kd", plan.first_seed).epochs)


def test_a_longer_student_of_a_teacher_with_a_schedule_of_its_own():
    own = replace(load_profile("cifar10"), teacher_recipe={"epochs": 100, "milestones": (60, 80)})
    longer = mixkd.studies._longer(own, "kd_mixup", 0)
    assert longer.milestones == (300, 360, 420)
    assert (longer.teacher_run().epochs, longer.teacher_run().milestones) == (100, (60, 80))
    early = stopped_early(own, 0)
    assert (early.epochs, early.milestones) == (12, (8, 10))
    assert own.spec("kd_mixup", 0, teacher=early).teacher_run().epochs == 12


@pytest.mark.parametrize(("profile", "runs", "digest"), [("digits", 372, "28b0139d2f921195"), ("gaussians", 246, "482d4510d36f30d5")])
def test_the_ids_of_committed_records_never_change(profile, runs, digest):
    """A field that is added to a spec has a default, which no id says. Where a study is changed on purpose, so is this."""
    specs = study("all", profile)
    ids = sorted({spec.id for spec in specs} | {taught.id for spec in specs if (taught := spec.teacher_run())})
    assert len(ids) == runs
    assert hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16] == digest


def test_a_model_may_have_a_teacher_recipe_of_its_own():
    plan = load_profile("cifar10-jpeg")
    published, trained = plan.teacher(60, "resnet56"), plan.teacher(60)
    assert published.pretrained.startswith("file:")
    assert published.epochs < trained.epochs
    assert trained.pretrained is None
    assert (published.train_skip, published.train_size) == (trained.train_skip, trained.train_size)
    assert one("cifar10-jpeg", arm="kd", teacher="resnet56").teacher == published
    own = one("cifar10-jpeg", arm="kd", teacher="resnet56", teacher_pretrained="file:mine.safetensors").teacher
    assert own.pretrained == "file:mine.safetensors"
    assert own.as_it_is


def test_teachers_made_too_sharp_or_too_soft_may_have_taus_of_their_own():
    plan = load_profile("cifar10-jpeg")
    taus = {name: [cell.tau for cell in cells(plan) if (cell.teacher, cell.calibration) == ("resnet20", name)] for name in CALIBRATIONS}
    assert taus == {"raw": [1, 2, 4, 0.5, 8], "fitted": [1, 2, 4], "half": [2], "double": [2]}
