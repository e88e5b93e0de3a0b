"""The plan of a reproduction counts what is there and missing, times only what is missing, and trains nothing into the store."""

import pytest
from handmade import CPU, written

from mixkd import plan
from mixkd.cli import main
from mixkd.data import load_data
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.store import RecordStore
from mixkd.studies import STUDIES, study


@pytest.fixture
def a_step_a_second(monkeypatch):
    asked = []
    monkeypatch.setattr(plan, "_step", lambda spec, *_: asked.append(spec) or 1.0)
    return asked


def test_runs_are_counted_by_study_and_shared_ones_timed_once(tmp_path, a_step_a_second):
    store = RecordStore(tmp_path / "store")
    for spec in study("overconfidence", "gaussians")[:3]:
        written(store, spec)
    table = plan.plan(["all"], "gaussians", store, CPU, workers=2).set_index("study")
    assert set(table.index) - {"their teachers"} == set(STUDIES)
    assert table.loc["overconfidence", ["runs", "there"]].tolist() == [len(study("overconfidence", "gaussians")), 3]
    assert (table.there + table.missing == table.runs).all()
    every = set(study("all", "gaussians"))
    every |= {run for spec in every if (run := spec.teacher_run())}
    rows = len(load_data("gaussians").splits["train"].labels)
    every = [spec for spec in every if spec.id not in store]
    steps = sum(spec.epochs * ((spec.train_size or rows - spec.train_skip) // spec.batch_size) for spec in every)
    assert table.minutes.sum() == pytest.approx(steps / 60 / 2)
    kinds = {(spec.student, spec.teacher and spec.teacher.model, spec.batch_size) for spec in every}
    assert len(a_step_a_second) <= len(kinds)


@pytest.mark.parametrize(
    ("data", "student", "teacher", "shape"), [("gaussians", "mlp16", "mlp64", (2, 0, 0)), ("cifar10", "resnet8", "resnet20", (3, 32, 32))]
)
def test_a_step_takes_time(data, student, teacher, shape):
    spec = RunSpec(data=data, arm="kd_noise", student=student, teacher=TeacherSpec(model=teacher), batch_size=20)
    assert 0 < plan._step(spec, CPU, shape, 5) < 10


def test_the_command_trains_nothing(capsys, tmp_path, a_step_a_second):
    assert main(["reproduce", "--profile", "imagenet", "--plan", "--store", str(tmp_path / "store")]) == 0
    out = capsys.readouterr().out
    assert "overconfidence" in out
    assert "minutes here" in out
    assert not (tmp_path / "store").exists()
    assert main(["reproduce", "--profile", "digit", "--plan"]) == 2
