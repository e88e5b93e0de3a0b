"""From specs to records: teachers first, each run once whoever asks, the same bits anywhere, and no harm from a kill."""

import errno
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch
from handmade import CPU, SURE, pictures, short, stopped_after, taught
from loky import ProcessPoolExecutor
from PIL import Image

import mixkd.jobs as jobs
import mixkd.runs as runs
import mixkd.store
from mixkd.data import load_data
from mixkd.export import export
from mixkd.runs import Machine, collect, run
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.store import RecordStore

PLAN = [
    short("ce"),
    short("kd"),
    short("kd_mixup"),
    short("kd_noise", teacher=SURE),
    short("kd", seed=1, teacher=taught(temperature="fitted", temperature_factor=0.5, temperature_spread=0.3)),
    short("kd_mixup", seed=1, teacher=taught(seed=1)),
]
TEACHERS = {spec.id: spec.teacher_run().id for spec in PLAN if spec.teacher}


def bits(store):
    return {id: (store.path / id / "tensors.safetensors").read_bytes() for id in store.ids()}


def log_training(path):
    """From now on, this process notes the id of every run it trains."""
    real = jobs.train_cohort

    def logged(specs, *arguments, **options):
        with open(path, "a") as log:
            log.write("".join(f"{spec.id}\n" for spec in specs))
        return real(specs, *arguments, **options)

    jobs.train_cohort = logged


@pytest.fixture
def trained_ids(tmp_path, monkeypatch):
    """A function that says which ids were trained, in order; other processes may write to its log too."""
    path = tmp_path / "log"
    path.touch()
    monkeypatch.setattr(jobs, "train_cohort", jobs.train_cohort)
    log_training(path)
    ids = lambda: path.read_text().split()  # noqa: E731
    ids.path = path
    return ids


def quietly(specs, store, machine=CPU):
    return collect(specs, store, workers=0, machine=machine, progress=False)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The plan, trained in this process; ``trained`` are the ids in the order they were."""
    store = RecordStore(tmp_path_factory.mktemp("reference"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "train_cohort", jobs.train_cohort)
        log_training(store.path / ".log")
        assert not quietly([*PLAN, PLAN[1], PLAN[0]], store).failed
    store.trained = (store.path / ".log").read_text().split()
    return store


def test_teachers_come_first_every_run_once_and_a_second_call_trains_nothing(reference, trained_ids):
    ids = reference.trained
    assert len(ids) == len(set(ids)) == len(PLAN) + len(set(TEACHERS.values()))
    for student, teacher in TEACHERS.items():
        assert ids.index(teacher) < ids.index(student)
    again = quietly([*PLAN, PLAN[1], PLAN[0]], reference)
    assert trained_ids() == []
    assert not again.failed
    assert [record.spec for record in again] == PLAN  # their order, without repeats
    assert not list((reference.path / ".checkpoints").glob("*"))


def test_two_workers_train_the_same_bits_and_a_shared_teacher_once(tmp_path, reference, trained_ids):
    store = RecordStore(tmp_path / "store")
    with ProcessPoolExecutor(2, initializer=log_training, initargs=(trained_ids.path,)) as executor:
        records = collect(PLAN, store, machine=CPU, progress=False, executor=executor)
    assert not records.failed
    ids = trained_ids()
    assert len(ids) == len(set(ids)) == len(store.ids())
    for student, teacher in TEACHERS.items():
        assert ids.index(teacher) < ids.index(student)
    assert bits(store) == bits(reference)


CONCURRENT = """
import pathlib, sys, time
sys.path.insert(0, {tests!r})
import test_runs
test_runs.log_training({log!r})
pathlib.Path({ready!r}).touch()
while not pathlib.Path({go!r}).exists():
    time.sleep(.005)
records = test_runs.quietly(test_runs.PLAN, {store!r})
sys.exit(len(records.failed))
"""


def test_two_processes_on_one_store_train_every_run_once(tmp_path, reference, trained_ids):
    names = {name: str(tmp_path / name) for name in ("ready", "go", "store")}
    code = CONCURRENT.format(tests=str(Path(__file__).parent), log=str(trained_ids.path), **names)
    with subprocess.Popen([sys.executable, "-c", code]) as other:
        while not Path(names["ready"]).exists():
            assert other.poll() is None
            time.sleep(0.01)
        Path(names["go"]).touch()
        mine = quietly(PLAN, names["store"])
        assert other.wait(120) == 0
    assert len(mine) == len(PLAN)
    assert len(trained_ids()) == len(set(trained_ids()))
    assert bits(RecordStore(names["store"])) == bits(reference)


def test_no_answer_of_a_teacher_is_computed_twice_but_no_worker_idles_and_memory_is_bounded():
    specs = [short("kd", tau=tau) for tau in range(1, 20)] + [short("ce"), short("kd", seed=1)]

    def lengths(workers, size=1000):
        cohorts = runs._cohorts(specs, {"cnn8": size}, workers)
        assert sorted(spec.id for cohort in cohorts for spec in cohort) == sorted(spec.id for spec in specs)
        assert all(len({spec.cohort() for spec in cohort}) == 1 for cohort in cohorts)
        assert all(len({spec.teacher_run() for spec in cohort} - {None}) <= 1 for cohort in cohorts)
        return sorted(len(cohort) for cohort in cohorts)

    assert lengths(0) == lengths(1) == [1, 20]
    assert lengths(2) == [1, 10, 10]
    assert lengths(3) == [1, 6, 7, 7]
    assert lengths(0, size=runs.COHORT_BYTES // 5) == [1, 5, 5, 5, 5]
    assert lengths(0, size=2 * runs.COHORT_BYTES) == [1] * 21
    assert runs._cohorts([], {}, 2) == []


def test_provenance_says_where_a_record_came_from(reference):
    noise = reference.load(PLAN[3].id)
    said = noise.provenance
    assert said["sigma"] > 0
    assert said["teacher"] == TEACHERS[noise.id]
    assert (said["precision"], said["threads"], said["torch"]) == ("fp32", 1, torch.__version__)
    assert len(reference.load(PLAN[4].id).projection) == 2 * 797
    assert "teacher" not in reference.load(PLAN[0].id).provenance


def test_a_teacher_answers_on_the_images_of_its_students_and_learnt_from_others(reference):
    student = reference.load(PLAN[1].id)
    teacher = reference.load(TEACHERS[student.id])
    assert "skipped" not in student.splits
    assert torch.equal(teacher.labels("skipped"), student.labels("train"))
    skipped, own = (
        load_data("digits", train_size=spec.train_size, train_skip=spec.train_skip).splits for spec in (teacher.spec, student.spec)
    )
    assert torch.equal(skipped["skipped"].images, own["train"].images)


def test_threads_are_left_as_they_were(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        record = run(short(), tmp_path, CPU, progress=False)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert record.provenance["threads"] == 1


def test_a_diverging_run_is_named_and_the_others_complete(tmp_path):
    good, bad = short("ce"), short("kd", lr=1e18, optimizer="sgd", teacher=taught(lr=0.01))
    records = quietly([good, bad], tmp_path)
    assert [record.spec for record in records] == [good]
    assert list(records.failed) == [bad.id]
    assert "the loss is" in records.failed[bad.id]
    assert bad.id not in RecordStore(tmp_path)
    with pytest.raises(RuntimeError, match="the loss is"):
        run(bad, tmp_path, CPU, progress=False)


def test_students_of_a_diverging_teacher_are_named_and_the_others_complete(tmp_path):
    lost = taught(lr=1e18)
    fields = {"optimizer": "sgd", "lr": 0.05}
    bad = [short(arm, teacher=lost, **fields) for arm in ("kd", "kd_mixup")]
    good = [short("ce", **fields), short("kd", **fields)]
    records = quietly([*bad, *good], tmp_path)
    assert [record.spec for record in records] == good
    assert set(records.failed) == {spec.id for spec in bad}
    for spec in bad:
        assert "its teacher was not made" in records.failed[spec.id]
        assert spec.teacher_run().id in records.failed[spec.id]


def test_a_control_that_cannot_be_built_is_named_and_the_others_complete(tmp_path, monkeypatch):
    monkeypatch.setattr("mixkd.teachers.first_crossing", lambda excess: None)
    noise, other = short("kd_noise"), short("kd")
    wild = short("kd_mixup", teacher=taught(temperature_spread=60))
    records = quietly([noise, wild, other], tmp_path)
    assert [record.spec for record in records] == [other]
    assert "kd_noise does not exist for this teacher" in records.failed[noise.id]
    assert "temperature_spread = 60" in records.failed[wild.id]


def test_a_network_that_answers_nan_makes_no_record(tmp_path, monkeypatch):
    real = jobs.evaluate

    def broken(model, data):
        return {name: tensor * float("nan") if name == "logits.test" else tensor for name, tensor in real(model, data).items()}

    monkeypatch.setattr(jobs, "evaluate", broken)
    records = quietly([short()], tmp_path)
    assert "NaN" in records.failed[short().id]
    assert RecordStore(tmp_path).ids() == []


@pytest.mark.parametrize("name", ["record.json", "tensors.safetensors", "model.safetensors"])
def test_a_damaged_teacher_is_named_and_not_trained_again(tmp_path, trained_ids, name):
    run(PLAN[1], tmp_path / "store", CPU, progress=False)
    id = TEACHERS[PLAN[1].id]
    path = RecordStore(tmp_path / "store").weights(id) if name == "model.safetensors" else tmp_path / "store" / id / name
    path.write_bytes(path.read_bytes()[:50])
    before = trained_ids()
    other = short("mixup")
    records = quietly([PLAN[1], PLAN[2], other], tmp_path / "store")
    assert [record.spec for record in records] == [PLAN[1], other]
    assert str(path) in records.failed[PLAN[2].id]
    assert trained_ids() == [*before, other.id]


def test_a_damaged_record_is_named_and_not_trained_again(tmp_path, trained_ids):
    record = run(short(), tmp_path / "store", CPU, progress=False)
    (record.path / "tensors.safetensors").unlink()
    records = quietly([short(), short(seed=1)], tmp_path / "store")
    assert [found.spec.seed for found in records] == [1]
    assert f"remove {record.path}" in records.failed[record.id]
    assert trained_ids() == [short().id, short(seed=1).id]


def test_a_teacher_without_its_weights_is_trained_again_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(mixkd.store, "WEIGHTS_CAP", 4)
    store = RecordStore(tmp_path)
    quietly([PLAN[1]], store)
    before = bits(store)
    store.weights(TEACHERS[PLAN[1].id]).unlink()
    assert not quietly([PLAN[2]], store).failed
    after = bits(store)
    assert {id: after[id] for id in before} == before
    assert store.verify() == []


def test_a_full_disk_stops_the_work_and_it_continues_when_there_is_room(tmp_path, monkeypatch):
    real = mixkd.store.save_file

    def full(tensors, path):
        if Path(path).name == "tensors.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(mixkd.store, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        quietly([short()], tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name not in (".locks", ".checkpoints")]
    monkeypatch.setattr(mixkd.store, "save_file", real)
    assert len(quietly([short()], tmp_path)) == 1


@pytest.mark.parametrize(
    ("spec", "machine", "words"),
    [
        (short("kd", teacher=TeacherSpec(model="cnn17")), CPU, "'cnn17'.*did you mean 'cnn16'"),
        (short(batch_size=201), CPU, "batch_size = 201.*200 training images of digits"),
        (short("kd", teacher=taught(train_size=40)), CPU, "batch_size = 50.*40 training images of digits"),
        (short("kd", teacher=taught(train_size=1201)), CPU, "train_size = 1201.*to 1200 after 200 are skipped"),
        (short(augment="crop_flip"), CPU, "crop_flip.*16 px"),
        (short(image_size=32), CPU, "image_size = 32.*8 px"),
        (RunSpec(data="gaussians", arm="ce", student="cnn8"), CPU, "cnn8 takes images"),
        (RunSpec(data="gaussians", arm="ce", student="mlp16", augment="flip"), CPU, "flip.*images"),
        (short(), Machine(device="gpu"), "'gpu': must be one of auto, cpu, cuda"),
        (short(), Machine(device="cpu", precision="fp8"), "'fp8': must be one of auto, fp32"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_trains(tmp_path, trained_ids, spec, machine, words):
    with pytest.raises(ValueError, match=words):
        quietly([short(seed=9), spec], tmp_path / "store", machine)
    assert trained_ids() == []


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("mixkd.data.CACHE", tmp_path / "cache")


FOLDER = {"student": "cnn8", "arm": "ce", "image_size": 8, "batch_size": 5, "epochs": 1}


def test_a_folder_is_known_by_its_content_not_by_its_place(tmp_path, cache, trained_ids):
    here, there = pictures(tmp_path / "here" / "pets"), tmp_path / "there" / "pets"
    record = quietly([RunSpec(data=f"folder:{here}", **FOLDER)], tmp_path / "store")[0]
    assert record.spec.data.startswith("folder:pets@")
    assert record.classes == ("cat", "dog")
    for file in ("record.json", "SHA256SUMS"):
        assert str(tmp_path) not in (record.path / file).read_text()
    there.parent.mkdir()
    here.rename(there)
    again = [RunSpec(data=f"folder:{there}", **FOLDER), record.spec]
    found = quietly(again, tmp_path / "store", Machine(root=str(there.parent), device="cpu"))
    assert {one.id for one in found} == {record.id}
    assert trained_ids() == [record.id]


def test_a_folder_that_changed_after_the_plan_trains_nothing(tmp_path, cache, monkeypatch):
    path = pictures(tmp_path / "pets")
    real = runs._cohorts

    def later(*arguments):  # between the plan and its jobs
        Image.new("RGB", (12, 10), "#123456").save(path / "train" / "cat" / "0.png")
        return real(*arguments)

    monkeypatch.setattr(runs, "_cohorts", later)
    with pytest.raises(ValueError, match=r"pets: holds folder:pets@\w{16} now, and the run is of folder:pets@\w{16}"):
        quietly([RunSpec(data=f"folder:{path}", **FOLDER)], tmp_path / "store")
    assert RecordStore(tmp_path / "store").ids() == []


def test_a_relative_folder_is_found_by_a_worker_elsewhere(tmp_path, cache, monkeypatch):
    pictures(tmp_path / "data" / "pets")
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(runs, "_work", lambda jobs, store, machine, located, *_, **__: seen.append((machine, located)) or {})
    for data, root in (("folder:data/pets", None), ("folder:pets", "data")):
        quietly([RunSpec(data=data, **FOLDER)], tmp_path / "store", Machine(root=root, device="cpu"))
        [[machine, located]] = [seen.pop()]
        assert list(located.values()) == [f"folder:{tmp_path}/data/pets"]
        assert machine.root in (None, f"{tmp_path}/data")


def test_a_gpu_without_memory_says_which_batch_would_fit(tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(jobs, "train_cohort", full)
    with pytest.raises(RuntimeError, match="batch_size = 64 does not fit; batch_size = 32"):
        quietly([short("ce", batch_size=64)], tmp_path)


def test_the_rate_of_a_resumed_run_counts_what_was_done_since(tmp_path):
    spec = short("ce", epochs=4)
    with stopped_after(11):
        quietly([spec], tmp_path, Machine(device="cpu", checkpoint_seconds=0))
    [record] = quietly([spec], tmp_path)
    done = (4 * spec.train_size // spec.batch_size - 11) * spec.batch_size
    assert record.provenance["cohort_images_per_second"] * record.provenance["cohort_seconds"] == pytest.approx(done, rel=0.1)


def test_a_folder_with_nothing_to_mix_is_refused_before_anything_trains(tmp_path, cache, trained_ids):
    path = pictures(tmp_path / "few", test=1)
    with pytest.raises(ValueError, match="few: one test image in each class"):
        quietly([RunSpec(data=f"folder:{path}", **FOLDER)], tmp_path / "store")
    assert trained_ids() == []


KILLED = """
import sys
sys.path.insert(0, {tests!r})
import test_runs
from mixkd.runs import Machine, collect
if __name__ == "__main__":
    machine = Machine(device="cpu", checkpoint_seconds=0.02)
    collect(test_runs.PLAN, {store!r}, workers=2, machine=machine, progress=False)
"""


def living(session):
    """The processes of a session that are not zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


def kill(process, store):
    """Kill the parent alone: its workers end by themselves, and harm nothing meanwhile."""
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while living(process.pid):
        assert store.verify() == []
        assert time.monotonic() < deadline, f"workers outlive their parent: {living(process.pid)}"
        time.sleep(0.02)
    assert store.verify() == []
    store.list().frame()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for workers in /proc")
def test_a_killed_reproduction_resumes_to_the_same_bits(tmp_path, reference, trained_ids):
    store = RecordStore(tmp_path / "store")
    (tmp_path / "killed.py").write_text(KILLED.format(tests=str(Path(__file__).parent), store=str(store.path)))
    process = subprocess.Popen([sys.executable, str(tmp_path / "killed.py")], start_new_session=True)
    deadline = time.monotonic() + 120
    while process.poll() is None and not (store.ids() and list((store.path / ".checkpoints").glob("*.pt"))):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    kill(process, store)
    done = store.ids()
    assert not quietly(PLAN, store).failed
    assert bits(store) == bits(reference)
    assert not set(done) & set(trained_ids())
    assert {path.name for path in store.path.iterdir()} == {*store.ids(), ".weights", ".locks", ".checkpoints"}  # and nothing half written
    assert not list((store.path / ".checkpoints").iterdir())


class Tied(torch.nn.Module):
    """Two layers that share their weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = (torch.nn.Linear(64, n) for n in (64, 64, 10))
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.last(self.second(self.first(x.flatten(1)).relu()).relu())


class Normed(torch.nn.Sequential):
    """A batch norm over one value of each image."""

    def __init__(self):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 10))


@pytest.fixture
def of_functions(monkeypatch):
    module = types.ModuleType("functions_of_a_test")
    module.tied, module.normed = Tied, Normed
    monkeypatch.setitem(sys.modules, "functions_of_a_test", module)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_network_with_tied_tensors_is_written_and_read_back(tmp_path, of_functions):
    spec = short("kd", teacher=taught(model="python:functions_of_a_test:tied", epochs=1)).replace(student="python:functions_of_a_test:tied")
    record = run(spec, tmp_path, CPU, progress=False)
    store = RecordStore(tmp_path)
    assert store.verify() == []
    assert len(store.ids()) == 2
    assert export(record, store, tmp_path / "x.safetensors").is_file()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_batch_of_one_is_refused_where_it_means_nothing(tmp_path, of_functions):
    with pytest.raises(ValueError, match=r"batch_size = 1: arm 'mixup' mixes each image with another of its batch; give 2 or more"):
        short("mixup", batch_size=1)
    with pytest.raises(ValueError, match=r"batch_size = 1: .*normed@.* needs two images or more in a batch"):
        run(short("ce", batch_size=1).replace(student="python:functions_of_a_test:normed"), tmp_path, CPU, progress=False)
    assert RecordStore(tmp_path).ids() == []
    assert run(short("ce", batch_size=1, epochs=1, train_size=20), tmp_path, CPU, progress=False).id
