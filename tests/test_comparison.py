"""The comparison of fresh with committed records, on records made by hand so that every verdict is known."""

import pytest
import torch
from handmade import short, written

from mixkd.comparison import compare, summary
from mixkd.spec import TeacherSpec
from mixkd.store import RecordStore

IMAGES, CLASSES = 1000, 4


@pytest.fixture
def stores(tmp_path):
    return RecordStore(tmp_path / "fresh"), RecordStore(tmp_path / "committed")


def put(store, spec, right, scale=3.0):
    """A record that answers the first ``right`` of 1000 test images rightly."""
    _, tensors = written(RecordStore(store.path.parent / "scratch"), spec, images=IMAGES, classes=CLASSES)
    labels = tensors["labels.test"]
    said = torch.where(torch.arange(IMAGES) < right, labels, (labels + 1) % CLASSES)
    logits = scale * torch.nn.functional.one_hot(said, CLASSES).float()
    written(store, spec, images=IMAGES, classes=CLASSES, test=logits)


def test_the_same_tensors_are_identical_and_others_within_noise(stores):
    fresh, committed = stores
    for store in stores:
        put(store, short(), 900)
    [row] = compare(fresh, committed).to_dict("records")
    assert row["verdict"] == "identical"
    assert (row["accuracy"], row["committed_accuracy"]) == (0.9, 0.9)
    put(fresh, short(), 900, scale=3.01)  # as accurate, from other logits
    table = compare(fresh, committed)
    assert list(table.verdict) == ["within seed noise"]
    assert "bits differ" not in summary(table)
    said = summary(table.assign(cpu="AVX2", committed_cpu="AVX512"))
    assert said.endswith("1 committed under AVX512, trained here under AVX2: bits differ")


@pytest.mark.parametrize(("right", "verdict"), [(959, "within seed noise"), (841, "within seed noise"), (961, "different")])
def test_seed_noise_is_three_deviations_over_the_committed_seeds(stores, right, verdict):
    fresh, committed = stores
    for seed, committed_right in enumerate((880, 900, 920)):  # standard deviation .02
        put(committed, short(seed=seed), committed_right)
    put(fresh, short(seed=1), right)
    [row] = compare(fresh, committed).to_dict("records")
    assert row["noise"] == pytest.approx(0.02)
    assert row["verdict"] == verdict


@pytest.mark.parametrize(("right", "verdict"), [(925, "within seed noise"), (870, "different")])
def test_with_one_committed_seed_noise_is_that_of_counting(stores, right, verdict):
    fresh, committed = stores
    put(committed, short(), 900)
    put(committed, short("label_smoothing"), 100)  # another arm says nothing about this one
    put(fresh, short(), right)
    [row] = compare(fresh, committed).to_dict("records")
    assert row["noise"] == pytest.approx((0.9 * 0.1 / 1000) ** 0.5)
    assert row["verdict"] == verdict


def test_a_family_is_specs_equal_but_for_the_seeds_of_student_and_teacher(stores):
    fresh, committed = stores
    kin = [short("kd", seed=s, teacher=TeacherSpec(model="cnn16", seed=s % 2)) for s in range(3)]
    for spec, right in zip(kin, (800, 850, 900), strict=True):
        put(committed, spec, right)
    put(committed, short("kd", tau=4), 100)
    put(committed, short("kd", teacher=TeacherSpec(model="cnn32")), 100)
    put(fresh, kin[0], 810)
    [row] = compare(fresh, committed).to_dict("records")
    assert row["noise"] == pytest.approx(0.05)


def test_only_ids_that_both_hold_are_compared(stores):
    fresh, committed = stores
    put(fresh, short(), 900)
    put(committed, short(seed=1), 900)
    table = compare(fresh, committed)
    assert table.empty
    assert "nothing to compare" in summary(table)
    assert compare(fresh, RecordStore(fresh.path / "none")).empty


def test_summary_counts_each_verdict(stores):
    fresh, committed = stores
    for store in stores:
        put(store, short(), 900)
    put(fresh, short("kd"), 500)
    put(committed, short("kd"), 900)
    text = summary(compare(fresh, committed))
    assert "2 records compared: 1 identical, 0 within seed noise, 1 different" in text
    [line] = [line for line in text.splitlines() if line.startswith("kd")]
    assert line.split() == ["kd", "cnn8", "0", "0", "1", "0.4000"]
