"""On Colab: the scale fits the machine, records go where they outlive it, and what was trained is not trained again."""

import sys
import types
from functools import partial

import pytest
from handmade import CPU, short

from mixkd import colab
from mixkd.store import RecordStore
from mixkd.studies import load_profile


@pytest.mark.parametrize(
    ("memory", "minutes", "profile"),
    [
        (0, 240, "digits"),  # no GPU
        (15, 240, "cifar10-cpu"),  # a T4 for an afternoon
        (15, 10, "digits"),  # a T4 for a coffee
        (1.5, 240, "digits"),  # a GPU that others fill
        (80, 20000, "cifar10"),  # an A100 for weeks
    ],
)
def test_the_largest_scale_that_fits_is_chosen(memory, minutes, profile):
    assert colab.choose(memory, minutes) == profile


def test_too_little_time_says_what_it_takes():
    with pytest.raises(ValueError, match=f"MINUTES = 1: training takes {load_profile('digits').minutes:g}"):
        colab.choose(80, 1)


def test_every_scale_gets_its_data_by_itself():
    assert all(not load_profile(profile).data.startswith("folder:") for profile, _ in colab.SCALES)


def test_without_training_the_committed_records_are_shown(capsys):
    assert colab.start(train=False, minutes=0, drive=True) == ("digits", "committed")
    assert "nothing is trained" in capsys.readouterr().out


def test_records_on_drive_are_found_again_after_a_disconnect(tmp_path, monkeypatch):
    mounted = []
    drive = types.ModuleType("google.colab.drive")
    drive.mount = mounted.append
    monkeypatch.setitem(sys.modules, "google.colab.drive", drive)
    monkeypatch.setattr(colab, "DRIVE", tmp_path / "drive")
    monkeypatch.setattr(colab, "gpu", lambda: ("", 0.0))
    monkeypatch.setattr(colab, "study", lambda name, profile: [short("ce"), short("mixup")])
    monkeypatch.setattr(colab, "Machine", lambda: CPU)
    monkeypatch.setattr(colab, "collect", partial(colab.collect, workers=0))
    profile, store = colab.start(train=True, minutes=60, drive=True)
    assert profile == "digits"
    assert mounted == [str(tmp_path / "drive")]
    assert store.startswith(str(tmp_path / "drive"))
    stamps = [record.path.stat().st_mtime_ns for record in RecordStore(store)]
    assert len(stamps) == 2
    assert colab.start(train=True, minutes=60, drive=True) == (profile, store)
    assert [record.path.stat().st_mtime_ns for record in RecordStore(store)] == stamps
