"""What the machine can run: facts that can be checked another way, times that grow with what is missing."""

import json
import os
import shutil

import pytest
import torch
from handmade import written

from mixkd import doctor
from mixkd.cli import main
from mixkd.doctor import Shape
from mixkd.models import build
from mixkd.records import RecordStore
from mixkd.studies import load_profile, study


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return doctor.examine(tmp_path_factory.mktemp("empty"), seconds=0.4, only=["digits", "gaussians"])


def test_it_says_what_is_here(report):
    facts = report["machine"]
    assert facts["cores"] == len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else facts["cores"] >= 1
    assert facts["packages"]["torch"] == torch.__version__.partition("+")[0] or facts["packages"]["torch"] == torch.__version__
    assert facts["chromium"] is None or shutil.which(facts["chromium"])
    assert facts["disk_free_gb"] >= 0
    assert (facts["gpu"] is not None) == torch.cuda.is_available()


def test_it_counts_the_runs_a_store_lacks(report):
    for row in report["profiles"]:
        specs = set(study("all", row["profile"]))
        specs |= {spec.teacher_run() for spec in specs if spec.teacher is not None}
        assert row["runs"] == row["missing"] == len(specs)
        low, high = row["hours"]
        assert 0 < low < high
        assert row["problem"] == ""


def test_what_is_there_needs_no_time(tmp_path):
    store = RecordStore(tmp_path)
    specs = study("overconfidence", "gaussians")[:3]
    for spec in specs:
        written(store, spec)
    [row] = doctor.examine(store, seconds=0.1, only=["gaussians"])["profiles"]
    assert row["runs"] - row["missing"] == 3


@pytest.mark.parametrize("batch", [0.0, 1e9])
def test_costs_are_those_of_the_steps(batch):
    """One second for each FLOP: the sum of images times FLOPs, a teacher shared by its students counted once or each time. And the
    seconds of each batch, whatever is in it."""
    each = doctor.Cost(batch, 1.0)
    profile = load_profile("gaussians")
    first, second = profile.spec("kd_mixup", 0), profile.spec("kd_mixup", 0, tau=4.0)
    images = first.epochs * (100 // first.batch_size) * first.batch_size
    student = 2 * (2 * 16 + 16 * 16 + 16 * 5)
    width = int(first.teacher.model.removeprefix("mlp"))
    teacher = 2 * (2 * width + width * width + width * 5)
    low, high = doctor._costs(profile, [first, second], each, each)
    steps = images // first.batch_size
    assert low == images * (2 * student + teacher) + 3 * steps * batch
    assert high == images * 2 * (student + teacher) + 4 * steps * batch
    assert doctor._costs(profile, [], each, each) == (0, 0)


def test_what_a_batch_takes_is_told_from_what_its_images_take(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(doctor.time, "perf_counter", lambda: clock[0])

    def work(n):
        clock[0] += 5 + 0.25 * n

    own, image = doctor._timed(work, 64, 400.0, torch.device("cpu"))
    assert own == pytest.approx(5)
    assert image == pytest.approx(0.25)

    def noise(n):  # where a large batch happened to be faster than a small one
        clock[0] += 5 - 0.01 * n

    own, image = doctor._timed(noise, 64, 400.0, torch.device("cpu"))
    assert own == pytest.approx(5 - 0.64)
    assert image == 0


def test_flops_without_memory_are_those_of_the_network():
    shape = Shape(1, 7, 3, 32, "")
    assert doctor._flops("torchvision:shufflenet_v2_x0_5", shape) == build("torchvision:shufflenet_v2_x0_5", 7).describe().flops


@pytest.mark.parametrize(
    ("hours", "text"),
    [((0.001, 0.01), "3.6 to 36 s"), ((0.1, 0.5), "6 to 30 min"), ((1.25, 40), "1.2 to 40 h"), ((100, 500), "4.2 to 21 days"),
     ((9000, 90000), "1 to 10 years"), ((0, 0), "nothing to do"), (None, "")],
)  # fmt: skip
def test_ranges_read_in_one_unit(hours, text):
    assert doctor._span(hours) == text


def test_the_command_prints_a_table_or_json(capsys, tmp_path, monkeypatch, report):
    monkeypatch.setattr(doctor, "examine", lambda store, **_: report)
    assert main(["doctor", "--store", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for word in ("processor", "digits", "gaussians", "time here", "ships with a dependency"):
        assert word in out
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["profiles"][0]["profile"] == "digits"


def test_no_time_is_refused(capsys):
    assert main(["doctor", "--seconds", "0"]) == 2
    assert "seconds = 0.0" in capsys.readouterr().err


def test_a_profile_whose_networks_cannot_be_built_says_why(tmp_path, monkeypatch):
    def missing(*_):
        raise ModuleNotFoundError("timm is not installed")

    monkeypatch.setattr(doctor, "_network", missing)
    [row] = doctor.examine(tmp_path, seconds=0.1, only=["digits"])["profiles"]
    assert row["hours"] is None
    assert row["problem"] == "timm is not installed"
    assert "timm is not installed" in doctor.to_text({"machine": doctor._machine(tmp_path, torch.device("cpu")), "profiles": [row]})
