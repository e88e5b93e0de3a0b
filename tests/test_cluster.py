"""A cluster of two workers, one of which is killed in the middle: what it was doing is done by the other, nothing is lost or doubled."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from handmade import short

from mixkd import cluster as dask
from mixkd.cli import main
from mixkd.runs import Machine, collect
from mixkd.spec import TeacherSpec
from mixkd.store import RecordStore

pytest.importorskip("distributed", reason="Dask is not installed: pip install 'mixkd[dask]'")

WORKER = "from distributed.cli.dask_worker import main; main()"
OPTIONS = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Address of a scheduler, and two worker processes by their temporary folders: like two machines, they share no folder."""
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "scheduler.json"
    command = [sys.executable, "-c", "from distributed.cli.dask_scheduler import main; main()"]
    command += ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.DEVNULL)]
    try:
        deadline = time.monotonic() + 120
        while not (file.exists() and file.read_text().strip().endswith("}")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        workers = {}
        for name in ("one", "two"):
            (folder / name).mkdir()
            command = [sys.executable, "-c", WORKER, address, *OPTIONS, "--local-directory", str(folder / name)]
            process = subprocess.Popen(
                command, env={**environment, "TMPDIR": str(folder / name)}, cwd=folder / name, stderr=subprocess.DEVNULL
            )
            processes.append(process)
            workers[folder / name] = process
        yield address, workers
    finally:
        for process in processes:
            process.kill()
            process.wait(30)


def test_a_killed_worker_loses_no_run_and_doubles_none(cluster, tmp_path, monkeypatch):
    address, workers = cluster
    specs = [short("ce", epochs=20, seed=seed) for seed in range(3)]
    specs += [short("kd", epochs=2, seed=3, teacher=TeacherSpec(model="cnn16", epochs=2))]
    every = [*specs, specs[-1].teacher_run()]
    store, result, received = RecordStore(tmp_path / "store"), {}, []
    receive = RecordStore.receive
    monkeypatch.setattr(RecordStore, "receive", lambda self, id, files: received.append(id) or receive(self, id, files))

    def work():
        with dask.connected(address) as executor:
            machine = Machine(device="cpu", checkpoint_seconds=0)
            result["records"] = collect(specs, store, machine=machine, progress=False, executor=executor)

    thread = threading.Thread(target=work)
    thread.start()

    def working():
        """A worker in the middle of a run, and that run: it has written a checkpoint."""
        for folder, process in workers.items():
            for checkpoint in folder.glob("*/.checkpoints/*.pt"):
                return process, checkpoint.stem
        return None

    deadline = time.monotonic() + 300
    while not (found := working()):
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    victim, interrupted = found
    assert interrupted not in store
    os.kill(victim.pid, signal.SIGKILL)
    thread.join(400)
    assert not thread.is_alive()

    records = result["records"]
    assert not records.failed
    assert [record.spec for record in records] == specs
    assert sorted(received) == store.ids() == sorted(spec.id for spec in every)
    assert store.verify() == []
    assert not list(store.path.glob(".[0-9a-f]*")), "no half of a record"
    # done again by the other worker, from the start: to the bits of a run that nobody disturbed
    alone = RecordStore(tmp_path / "alone")
    collect([spec for spec in every if spec.id == interrupted], alone, workers=0, machine=Machine(device="cpu"), progress=False)
    name = f"{interrupted}/tensors.safetensors"
    assert (store.path / name).read_bytes() == (alone.path / name).read_bytes()


def test_heavy_weights_of_a_teacher_travel_too(cluster, tmp_path, monkeypatch):
    address, _ = cluster
    monkeypatch.setattr("mixkd.store.WEIGHTS_CAP", 0)  # here, where the teacher is trained; on workers it is as it was
    spec = short("kd", epochs=1, teacher=TeacherSpec(model="cnn16", epochs=1))
    store = RecordStore(tmp_path / "store")
    collect([spec.teacher_run()], store, workers=0, machine=Machine(device="cpu"), progress=False)
    assert not (store.path / spec.teacher_run().id / "model.safetensors").exists()
    with dask.connected(address) as executor:
        assert not collect([spec], store, machine=Machine(device="cpu"), progress=False, executor=executor).failed
    assert store.verify() == []


def test_a_worker_with_another_version_is_refused(cluster, monkeypatch):
    address, _ = cluster
    monkeypatch.setattr("mixkd.__version__", "0.0.0")
    with pytest.raises(ValueError, match=r"worker tcp://.*: has mixkd .*, here it is 0\.0\.0"), dask.connected(address):
        pass


def test_a_batch_goes_to_the_scheduler_too(cluster, tmp_path, capsys):
    address, _ = cluster
    grid = tmp_path / "grid.toml"
    grid.write_text('chapters = ["14-authors-logs"]\n')
    assert main(["batch", str(grid), "--out", str(tmp_path / "out"), "--scheduler", address]) == 0
    assert "1 done, 0 kept, 0 failed" in capsys.readouterr().out
    assert (tmp_path / "out" / "14-authors-logs.ipynb").is_file()


def test_no_scheduler_there_says_how_to_start_one(monkeypatch, capsys):
    monkeypatch.setattr(dask, "PATIENCE", 1)
    assert main(["reproduce", "--scheduler", "tcp://127.0.0.1:9", "--no-site"]) == 1
    assert "scheduler tcp://127.0.0.1:9: no answer" in capsys.readouterr().err
