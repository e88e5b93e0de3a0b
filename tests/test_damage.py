"""Damage beside and inside records: what is used is what was written, and one bad record is one line for everybody else."""

import hashlib
import json
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch
from handmade import CPU, short, taught, written
from safetensors.torch import load_file, save_file

import mixkd
import mixkd.checksums as checksums
from mixkd.claims.evidence import Evidence
from mixkd.data import load_data
from mixkd.export import classifier, export
from mixkd.records import DamagedRecord
from mixkd.runs import collect
from mixkd.store import RecordStore
from mixkd.teachers import freeze


def flip(path, place=-7):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def seal(folder):
    """Write the checksums of what a record holds now, as whoever changed it on purpose would."""
    names = [name for name in checksums.FILES if (folder / name).exists()]
    (folder / "SHA256SUMS").write_text("".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names))


def one_line(store, bad, good):
    """What verify says of the bad record, which everybody else leaves out while the good one stays."""
    assert [record.id for record in store.list()] == [good.id]
    assert list(store.list().frame().id) == [good.id]
    with pytest.raises(DamagedRecord) as caught:
        store.load(bad.id)
    assert "\n" not in str(caught.value)
    found = store.find([bad.spec, good.spec])
    assert [record.id for record in found] == [good.id]
    [problem] = store.verify()
    assert str(bad.path) in problem
    assert "\n" not in problem
    assert len(problem) < 600
    return problem


def test_a_flipped_byte_in_a_teacher_reaches_no_student(tmp_path):
    teacher = short("kd", teacher=taught(epochs=1)).teacher_run()
    store = RecordStore(tmp_path)
    collect([teacher], store, workers=0, machine=CPU, progress=False)
    whole = store.weights(teacher.id).read_bytes()
    student = short("kd", teacher=taught(epochs=1), epochs=1)
    for place in (len(whole) - 1, len(whole) - 2000, len(whole) // 2):
        flip(store.weights(teacher.id), place)
        found = collect([student], store, workers=0, machine=CPU, progress=False)
        assert ".safetensors: differs from its checksum; remove it to have it trained again" in found.failed[student.id]
        assert student.id not in store
        record = store.load(teacher.id)
        for use in (
            lambda record=record: freeze(record, store.weights(teacher.id), load_data("digits")),
            lambda record=record: classifier(record, store),
            lambda record=record: export(record, store, tmp_path / "x.safetensors"),
        ):
            with pytest.raises(DamagedRecord, match=r"\.safetensors: differs"):
                use()
        store.weights(teacher.id).write_bytes(whole)
    store.weights(teacher.id).unlink()  # as the message said
    assert not collect([student], store, workers=0, machine=CPU, progress=False).failed
    assert store.weights(teacher.id).read_bytes() == whole


def test_two_records_with_swapped_tensors_are_no_evidence(store):
    one, _ = written(store, short())
    two, _ = written(store, short(seed=1), seed=1)
    a, b = (record.path / "tensors.safetensors" for record in (one, two))
    a.rename(a.with_suffix(".x"))
    b.rename(a)
    a.with_suffix(".x").rename(b)
    assert len(store.list()) == 0
    assert len(Evidence.of("digits", store).find([one.spec, two.spec])) == 0
    assert [problem.rpartition(": ")[2] for problem in store.verify()] == ["differs from its checksum"] * 2
    shutil.copy(two.path / "SHA256SUMS", one.path)  # with their checksums
    assert len(store.verify()) == 2


def test_a_file_that_changes_after_it_was_found_whole_is_not_read(store):
    record, _ = written(store, short())
    old = record.path.stat().st_mtime - 100
    again = store.load(record.id)
    flip(record.path / "tensors.safetensors")
    os.utime(record.path / "tensors.safetensors", (old, old))
    with pytest.raises(DamagedRecord, match="differs from its checksum"):
        again.logits()


def test_a_file_is_hashed_once_while_it_stays_as_it_is(store, monkeypatch):
    record, _ = written(store, short())
    monkeypatch.setattr(checksums.time, "time_ns", lambda: 2**62)  # long after it was written
    hashed = []
    real = checksums.sha256
    monkeypatch.setattr(checksums, "sha256", lambda path: hashed.append(path) or real(path))
    for _ in range(3):
        store.load(record.id).logits()
    assert hashed == [record.path / "tensors.safetensors"]
    assert store.verify() == []
    assert len(hashed) == 4  # verify reads what is on the disk, all three files
    flip(record.path / "tensors.safetensors")
    with pytest.raises(DamagedRecord):
        store.load(record.id)


def test_a_copy_of_a_record_is_no_record(store):
    record, _ = written(store, short())
    shutil.copytree(record.path, store.path / f"{record.id}.bak")
    shutil.copytree(record.path, store.path / "0123456789abcdef")
    flip(store.path / f"{record.id}.bak" / "tensors.safetensors")
    assert len(store.list()) == len(store.list().frame()) == 1
    assert f"{record.id}.bak" not in store.ids()
    problems = store.verify()
    assert len(problems) == 2
    assert f"its spec has id {record.id}" in problems[0]
    assert f"{record.id}.bak" in problems[1]
    with pytest.raises(DamagedRecord, match=f"its spec has id {record.id}"):
        store.load("0123456789abcdef")


def json_is(text, sealed=False):
    def harm(record):
        (record.path / "record.json").write_text(text)
        if sealed:
            seal(record.path)

    return harm


def sums_are(text):
    return lambda record: (record.path / "SHA256SUMS").write_text(text)


def sums_name(file):
    return lambda record: (record.path / "SHA256SUMS").write_text((record.path / "SHA256SUMS").read_text() + f"{'0' * 64}  {file}\n")


def a_folder(name):
    def harm(record):
        (record.path / name).unlink()
        (record.path / name).mkdir()

    return harm


def a_pipe(name):
    def harm(record):
        (record.path / name).unlink()
        os.mkfifo(record.path / name)

    return harm


def a_link(name):
    def harm(record):
        path = record.path / name
        other = record.path.parent.parent / f"elsewhere {name}"
        path.rename(other)
        path.symlink_to(other)

    return harm


def a_linked_folder(record):
    other = record.path.parent.parent / "elsewhere"
    record.path.rename(other)
    record.path.symlink_to(other)


def of_json(change):
    def harm(record):
        text = (record.path / "record.json").read_text()
        json_is(change(text), sealed=True)(record)

    return harm


huge_number = of_json(lambda text: text.replace('"epochs":', f'"epochs": {"9" * 5000}, "ignored":', 1))
another_spec = of_json(lambda text: text.replace('"seed": 1', '"seed": 77'))
many_faults = of_json(lambda text: json.dumps(json.loads(text) | {"spec": {"data": 3, "arm": "x" * 5000, "lr": "no", "momentum": []}}))


TEXTS = ["", "[]", "{}", '{"spec": {}}', '{"spec": {"data": "digits", "arm": "ec"}}', "\x00"]


@pytest.mark.parametrize(
    "harm",
    [
        sums_are(""), sums_are(f"{'0' * 64}  {'x' * 234}\n"), *map(sums_name, ("x" * 300, "../../../etc/passwd", "a\0b")),
        json_is("[" * 100_000), json_is("[" * 100_000, sealed=True), huge_number, another_spec, many_faults, *map(json_is, TEXTS),
        lambda record: (record.path / "SHA256SUMS").unlink(), a_linked_folder,
        lambda record: os.truncate(record.path / "tensors.safetensors", (record.path / "tensors.safetensors").stat().st_size - 5),
        a_folder("SHA256SUMS"), a_folder("record.json"), a_folder("tensors.safetensors"),
        a_pipe("SHA256SUMS"), a_pipe("record.json"), a_pipe("tensors.safetensors"),
        a_link("SHA256SUMS"), a_link("record.json"), a_link("tensors.safetensors"),
    ],
)  # fmt: skip
def test_one_bad_record_is_one_line_and_no_end_for_the_others(store, harm):
    good, _ = written(store, short())
    bad, _ = written(store, short(seed=1))
    harm(bad)
    if not (bad.path / "record.json").is_file():  # then it has no id to load it by
        assert len(store.list()) == 1
        assert len(store.verify()) == 1
    else:
        one_line(store, bad, good)


def test_an_unreadable_file_is_one_line(store, monkeypatch):
    good, _ = written(store, short())
    bad, _ = written(store, short(seed=1))
    real = Path.open

    def refuse(path, *arguments, **fields):
        if path == bad.path / "tensors.safetensors":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **fields)

    monkeypatch.setattr(Path, "open", refuse)
    assert one_line(store, bad, good) == f"{bad.path / 'tensors.safetensors'}: Permission denied"


def changed(record, **tensors):
    """Write other tensors into a record, with the checksums to match; None leaves one out."""
    path = record.path / "tensors.safetensors"
    kept = load_file(path) | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    save_file({name: tensor for name, tensor in kept.items() if tensor is not None}, path)
    seal(record.path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {"logits__test": torch.full_like(t["logits.test"], torch.nan)}, "logits.test is not finite"),
        (lambda t: {"features__test": torch.full_like(t["features.test"], torch.inf)}, "features.test is not finite"),
        (lambda t: {"labels__test": t["labels.test"] + 5}, "labels.test are not from 0 to 9"),
        (lambda t: {"labels__val": t["labels.val"] - 5}, "labels.val are not from 0 to 9"),
        (lambda t: {"logits__val": t["logits.val"][:, :7].clone()}, "no answers of 10 classes"),
        (lambda t: {"logits__val": t["logits.val"][:50].clone()}, "50 answers of split val do not fit its 60 labels"),
        (lambda t: {"logits__val": None}, "no tensor logits.val"),
        (lambda t: {"labels__test": None}, "no tensor labels.test"),
        (lambda t: {"probe__logits": None}, "no tensor probe.logits"),
        (lambda t: {"probe__logits": t["probe.logits"][:, :, :7].clone()}, "probe.logits of shape"),
        (lambda t: {"probe__pairs": t["probe.pairs"] + 100}, "probe.labels are not those of its pairs"),
        (lambda t: {"train_probe__labels": (t["train_probe.labels"] + 1) % 10}, "train_probe.labels are not those"),
        (lambda t: {"features__probe": None}, "no tensor features.probe"),
    ],
)
def test_verify_names_answers_that_make_no_sense(store, change, words):
    record, _ = written(store, short())
    good, _ = written(store, short(seed=1))
    assert store.verify() == []
    changed(record, **change(load_file(record.path / "tensors.safetensors")))
    [problem] = store.verify()
    assert words in problem
    assert record.id in problem
    assert good.id not in problem


@pytest.mark.parametrize("classes", [["a"] * 9, [], 3, None])
def test_verify_compares_classes_with_answers(store, classes):
    record, _ = written(store, short())
    of_json(lambda text: json.dumps(json.loads(text) | {"classes": classes}))(record)
    assert len(store.verify()) == 1


@pytest.mark.parametrize("field", ["classes", "lam", "curve", "provenance"])
def test_verify_misses_no_field(store, field):
    record, _ = written(store, short())
    of_json(lambda text: json.dumps({name: value for name, value in json.loads(text).items() if name != field}))(record)
    [problem] = store.verify()
    assert field in problem


def test_a_real_full_disk_leaves_nothing_behind(store):
    """A limit on the size of files, which safetensors runs into while it writes."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**15, before[1][1]))
    try:
        with pytest.raises(OSError, match=r"tensors\.safetensors: .*File too large"):
            written(store, short(), images=3000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[1])
        signal.signal(signal.SIGXFSZ, before[0])
    assert list(store.path.iterdir()) == []


def test_a_path_that_is_not_utf8_is_named_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("mixkd.jobs.train_cohort", lambda *_, **__: pytest.fail("it trained"))
    where = os.fsencode(tmp_path) + b"/runs\xff"
    for store in (os.fsdecode(where), Path(os.fsdecode(where)) / "deeper"):
        with pytest.raises(ValueError, match=r"store = .*runs\\udcff.*: must be a path in UTF-8"):
            collect([short()], store, workers=0, machine=CPU, progress=False)
    os.mkdir(where)
    monkeypatch.chdir(os.fsdecode(where))
    with pytest.raises(ValueError, match="must be a path in UTF-8"):
        RecordStore("runs")


@pytest.mark.parametrize("kind", ["to_sparse", "to_sparse_csr", "to_mkldnn"])
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_a_sparse_tensor_is_one_clear_error(kind):
    x, labels = torch.randn(20, 5), torch.randint(5, (20,))
    sparse = getattr(x, kind)()
    for measure in (
        lambda: mixkd.calibration.report(sparse, labels),
        lambda: mixkd.calibration.report(x, labels.to_sparse()),
        lambda: mixkd.vicinal.mix(sparse, 0.5, torch.randperm(20)),
    ):
        with pytest.raises(ValueError, match=r"where a dense one is needed; give .to_dense\(\) of it"):
            measure()
