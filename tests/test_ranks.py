"""Several ranks on one run: what one process gives that computes their parts; one writer; a killed rank ends the job, which resumes."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from handmade import CPU, offset, short, taught
from safetensors.torch import load_file

from mixkd.data import load_data, normalise
from mixkd.objectives import Teacher, Views, loss
from mixkd.ranks import RankLost, Ranks, joined
from mixkd.runs import collect
from mixkd.spec import RunSpec
from mixkd.store import RecordStore
from mixkd.teachers import freeze
from mixkd.train import learning_rate, predict, start, stream
from mixkd.vicinal import Mixing, draw_mixing

SPEC = short("kd_mixup", epochs=6, batch_size=20, teacher=taught(epochs=2))

SCRIPT = """
import json, os, pathlib, sys
from mixkd.ranks import joined
from mixkd.runs import Machine, run
from mixkd.spec import RunSpec
store, folder = sys.argv[1:]
pathlib.Path(folder, "pid" + os.environ["RANK"]).write_text(str(os.getpid()))
with joined("cpu"):
    run(RunSpec(**json.loads({spec!r})), store, Machine(device="cpu", checkpoint_seconds=0), progress=False)
"""

WAITING = """
import os, pathlib, sys, time
from mixkd.ranks import joined
with joined("cpu") as ranks:
    pathlib.Path(sys.argv[1], "new" + str(ranks.rank)).write_text(str(os.getpid()))
    pathlib.Path(sys.argv[1], "new" + str(ranks.rank)).rename(pathlib.Path(sys.argv[1], str(ranks.rank)))
    time.sleep(300)
"""


def torchrun(*arguments):
    """A job of two CPU ranks; its output is one stream."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A function that starts two ranks on SPEC, into a store."""
    folder = tmp_path_factory.mktemp("job")
    script = folder / "job.py"
    script.write_text(SCRIPT.format(spec=SPEC.canonical()))

    def begin(store):
        for pid in folder.glob("pid*"):
            pid.unlink()
        return torchrun(script, store, folder), folder

    return begin


def with_teacher(folder) -> RecordStore:
    store = RecordStore(folder)
    collect([SPEC.teacher_run()], store, workers=0, machine=CPU, progress=False)
    return store


@pytest.fixture(scope="module")
def killed(job, tmp_path_factory):
    """The store of a job one of whose ranks was killed in the middle, and what was seen then."""
    store = with_teacher(tmp_path_factory.mktemp("killed"))
    process, folder = job(store.path)
    checkpoint = store.path / ".checkpoints" / f"{SPEC.id}.pt"
    deadline = time.monotonic() + 300
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(int((folder / "pid1").read_text()), signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    alive = [name for name in ("pid0", "pid1") if Path("/proc", (folder / name).read_text()).exists()]
    return SimpleNamespace(
        store=store, output=output, status=process.returncode, alive=alive, trained=SPEC.id in store, checkpoint=checkpoint.exists()
    )


@pytest.fixture(scope="module")
def finished(job, killed):
    """The same store once a second job has gone on where the first was stopped."""
    process, _ = job(killed.store.path)
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    return killed.store


def both_parts_in_one_process(spec: RunSpec, store: RecordStore):
    """What two ranks compute, written out: two halves of each batch, each with batch norm, partners and draws of its own."""
    data, device = load_data("digits", train_size=spec.train_size), torch.device("cpu")
    teacher_id = spec.teacher_run().id
    teacher: Teacher = freeze(store.load(teacher_id), store.weights(teacher_id), data, device=device, precision="fp32")
    student = start(spec, data, device, "fp32")
    train, half = data.splits["train"], spec.batch_size // 2
    per_epoch = len(train.labels) // spec.batch_size
    student.model.train()
    for step in range(per_epoch * spec.epochs):
        epoch, position = divmod(step, per_epoch)
        order = torch.randperm(len(train.labels), generator=stream(spec.seed, "order", epoch))
        rows = order[position * spec.batch_size : (position + 1) * spec.batch_size]
        student.optimizer.zero_grad()
        for rank in (0, 1):
            index = rows[:half] if rank == 0 else rows[half:]
            views = Views(
                clean=normalise(train.images[index], data),
                labels=train.labels[index],
                teacher=teacher,
                stream=lambda purpose, step=step, rank=rank: stream(spec.seed, f"{purpose}/{rank} of 2", step),
                draw=lambda spec, generator: Mixing(*vars(draw_mixing(half, spec.alpha, generator)).values()),
            )
            averages = {name: buffer.clone() for name, buffer in student.model.named_buffers()}
            (loss(spec, student.model, views) / 2).backward()
            if rank == 1:  # the running averages of rank 0 are the ones that are kept
                for name, buffer in student.model.named_buffers():
                    buffer.copy_(averages[name])
        for group in student.optimizer.param_groups:
            group["lr"] = learning_rate(spec, step, per_epoch)
        student.optimizer.step()
    model = student.model.eval()
    return model, predict(model, data, data.splits["test"].images)


def test_two_ranks_give_what_one_process_gives_that_computes_both_parts(finished):
    """Though killed in the middle: a part done twice, or left out, or drawn anew would show."""
    model, logits = both_parts_in_one_process(SPEC, finished)
    record = finished.load(SPEC.id)
    torch.testing.assert_close(record.logits("test"), offset(logits), rtol=2e-3, atol=2e-2)  # stored as float16
    weights = load_file(finished.weights(SPEC.id))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-4)
    assert record.provenance["ranks"] == 2
    assert len(record.curve) == SPEC.epochs
    assert finished.ids() == sorted([SPEC.id, SPEC.teacher_run().id])
    assert finished.verify() == []
    assert not list((finished.path / ".checkpoints").glob("*"))


def test_a_part_has_statistics_of_its_own(finished, tmp_path):
    """The reference is not what one process gives on whole batches: the test above can fail."""
    alone = RecordStore(tmp_path)
    collect([SPEC], alone, workers=0, machine=CPU, progress=False)
    assert (alone.load(SPEC.id).logits("test") - finished.load(SPEC.id).logits("test")).abs().max() > 0.1


def test_a_killed_rank_ends_the_job_and_leaves_a_checkpoint(killed):
    assert killed.status != 0
    assert "another rank ended" in killed.output or "Signal 9 (SIGKILL)" in killed.output, killed.output
    assert "rank      : 1" in killed.output or "local_rank: 1" in killed.output, killed.output
    assert killed.alive == []
    assert not killed.trained
    assert killed.checkpoint


def test_ranks_end_with_a_torchrun_that_is_killed(tmp_path):
    (tmp_path / "job.py").write_text(WAITING)
    process = torchrun(tmp_path / "job.py", tmp_path)
    deadline = time.monotonic() + 120
    while len(found := list(tmp_path.glob("[01]"))) < 2:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ranks = [Path("/proc", path.read_text()) for path in found]
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(rank.exists() for rank in ranks):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_rank_does_not_wait_for_a_torchrun_that_is_gone(monkeypatch):
    """Half an hour is for a rank that is silent."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environment = {"RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(RankLost, match="torchrun has ended"), joined("cpu"):
        pass


def test_parts_cover_the_batch_once_and_uneven_ones_are_refused():
    rows = list(range(96))
    assert [row for rank in range(3) for row in rows[Ranks(rank, 3).part(96)]] == rows
    assert Ranks().part(1) == slice(0, 1)
    with pytest.raises(ValueError, match=r"batch_size = 96: must be a multiple of the 5 ranks"):
        Ranks(0, 5).part(96)
    with pytest.raises(ValueError, match="2 images"):
        Ranks(0, 96).part(96)
