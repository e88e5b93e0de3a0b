"""Stores behind a URL: the same records as in a folder, whole or not there, one trainer for each run, whoever asks."""

import os
import subprocess
import sys
import threading
import time
import uuid

import fsspec
import pytest
import torch
from handmade import CPU, short, written

import mixkd.shared as shared
from mixkd.records import DamagedRecord, RecordStore
from mixkd.runs import collect
from mixkd.shared import Remote
from mixkd.spec import TeacherSpec


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Mirrors lie in a home of this test's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(params=["memory", "local"])
def url(request, tmp_path):
    return f"memory://{uuid.uuid4().hex}/store" if request.param == "memory" else f"local://{tmp_path}/store"


def files(url):
    fs, root = fsspec.core.url_to_fs(url)
    return {path.removeprefix(root).lstrip("/"): fs.cat_file(path) for path in fs.find(root)}


def test_a_file_url_is_the_plain_folder(tmp_path):
    store = RecordStore(f"file://{tmp_path}/runs")
    assert store.remote is None
    assert store.path == tmp_path / "runs"
    assert store.address == str(tmp_path / "runs")


def test_what_goes_in_comes_out_on_another_machine(url, home, monkeypatch):
    store = RecordStore(url)
    assert store.ids() == []
    assert store.address == url
    record, _ = written(store, short("ce"))
    monkeypatch.setenv("HOME", str(home) + "-other")
    other = RecordStore(url)
    assert other.path != store.path
    assert record.id in other
    assert other.ids() == [record.id]
    assert torch.equal(other.load(record.id[:6]).logits("val"), record.logits("val"))
    assert [found.id for found in other.list()] == [record.id]
    assert other.find([short("ce"), short("mixup")]).failed == {short("mixup").id: "missing"}
    assert other.weights(record.id).read_bytes() == store.weights(record.id).read_bytes()
    assert other.verify() == []


def test_heavy_weights_lie_beside_and_are_found_elsewhere(url, home, monkeypatch):
    store = RecordStore(url)
    record, _ = written(store, short("ce"), weights={"weight": torch.ones(2**18)})
    assert f".weights/{record.id}.safetensors" in files(url)
    monkeypatch.setenv("HOME", str(home) + "-other")
    assert RecordStore(url).weights(record.id).stat().st_size > 2**20
    assert RecordStore(url).weights("0" * 16) is None


def test_weights_that_were_made_again_elsewhere_are_loaded_anew(url, home, monkeypatch):
    id, mirror = short("ce").id, os.environ["HOME"]
    written(RecordStore(url), short("ce"), weights={"weight": torch.ones(2**18)})
    first = RecordStore(url).weights(id).read_bytes()
    monkeypatch.setenv("HOME", str(home) + "-other")
    written(RecordStore(url), short("ce"), seed=1, weights={"weight": torch.zeros(2**18)})
    second = RecordStore(url).weights(id).read_bytes()
    monkeypatch.setenv("HOME", mirror)
    assert RecordStore(url).weights(id).read_bytes() == second != first


def test_no_two_places_share_a_mirror():
    assert RecordStore("memory://lab/a/runs").path != RecordStore("memory://lab/a_runs").path


def test_whoever_lists_the_store_leaves_an_upload_alone(url, monkeypatch):
    """Two processes of one machine have one mirror."""
    store = RecordStore(url)
    kind = type(store.remote._fs)
    real = kind.put_file

    def meanwhile(self, here, there, *arguments, **options):
        RecordStore(url).here()
        return real(self, here, there, *arguments, **options)

    monkeypatch.setattr(kind, "put_file", meanwhile)
    record, tensors = written(store, short("ce"))
    assert store.ids() == [record.id]
    assert store.verify() == []
    torch.testing.assert_close(store.load(record.id).logits("val"), tensors["logits.val"], rtol=1e-2, atol=1e-2)


def test_a_store_that_cannot_be_written_to_says_so(url, monkeypatch):
    monkeypatch.setattr(shared, "LEASE", 0.2)
    store = RecordStore(url)

    def refuse(*_, **__):
        raise PermissionError("read only")

    monkeypatch.setattr(type(store.remote._fs), "pipe_file", refuse)
    with pytest.raises(OSError, match=r"store: cannot be written to \(PermissionError: read only\)"), store.lock("0" * 16):
        pass


def test_an_upload_that_was_cut_off_is_no_record(url, home, monkeypatch):
    store = RecordStore(url)
    kind = type(store.remote._fs)
    real, sent = kind.put_file, []

    def cut(self, here, there, *arguments, **options):
        if len(sent) == 2:
            raise OSError("connection lost")
        sent.append(there)
        return real(self, here, there, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "put_file", cut)
        with pytest.raises(OSError, match="connection lost"):
            written(store, short("ce"))
    assert len(sent) == 2
    assert not any(path.endswith("record.json") for path in files(url))
    monkeypatch.setenv("HOME", str(home) + "-other")
    other = RecordStore(url)
    assert other.ids() == []
    assert short("ce").id not in other
    written(other, short("ce"))  # the next try makes it whole
    assert other.verify() == []
    assert other.ids() == [short("ce").id]


def test_a_record_that_was_replaced_is_loaded_anew(url, home, monkeypatch):
    written(RecordStore(url), short("ce"), seed=0)
    here = RecordStore(url).load(short("ce").id).logits("val")
    mirror = os.environ["HOME"]
    monkeypatch.setenv("HOME", str(home) + "-other")
    written(RecordStore(url), short("ce"), seed=1)
    monkeypatch.setenv("HOME", mirror)
    assert not torch.equal(RecordStore(url).load(short("ce").id).logits("val"), here)


def test_damage_in_the_remote_place_is_named(url):
    store = RecordStore(url)
    record, _ = written(store, short("ce"))
    fs, root = fsspec.core.url_to_fs(url)
    fs.pipe_file(f"{root}/{record.id}/tensors.safetensors", b"nothing")
    [problem] = store.verify()
    assert "tensors.safetensors: differs from its checksum" in problem
    with pytest.raises(DamagedRecord):
        store.load(record.id)


def test_training_into_a_url_gives_the_bits_of_a_folder(url, tmp_path):
    specs = [short("kd", teacher=TeacherSpec(model="cnn16", epochs=2)), short("ce")]
    records = collect(specs, url, workers=0, machine=CPU, progress=False)
    assert not records.failed
    folder = RecordStore(tmp_path / "folder")
    collect(specs, folder, workers=0, machine=CPU, progress=False)
    theirs = files(url)
    for id in folder.ids():
        assert theirs[f"{id}/tensors.safetensors"] == (folder.path / id / "tensors.safetensors").read_bytes()
    assert sorted({path.split("/")[0] for path in theirs if not path.startswith(".")}) == folder.ids()
    assert not [path for path in theirs if path.startswith(".locks")]
    assert RecordStore(url).here().is_dir()


def test_one_holds_a_lock_and_the_next_waits(url):
    first, second, order = Remote(url), Remote(url), []

    def later():
        with second.lock("run"):
            order.append("second")

    with first.lock("run"):
        with pytest.raises(TimeoutError, match="is held by"), second.lock("run", wait=False):
            pass
        other = threading.Thread(target=later)
        other.start()
        time.sleep(0.3)
        order.append("first")
    other.join(30)
    assert order == ["first", "second"]


def test_a_lease_whose_holder_is_gone_is_taken_over_and_one_with_a_beat_is_not(url, monkeypatch):
    monkeypatch.setattr(shared, "LEASE", 0.8)
    remote = Remote(url)
    fs, root = fsspec.core.url_to_fs(url)
    fs.makedirs(f"{root}/.locks", exist_ok=True)
    fs.pipe_file(f"{root}/.locks/run.lease", b"a machine that is gone 0")
    with remote.lock("run"):
        taken = threading.Event()

        def wait():
            with Remote(url).lock("run"):
                taken.set()

        other = threading.Thread(target=wait, daemon=True)
        other.start()
        assert not taken.wait(2)  # the beat of the holder keeps it
    assert taken.wait(20)
    other.join(20)
    assert not fs.exists(f"{root}/.locks/run.lease")


def test_an_unknown_protocol_says_so():
    with pytest.raises(ValueError, match=r"store = 'nothing://x'.*a folder, or a URL"):
        RecordStore("nothing://x")


def test_the_s3_protocol_against_a_server(tmp_path, monkeypatch):
    """The same code against a real S3 protocol; moto and s3fs are no requirement of the tests."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install s3fs 'moto[server]'")
    pytest.importorskip("moto.server", reason="moto is not installed: pip install s3fs 'moto[server]'")
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.get_host_and_port()[1]}")
        fsspec.filesystem("s3").mkdir("bucket")
        url = "s3://bucket/runs"
        records = collect([short("kd", teacher=TeacherSpec(model="cnn16", epochs=2))], url, workers=0, machine=CPU, progress=False)
        assert not records.failed
        monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
        store = RecordStore(url)
        assert len(store.ids()) == 2
        assert store.verify() == []
        with store.lock("run"), pytest.raises(TimeoutError), store.lock("run", wait=False):
            pass
    finally:
        server.stop()


def test_the_command_line_takes_a_url(tmp_path):
    written(RecordStore(f"local://{tmp_path}/store"), short("ce"))
    command = [sys.executable, "-m", "mixkd", "records", "verify", "--store", f"local://{tmp_path}/store"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 records in local://" in done.stdout
