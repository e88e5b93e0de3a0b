"""On Colab: the scale fits machine, page and time; records go where they outlive it; a killed session is continued bit for bit."""

import re
import sys
import tomllib
import types
from functools import partial
from pathlib import Path

import pytest
from handmade import CPU

from mixkd import colab
from mixkd.chapters import studies_of
from mixkd.store import RecordStore
from mixkd.studies import load_profile, one, study

CORE = ("overconfidence",)


@pytest.mark.parametrize(
    ("studies", "memory", "minutes", "profile", "seeds"),
    [
        (["all"], 15, 180, "colab", 6),  # a T4 for an afternoon: everything
        (["all"], 15, 90, "colab", 4),  # as many seeds as fit
        (CORE, 15, 30, "colab", 6),  # one page takes its share
        (CORE, 15, 10, "colab", 4),
        (CORE, 15, 3, "digits", 6),  # a T4 for a coffee
        (CORE, 0, 240, "digits", 6),  # no GPU
        (CORE, 1.5, 240, "digits", 6),  # a GPU that others fill
        (["all"], 80, 20000, "cifar10", 6),  # an A100 for weeks
    ],
)
def test_the_largest_scale_that_fits_is_chosen(studies, memory, minutes, profile, seeds):
    plan = colab.choose(studies, memory, minutes)
    assert (plan.profile, plan.seeds) == (profile, seeds)
    assert plan.minutes <= minutes
    assert not load_profile(profile).data.startswith("folder:"), "every scale gets its data by itself"
    assert {spec.seed for spec in plan.specs if spec.teacher} == set(load_profile(profile).core_seeds[:seeds])


def test_a_page_trains_its_own_studies():
    studies = studies_of("09-temperature")
    assert set(colab.choose(studies, 15, 180).specs) == {spec for name in studies for spec in study(name, "colab")}


def test_too_little_time_says_what_it_takes():
    with pytest.raises(ValueError, match=r"MINUTES = 0.01: training takes 0.\d+ or more"):
        colab.choose(CORE, 80, 0.01)


@pytest.mark.parametrize(("train", "studies"), [(False, CORE), (True, ())])
def test_without_training_the_committed_records_are_shown(capsys, train, studies):
    assert colab.start(studies, train=train, minutes=0, drive=True) == ("digits", "committed")
    assert "nothing is trained" in capsys.readouterr().out


RUNS = [one("digits", arm=arm, epochs=2, **({"teacher_epochs": 1} if arm != "ce" else {})) for arm in ("ce", "kd_mixup")]


@pytest.fixture
def drive(tmp_path, monkeypatch):
    """A machine of Colab's without a GPU, whose Drive is a folder here; returns what was mounted."""
    mounted = []
    module = types.ModuleType("google.colab.drive")

    def mount(place):
        mounted.append(place)
        (tmp_path / "drive" / "MyDrive").mkdir(parents=True, exist_ok=True)

    module.mount = mount
    monkeypatch.setitem(sys.modules, "google.colab.drive", module)
    monkeypatch.setattr(colab, "DRIVE", tmp_path / "drive")
    monkeypatch.setattr(colab, "LOCAL", tmp_path / "local")
    monkeypatch.setattr(colab, "gpu", lambda: ("", 0.0))
    monkeypatch.setattr(colab, "study", lambda name, profile: RUNS)
    monkeypatch.setattr(colab, "Machine", lambda: CPU)
    monkeypatch.setattr(colab, "collect", partial(colab.collect, workers=0, progress=False))
    return mounted


def test_records_on_drive_are_found_again_after_a_disconnect(tmp_path, drive):
    profile, store = colab.start(CORE, train=True, minutes=60, drive=True)
    assert profile == "digits"
    assert drive == [str(tmp_path / "drive")]
    assert store == str(tmp_path / "drive" / "MyDrive" / "mixkd-runs")
    stamps = [record.path.stat().st_mtime_ns for record in RecordStore(store).list()]
    assert len(stamps) == 3
    # a second session, where Drive is mounted already
    assert colab.start(CORE, train=True, minutes=60, drive=False) == (profile, store)
    assert len(drive) == 1
    assert [record.path.stat().st_mtime_ns for record in RecordStore(store).list()] == stamps


def test_without_drive_records_stay_on_the_machine(tmp_path, drive):
    assert colab.start(CORE, train=True, minutes=60, drive=False) == ("digits", str(tmp_path / "local"))
    assert not drive


def test_what_colab_installs_caps_no_version():
    """A cap would replace the newer numpy, torch or ipywidgets that Colab has, under a running kernel."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in [*project["dependencies"], *project["optional-dependencies"]["notebook"]]:
        assert re.fullmatch(r"[a-z0-9-]+>=[0-9.]+", line), line
