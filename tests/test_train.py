"""Training: a student does not depend on its cohort, nor on being interrupted, nor does a NaN harm its neighbours."""

import math

import pytest
import torch
from handmade import same_students, stopped_after

from mixkd.data import load_data
from mixkd.models import build
from mixkd.objectives import Teacher
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.train import TrainingDiverged, learning_rate, resolve_precision, stream, train_cohort, whole_float32

TEACHER = TeacherSpec(model="cnn16")


def spec(arm="kd_mixup", **fields):
    distils = arm.startswith("kd")
    fields = {"epochs": 2, **({"teacher": TEACHER} if distils else {}), **fields}
    return RunSpec(data="digits", student="cnn8", arm=arm, **fields)


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_size=600)


@pytest.fixture(scope="module")
def teacher():
    network = build("cnn16", 10, in_channels=1, image_size=8, seed=1).eval()
    return Teacher(torch.no_grad()(network))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


COHORT = [
    spec("ce"), spec("label_smoothing"), spec("mixup", alpha=0.4), spec("kd"), spec("kd_mixup"), spec("kd_mixup", tau=8.0),
    spec("kd_mixup", lam_per="batch"), spec("kd_shuffled_tail"), spec("kd_mixed_targets", optimizer="sgd", lr=0.05),
]  # fmt: skip


def test_a_student_is_the_same_bit_for_bit_alone_and_in_a_cohort(data, teacher):
    together = train_cohort(COHORT, data, teacher)
    for student in together:
        same_students(train_cohort([student.spec], data, teacher), [student])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_resuming_mid_epoch_changes_no_bit(data, teacher, tmp_path, precision, optimizer):
    cohort = [spec("kd_mixup", optimizer=optimizer), spec("ce", optimizer=optimizer)]
    whole = train_cohort(cohort, data, teacher, precision=precision)
    with stopped_after(2 * 8 + 1):  # in the middle of step 8 of 12, after the first student
        train_cohort(cohort, data, teacher, precision=precision, checkpoints=tmp_path, checkpoint_seconds=0)
    (tmp_path / f"{cohort[1].id}.pt").unlink()  # as if the kill fell between two checkpoint files: one starts again, one goes on
    same_students(train_cohort(cohort, data, teacher, precision=precision, checkpoints=tmp_path), whole)


def test_float32_is_whole_while_it_is_asked_for():
    flags = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [flag.allow_tf32 for flag in flags]
    with whole_float32():
        assert [flag.allow_tf32 for flag in flags] == [False, False]
    assert [flag.allow_tf32 for flag in flags] == before


def test_training_learns_and_its_curve_is_about_validation(data):
    [student] = train_cohort([spec("ce", epochs=15)], data)
    assert student.losses[-6:].mean() < student.losses[:6].mean() / 3
    assert student.curve[-1]["val_accuracy"] > 0.7
    assert not student.model.training
    assert [row["epoch"] for row in student.curve] == list(range(1, 16))
    assert all(math.isfinite(value) for row in student.curve for value in row.values())
    assert not any("test" in name for row in student.curve for name in row)
    [other] = train_cohort([spec("ce", epochs=15, seed=1)], data)
    assert not torch.equal(student.losses, other.losses)


def test_a_nan_stops_its_run_and_no_other(data, teacher):
    good, bad = spec("ce"), spec("kd_mixup", lr=1e18, optimizer="sgd")
    survivors = train_cohort([good, bad], data, teacher)
    assert isinstance(survivors[1].error, TrainingDiverged)
    assert bad.id in str(survivors[1].error)
    assert "step" in str(survivors[1].error)
    assert survivors[0].error is None
    same_students(train_cohort([good], data, teacher), survivors[:1])


def test_specs_and_precisions_that_do_not_fit_are_named(data):
    with pytest.raises(ValueError, match="share"):
        train_cohort([spec("ce"), spec("ce", seed=1)], data)
    with pytest.raises(ValueError, match=r"batch_size = 9999.*600"):
        train_cohort([spec("ce", batch_size=9999)], data)
    cpu = torch.device("cpu")
    assert [resolve_precision(asked, cpu, "digits") for asked in ("auto", "bf16")] == ["fp32", "bf16"]
    with pytest.raises(ValueError, match="fp23"):
        resolve_precision("fp23", cpu, "digits")


def test_schedules():
    cosine = spec("ce", epochs=10, lr=0.1, warmup=2)
    rates = [learning_rate(cosine, step, 6) for step in range(60)]
    assert rates[0] == pytest.approx(0.1 / 12)
    assert max(rates) == pytest.approx(0.1)
    assert rates[11] == pytest.approx(0.1)
    assert rates[12:] == sorted(rates[12:], reverse=True)
    assert rates[-1] < 1e-3
    steps = spec("ce", epochs=10, lr=0.1, schedule="step", milestones=(4, 8))
    assert [learning_rate(steps, epoch * 6, 6) for epoch in (3, 4, 8)] == pytest.approx([0.1, 0.01, 0.001])
    assert learning_rate(spec("ce", schedule="constant", lr=0.3), 7, 6) == 0.3


def test_streams_are_functions_of_seed_purpose_and_step():
    draw = lambda *key: torch.rand(4, generator=stream(*key)).tolist()  # noqa: E731
    assert draw(0, "mixing", 3) == draw(0, "mixing", 3)
    assert len({tuple(draw(s, p, n)) for s in (0, 1) for p in ("mixing", "noise") for n in (0, 1)}) == 8
