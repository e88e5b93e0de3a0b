"""Checkpoints: nothing damaged is continued, nothing foreign runs, and a run keeps the settings it began with."""

import os
import random
import warnings

import pytest
import torch
from handmade import Bomb, short

from mixkd import checkpoint
from mixkd.checkpoint import DamagedCheckpoint, ForeignCheckpoint, Settings
from mixkd.data import load_data
from mixkd.train import train_cohort

SPEC = short("ce", epochs=1, train_size=600, batch_size=100)
OWN = Settings(SPEC.id, "fp32", 1, "cpu")


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_size=600)


@pytest.fixture(scope="module")
def saved(data, tmp_path_factory):
    """A student, and the bytes of its last checkpoint."""
    folder = tmp_path_factory.mktemp("saved")
    [student] = train_cohort([SPEC], data, checkpoints=folder, checkpoint_seconds=0)
    return student, (folder / f"{SPEC.id}.pt").read_bytes()


def begins_anew(data, folder, student, words):
    """Train from a checkpoint that must not be used: there is one warning, and the student is the one of an undisturbed run."""
    path = folder / f"{SPEC.id}.pt"
    content = path.read_bytes()
    with pytest.warns(UserWarning, match="begins anew") as caught:
        [again] = train_cohort([SPEC], data, checkpoints=folder)
    assert again.began == 0
    [said] = [str(warning.message) for warning in caught if warning.category is UserWarning]  # others are garbage of other tests
    assert words in said
    assert str(path) in said
    assert path.with_suffix(".damaged").read_bytes() == content
    assert not path.exists()
    assert torch.equal(again.losses, student.losses)
    assert all(torch.equal(a, b) for a, b in zip(again.model.state_dict().values(), student.model.state_dict().values(), strict=True))


def test_a_whole_checkpoint_is_continued(data, saved, tmp_path):
    student, content = saved
    (tmp_path / f"{SPEC.id}.pt").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [again] = train_cohort([SPEC], data, checkpoints=tmp_path)
    assert again.began == student.step
    assert torch.equal(again.losses, student.losses)
    step, state = checkpoint.read(tmp_path / f"{SPEC.id}.pt", OWN)
    assert (step, len(state["losses"])) == (6, 6)


def test_every_flipped_bit_is_found(saved, tmp_path):
    _, content = saved
    path, drawn = tmp_path / "x.pt", random.Random(0)
    head = content.index(b"\n", content.index(b"\n") + 1) + 1
    places = [8 * i + bit for i in range(head) for bit in range(8)] + drawn.sample(range(8 * head, 8 * len(content)), 600)
    places += range(8 * len(content) - 64, 8 * len(content))
    assert len(places) > 2000
    for place in places:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(DamagedCheckpoint):
            checkpoint.read(path, OWN)


def test_every_cut_is_found(saved, tmp_path):
    _, content = saved
    path, drawn = tmp_path / "x.pt", random.Random(1)
    for length in [*range(0, 300), *drawn.sample(range(300, len(content)), 100)]:
        path.write_bytes(content[:length])
        with pytest.raises(DamagedCheckpoint):
            checkpoint.read(path, OWN)
    path.write_bytes(content + b"\0")
    with pytest.raises(DamagedCheckpoint):
        checkpoint.read(path, OWN)


@pytest.mark.parametrize("how", ["flip", "cut", "empty", "old"])
def test_a_damaged_checkpoint_is_put_aside_and_the_run_begins_anew(data, saved, tmp_path, how):
    student, content = saved
    damaged = {"flip": content[:-900] + bytes([content[-900] ^ 4]) + content[-899:], "cut": content[: len(content) // 2], "empty": b""}
    path = tmp_path / f"{SPEC.id}.pt"
    if how == "old":  # as earlier versions wrote them: nothing says what is in it
        torch.save({"step": 10**6, "model": student.model.state_dict()}, path)
    else:
        path.write_bytes(damaged[how])
    words = "differs from its checksum" if how in ("flip", "cut") else "is not a checkpoint of this version"
    begins_anew(data, tmp_path, student, words)


def state_of(student, **changes):
    state = {
        "model": student.model.state_dict(), "optimizer": student.optimizer.state_dict(), "scaler": {}, "losses": student.losses,
        "curve": student.curve,
    }  # fmt: skip
    return {**state, **changes}


@pytest.mark.parametrize(
    ("step", "change", "words"),
    [
        (10**6, {}, "is at step 1000000 of a run of 6 steps"),
        (7, {}, "is at step 7 of a run of 6 steps"),
        (-1, {}, "is no step"),
        (True, {}, "is no step"),
        (3, {"losses": torch.zeros(5)}, "5 losses of 6"),
        (3, {"losses": torch.full((6,), torch.nan)}, "not finite"),
        (3, {"model": {}}, "does not fit its run"),
        (3, {"optimizer": {"state": {}}}, "does not fit its run"),
        (3, {"curve": 3}, "does not fit its run"),
    ],
)
def test_a_checkpoint_that_does_not_fit_its_run_is_put_aside(data, saved, tmp_path, step, change, words):
    student, _ = saved
    checkpoint.write(tmp_path / f"{SPEC.id}.pt", OWN, step, state_of(student, **change))
    begins_anew(data, tmp_path, student, words)


def test_the_checkpoint_of_another_run_is_not_continued(data, saved, tmp_path):
    student, _ = saved
    other = Settings("0" * 16, "fp32", 1, "cpu")
    checkpoint.write(tmp_path / f"{SPEC.id}.pt", other, 3, state_of(student))
    begins_anew(data, tmp_path, student, f"holds run {'0' * 16}")


def test_no_checkpoint_runs_code(data, saved, tmp_path):
    student, _ = saved
    bomb = state_of(student, curve=Bomb(str(tmp_path / "went off")))
    checkpoint.write(tmp_path / f"{SPEC.id}.pt", OWN, 3, bomb)
    begins_anew(data, tmp_path, student, "Weights only load failed")
    assert not (tmp_path / "went off").exists()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("precision", "bf16", ["precision bf16 on 1 rank,", "would continue with precision fp32 on 1 rank,", "--precision bf16"]),
        ("precision", "fp16", ["precision fp16 on 1 rank,", "--precision fp16"]),
        ("ranks", 2, ["precision fp32 on 2 ranks,", "torchrun --nproc_per_node=2"]),
        ("device", "cuda", ["device cuda", "--device cuda"]),
        ("cuda_graphs", True, ["device cpu, CUDA graphs", "--device cpu --cuda-graphs"]),
    ],
)
def test_a_run_is_not_continued_with_other_settings(data, saved, tmp_path, monkeypatch, field, value, words):
    student, _ = saved
    path = tmp_path / f"{SPEC.id}.pt"
    theirs = Settings(**{**vars(OWN), field: value})
    checkpoint.write(path, theirs, 3, state_of(student))
    before = path.read_bytes()
    monkeypatch.setattr("mixkd.train._step", lambda *_: pytest.fail("it trained"))
    with pytest.raises(ForeignCheckpoint) as caught:
        train_cohort([SPEC.replace(lr=0.01), SPEC], data, checkpoints=tmp_path)
    for word in [str(path), f"run {SPEC.id} reached step 3 with", "remove the file", *words]:
        assert word in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("first", "then"), [("fp32", "fp16"), ("bf16", "fp32"), ("fp32", "bf16"), ("fp16", "fp32")])
def test_a_run_that_began_in_one_precision_does_not_end_in_another(data, tmp_path, first, then):
    train_cohort([SPEC], data, precision=first, checkpoints=tmp_path, checkpoint_seconds=0)
    with pytest.raises(ForeignCheckpoint, match=f"precision {first} .*precision {then} .*--precision {first}"):
        train_cohort([SPEC], data, precision=then, checkpoints=tmp_path)
    (tmp_path / f"{SPEC.id}.pt").unlink()
    [student] = train_cohort([SPEC], data, precision=then, checkpoints=tmp_path)
    assert student.began == 0


def test_a_full_disk_leaves_the_former_checkpoint(saved, tmp_path, monkeypatch):
    student, content = saved
    path = tmp_path / f"{SPEC.id}.pt"
    path.write_bytes(content)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write(path, OWN, 3, state_of(student))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == content
