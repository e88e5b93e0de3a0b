"""Records: what was written comes back, what was damaged is named, what was not finished does not exist."""

import errno
import json
import shutil

import pandas as pd
import pytest
import torch
from handmade import offset, short, written
from hypothesis import given, settings
from hypothesis import strategies as st

import mixkd.store as stores
from mixkd.measure import calibration
from mixkd.records import DamagedRecord, Records
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.store import RecordStore
from mixkd.vicinal import FEATURE_LAMS, LAM_GRID

FILES = ("record.json", "tensors.safetensors", "model.safetensors", "SHA256SUMS")


def everything(store):
    return sorted(str(path.relative_to(store.path)) for path in store.path.rglob("*"))


def test_a_record_round_trips(store):
    spec = short("kd_mixup", tau=4)
    _, tensors = written(store, spec, views=3)
    record = RecordStore(store.path).load(spec.id)
    assert record.spec == spec
    assert record.id == spec.id
    assert record.classes[9] == "class 9"
    assert record.provenance == {"device": "none"}
    assert record.curve.equals(pd.DataFrame([{"epoch": 1, "train_loss": 0.5}]))
    assert record.splits == ("test", "train", "val")
    for split in record.splits:
        assert torch.allclose(record.logits(split), offset(tensors[f"logits.{split}"]), atol=1e-2)
        assert record.logits(split).dtype == torch.float32
    assert torch.equal(record.labels(), tensors["labels.test"].repeat(3))
    assert torch.equal(record.images(), torch.arange(60).repeat(3))
    for name, probe, lam in (("probe", record.probe, LAM_GRID), ("train_probe", record.train_probe, FEATURE_LAMS)):
        assert torch.allclose(probe.logits, offset(tensors[f"{name}.logits"]), atol=1e-2)
        assert probe.lam.tolist() == list(lam)
        assert torch.equal(probe.pairs, tensors[f"{name}.pairs"])
        assert torch.equal(probe.labels, tensors[f"{name}.labels"])
        assert torch.equal(probe.same_class, probe.labels[:, 0] == probe.labels[:, 1])
    assert torch.allclose(record.noise_logits, offset(tensors["noise.logits"]), atol=1e-2)
    assert record.tensor("noise.sigma").item() == 0.7
    assert torch.allclose(record.features, tensors["features.test"], rtol=1e-3)
    assert record.probe_features.shape == (3, 5, 4)
    assert record.projection is None
    assert store.verify() == []
    assert store.weights(spec.id).is_file()
    assert spec.id in store
    assert [found.id for found in store.list()] == [spec.id]


def test_where_no_noise_is_as_uncertain_as_blends_there_is_none(store):
    record, _ = written(store, short(), noise=False)
    assert record.noise_logits is None
    assert store.verify() == []


def test_a_record_of_another_format_is_named_with_its_format(store):
    spec = short()
    record, _ = written(store, spec)
    path = record.path / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 1}))
    with pytest.raises(DamagedRecord) as caught:
        store.load(record.id)
    for problem in (str(caught.value), store.find([spec]).failed[spec.id]):
        assert f"{path}: format 1; this version reads format 2" in problem
    assert str(path) in store.verify()[0]
    assert len(store.list()) == 0


def answers(n, classes, scale, shift, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator) * scale + shift
    logits[torch.arange(n), labels] += 2.5 * scale
    return logits, labels, stores._pack({"logits.test": logits})["logits.test"].float()


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([2, 10, 200]), st.floats(0.1, 30), st.floats(-300, 300), st.integers(0, 99))
def test_packing_moves_no_confidence_by_more_than_rounding(classes, scale, shift, seed):
    logits, labels, back = answers(400, classes, scale, shift, seed)
    exact, stored = (x.double().softmax(-1).amax(-1) for x in (logits, back))
    assert (exact - stored).abs().max() < 2.5e-4
    crossed = int(((exact * 15).ceil() != (stored * 15).ceil()).sum())  # ECE jumps where a row changes its bin
    one, other = calibration.report(logits, labels), calibration.report(back, labels)
    assert abs(one.ece - other.ece) <= 1e-4 + 2 * crossed / 400
    below = logits.amax(-1) - logits.gather(-1, labels[:, None])[:, 0]  # float16 keeps 11 bits of how far a label lies below the top
    assert abs(other.nll - one.nll) <= 2**-11 * float(below.mean()) + 1e-4
    assert other.accuracy == one.accuracy


def test_an_absurd_gap_between_logits_stays_finite():
    back = stores._pack({"logits.test": torch.tensor([[0.0, 1e6]])})["logits.test"].float()
    assert back.isfinite().all()
    assert back.argmax() == 1


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["changed", "missing", "cut"])
def test_verify_names_what_is_damaged(store, name, harm):
    whole, _ = written(store, short())
    record, _ = written(store, short(seed=1))
    path = record.path / name
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-7] if harm == "cut" else content[:-7] + bytes([content[-7] ^ 1]) + content[-6:])
    problems = store.verify()
    assert problems
    assert str(path) in problems[0] if name != "SHA256SUMS" else str(record.path) in problems[0]
    assert not any(whole.id in problem for problem in problems)
    assert len({problem.split(":")[0] for problem in problems}) == len(problems)  # each file once


def test_verify_names_two_damaged_files_and_a_stray_one(store):
    record, _ = written(store, short())
    (record.path / "tensors.safetensors").unlink()
    (record.path / "record.json").write_text("{}")
    (record.path / "stray").touch()
    text = "\n".join(store.verify())
    for word in ("tensors.safetensors: missing", "record.json: differs", "SHA256SUMS: does not list stray"):
        assert word in text


def test_verify_finds_a_record_that_has_lost_its_json_and_nobody_trains_it_again(store):
    spec = short()
    record, _ = written(store, spec)
    (record.path / "record.json").unlink()
    assert store.verify() == [f"{record.path / 'record.json'}: missing"]
    assert spec.id in store
    found = store.find([spec])
    assert len(found) == 0
    assert "record.json: missing" in found.failed[spec.id]
    assert f"remove {record.path}" in found.failed[spec.id]


def test_what_a_killed_writer_left_is_no_record_and_is_swept(store):
    record, _ = written(store, short())
    other, _ = written(store, short(seed=1))
    for name in (f".{record.id}.abc", f".{record.id}.abc.old", f".{other.id}.abc"):
        shutil.copytree(record.path, store.path / name)
    assert store.ids() == sorted([record.id, other.id])
    assert store.verify() == []
    store.sweep(record.id)
    assert everything(store)[0] == f".{other.id}.abc"
    assert {path.name for path in store.path.iterdir()} == {record.id, other.id, f".{other.id}.abc"}


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize(("where", "call"), [("save_file", 1), ("save_file", 2), ("sha256", 2), ("_fsync", 1), ("_fsync", 4)])
def test_a_full_disk_leaves_nothing_behind(store, monkeypatch, where, call, heavy):
    monkeypatch.setattr(stores, "WEIGHTS_CAP", 4 if heavy else 10**6)
    kept, _ = written(store, short())
    before = everything(store)
    real, calls = getattr(stores, where), 0

    def full(*arguments):
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(stores, where, full)
    with pytest.raises(OSError, match="No space left"):
        written(store, short(seed=1))
    calls = 0
    with pytest.raises(OSError, match="No space left"):
        written(store, short())  # a record that is there stays as it was
    assert everything(store) == before
    assert [found.id for found in store.list()] == [kept.id]
    assert store.verify() == []


def test_replacing_a_record_is_all_or_nothing(store, monkeypatch):
    record, _ = written(store, short(), seed=0)
    before = record.logits().clone()
    real = stores.os.rename

    def full(source, target):
        if str(target) == str(record.path) and not str(source).endswith(".old"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(stores.os, "rename", full)
    with pytest.raises(OSError, match="No space"):
        written(store, short(), seed=1)
    assert torch.equal(store.load(record.id).logits(), before)
    monkeypatch.setattr(stores.os, "rename", real)
    written(store, short(), seed=1)
    assert not torch.equal(store.load(record.id).logits(), before)
    assert {path.name for path in store.path.iterdir()} == {record.id}


def test_large_weights_lie_beside_the_records(store, monkeypatch):
    light, _ = written(store, short())
    monkeypatch.setattr(stores, "WEIGHTS_CAP", 4)
    heavy, _ = written(store, short(seed=1))
    assert store.weights(light.id) == light.path / "model.safetensors"
    assert store.weights(heavy.id) == store.path / ".weights" / f"{heavy.id}.safetensors"
    assert not (heavy.path / "model.safetensors").exists()
    assert store.verify() == []
    assert len(store.list()) == 2
    store.weights(heavy.id).unlink()
    assert store.weights(heavy.id) is None


def test_damaged_heavy_weights_are_named_and_not_read_and_missing_ones_are_not(store):
    record, _ = written(store, short("ce"), weights={"weight": torch.ones(2**18)})
    weights = store.weights(record.id)
    assert record.state(weights)["weight"].shape == (2**18,)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert store.verify() == store.verify([record.id]) == [f"{weights}: differs from its checksum"]
    with pytest.raises(DamagedRecord, match=r"\.weights/.*differs from its checksum"):
        record.state(weights)
    weights.unlink()
    assert store.verify() == []  # the record is whole without them


def test_load_by_a_beginning(store):
    ids = [written(store, short(seed=seed))[0].id for seed in range(20)]  # twenty ids: two begin alike
    shared = next(letter for letter in "0123456789abcdef" if sum(id.startswith(letter) for id in ids) > 1)
    assert store.load(ids[0]).id == ids[0]
    assert store.load(ids[0][:12]).id == ids[0]
    with pytest.raises(KeyError, match=r"ambiguous, \d+ records begin with it.*20 records"):
        store.load(shared)
    with pytest.raises(KeyError, match="'xyz': none in"):
        store.load("xyz")


def test_frame_measures_every_row_once(store):
    many, _ = written(store, short(), views=4)
    other, _ = written(store, RunSpec(data="gaussians", arm="ce", student="mlp16"), images=30)
    frame = store.list().frame().set_index("id")
    assert (frame.n[many.id], frame.n[other.id]) == (240, 30)
    assert (frame.nll[many.id], frame.temperature[many.id]) == (many.report().nll, many.temperature)
    assert frame.ts_ece[many.id] == many.report(scaled=True).ece


def test_frame_columns_say_what_the_run_was(store):
    teacher = TeacherSpec(model="cnn32", arm="mixup", seed=2, temperature="fitted", temperature_factor=0.5)
    spec, plain = short("kd_mixup", tau="std", teacher=teacher, train_size=100), short("ce")
    for each in (spec, plain):
        written(store, each)
    frame = store.find([spec, plain]).frame()
    row = frame.iloc[0]
    assert row[["arm", "teacher", "teacher_arm", "teacher_seed", "teacher_temperature", "teacher_factor", "tau", "alpha"]].tolist() == [
        "kd_mixup", "cnn32", "mixup", 2, "fitted", 0.5, "std", 1.0,
    ]  # fmt: skip
    assert frame.iloc[1].alpha == 0
    assert frame.iloc[1][["teacher", "teacher_factor", "tau", "smoothing"]].isna().all()


def test_select(store):
    specs = [short("ce"), short("kd", tau=2), short("kd", tau=4), short("kd", tau="std"), short("mixup", alpha=0.4)]
    for spec in specs:
        written(store, spec)
    found = store.find(specs)
    assert len(found.select(arm="kd")) == 3
    assert [record.spec.tau for record in found.select(arm="kd", tau=4.0)] == [4.0]
    assert [record.spec.tau for record in found.select(tau="std")] == ["std"]
    assert [record.spec.arm for record in found.select(alpha=0)] == ["ce", "kd", "kd", "kd"]
    assert len(found.select(teacher="cnn16", teacher_seed=0, teacher_factor=1)) == 3
    assert len(found.select(teacher_factor=2)) == 0
    assert len(found.select(arm="nothing of the kind")) == 0
    assert isinstance(found[1:3], Records)
    with pytest.raises(KeyError, match=r"'taau'.*did you mean 'tau'"):
        found.select(taau=2)
    with pytest.raises(KeyError, match="select by data, arm"):
        Records([]).select(colour="red")


def test_find_keeps_the_order_and_says_what_is_missing(store):
    a, b, c = (short(seed=seed) for seed in range(3))
    for spec in (a, b):
        written(store, spec)
    found = store.find([b, c, a, b])
    assert [record.id for record in found] == [b.id, a.id]
    assert found.failed == {c.id: "missing"}


def test_no_path_and_no_metric_is_kept_and_others_can_read_it(store):
    record, _ = written(store, short())
    kept = json.loads((record.path / "record.json").read_text())
    assert set(kept) == {"format", "id", "spec", "classes", "lam", "curve", "provenance"}
    assert str(store.path) not in (record.path / "record.json").read_text()
    assert [path.stat().st_mode & 0o444 for path in record.path.iterdir()] == [0o444] * 4  # others can read it


def test_the_committed_store_is_the_repositorys_or_an_error_that_helps(monkeypatch, tmp_path):
    monkeypatch.setattr(stores, "__file__", str(tmp_path / "mixkd" / "store.py"))
    with pytest.raises(FileNotFoundError, match=r"come with the repository.*pip install -e"):
        RecordStore("committed")
    (tmp_path / "book" / "records").mkdir(parents=True)
    assert RecordStore("committed").path == tmp_path / "book" / "records"


@pytest.mark.parametrize(
    ("errors", "told"),
    [(0, "no errors among 60 rows"), (1, "1 error among 60 rows"), (2, ""), (60, r"temperature 1e.03 fitted .* out of reach")],
)
def test_a_temperature_that_validation_data_cannot_tell_stays_one(tmp_path, errors, told):
    labels = torch.arange(60) % 10
    logits = 6 * torch.nn.functional.one_hot(labels, 10).float()
    logits[:errors] = logits[:errors].roll(1, dims=1)
    spec = short("ce")
    record, tensors = written(RecordStore(tmp_path / "made"), spec)
    tensors |= {"logits.val": logits, "labels.val": labels}
    record = RecordStore(tmp_path / "store").put(spec, tensors, lam=LAM_GRID, classes="abcdefghij", curve=[], provenance={}, weights={})
    if not told:
        assert record.temperature == calibration.fit_temperature(logits, labels)
        return
    with pytest.warns(RuntimeWarning, match=rf"record {record.id}: .*{told}.*; it stays 1"):
        assert record.temperature == 1
    assert record.report(scaled=True) == record.report()
