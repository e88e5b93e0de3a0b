"""Pipes, devices, links, odd names and nonsense with right checksums where files are read: nothing waits, and each is one line."""

import hashlib
import os
import signal
import zipfile

import pytest
import torch
from handmade import CPU, pictures, short, written
from safetensors.torch import load_file, save_file
from test_damage import seal
from trust import picture

from mixkd import batch, checkpoint, export, site, weights
from mixkd.checkpoint import DamagedCheckpoint, Settings
from mixkd.cli import main
from mixkd.data import load_data
from mixkd.folders import find
from mixkd.runs import collect
from mixkd.store import RecordStore

SETTINGS = Settings(short().id, "fp32", 1, "cpu")


@pytest.fixture(autouse=True)
def no_waiting():
    """What waits for a pipe ends with an error."""

    def late(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


ODD = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/null"),  # /dev/zero would fill the memory where this fails
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_is_put_aside_and_the_run_begins_anew(store, kind):
    spec = short(epochs=1)
    folder = store.path / ".checkpoints"
    folder.mkdir(parents=True)
    ODD[kind](folder / f"{spec.id}.pt")
    with pytest.warns(UserWarning, match=r"is not a regular file; it is .*\.damaged now, and run .* begins anew"):
        assert not collect([spec], store, workers=0, machine=CPU, progress=False).failed
    assert [path.name for path in folder.iterdir()] == [f"{spec.id}.damaged"]


def test_a_checkpoint_on_a_bad_block_is_damaged_and_any_other_error_is_no_reason_to_drop_one(tmp_path, monkeypatch):
    path = tmp_path / "x.pt"
    path.touch()
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(DamagedCheckpoint, match="cannot be read"):
        checkpoint.read(path, SETTINGS)
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda _: (_ for _ in ()).throw(OSError(24, "Too many open files")))
    with pytest.raises(OSError, match="Too many open files"):
        checkpoint.read(path, SETTINGS)


@pytest.mark.parametrize(
    "head",
    [b"[" * 100_000, b'{"spec": "%s", "precision": "fp32", "ranks": [1], "device": "cpu", "step": 1}' % SETTINGS.spec.encode(),
     b'{"spec": "%s", "precision": "a\\nb", "ranks": 1, "device": "cpu", "step": 1}' % SETTINGS.spec.encode(),
     b'{"spec": "%s", "precision": "%s", "ranks": 1, "device": "cpu", "step": 1}' % (SETTINGS.spec.encode(), b"x" * 10_000)],
)  # fmt: skip
def test_settings_of_another_kind_are_damage_though_the_checksum_fits(tmp_path, head):
    rest = head + b"\n"
    (tmp_path / "x.pt").write_bytes(b"mixkd checkpoint 1 " + hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
    with pytest.raises(DamagedCheckpoint, match="its settings cannot be read"):
        checkpoint.read(tmp_path / "x.pt", SETTINGS)


@pytest.mark.parametrize("name", ["rec\udcff", "two\nlines", "red\x1b[31m"])
def test_verify_names_any_file_name_in_one_line_of_text(store, name, capsys):
    record, _ = written(store, short())
    (record.path / name).touch()
    os.mkdir(store.path / name)
    (store.path / name / "record.json").write_text((record.path / "record.json").read_text())
    assert main(["records", "verify", "--store", str(store.path)]) == 1
    said = capsys.readouterr().out
    assert said.isprintable() is False  # the line ends
    assert len(said.splitlines()) == 2
    assert all(line.isprintable() for line in said.splitlines())


def test_nonsense_with_right_checksums_ends_no_list(store, capsys):
    good, _ = written(store, short())
    for seed, change in enumerate(({"logits.test": torch.full((60, 10), torch.nan).half()}, {"logits.val": None}), 1):
        bad, _ = written(store, short(seed=seed))
        tensors = load_file(bad.path / "tensors.safetensors") | change
        save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, bad.path / "tensors.safetensors")
        seal(bad.path)
        assert main(["records", "show", bad.id, "--store", str(store.path)]) == 1
        assert bad.id in capsys.readouterr().err
    assert main(["records", "list", "--store", str(store.path)]) == 0
    said = capsys.readouterr()
    assert good.id in said.out
    assert len(said.out.splitlines()) == 2
    assert "2 damaged" in said.err


@pytest.mark.parametrize("make", [lambda path: path.write_text("x"), lambda path: path.symlink_to("/nowhere")])
def test_what_lies_in_the_place_of_a_record_is_named_before_training(store, make, monkeypatch):
    monkeypatch.setattr("mixkd.jobs.train_cohort", lambda *_, **__: pytest.fail("it trained"))
    store.path.mkdir()
    make(store.path / short().id)
    found = collect([short()], store, workers=0, machine=CPU, progress=False)
    assert "to have it trained again" in found.failed[short().id]


def test_only_files_of_a_record_travel(store, tmp_path):
    record, _ = written(store, short())
    os.mkfifo(record.path / "pipe")
    (record.path / "tensors.safetensors").unlink()
    os.mkfifo(record.path / "tensors.safetensors")
    files = store.files(record.id)
    assert sorted(files) == ["SHA256SUMS", "model.safetensors", "record.json"]
    other = RecordStore(tmp_path / "other")
    other.receive(record.id, files)
    assert "tensors.safetensors: missing" in other.find([record.spec]).failed[record.id]


@pytest.mark.parametrize("kind", ODD)
def test_a_network_is_read_from_a_regular_file(tmp_path, kind):
    ODD[kind](tmp_path / "x")
    with pytest.raises(ValueError, match="is not a regular file"):
        export.load(tmp_path / "x")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"mixkd": "[" * 100_000}, "its metadata cannot be read"),
        ({"classes": "[" * 100_000}, "its metadata cannot be read"),
        ({"std": "0"}, "std must be above 0"),
        ({"mixkd": '{"scaled": true, "temperature": 0, "input": {"mean": [0], "std": [1]}, "classes": []}'}, "tensor head.* not finite"),
    ],
)
def test_metadata_of_weights_are_checked(tmp_path, metadata, words):
    save_file({"head.weight": torch.ones(2), "head.bias": torch.ones(2)}, tmp_path / "x.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match=words):
        weights.read(f"file:{tmp_path / 'x.safetensors'}")


def test_two_links_to_one_file_are_refused(tmp_path):
    folder = pictures(tmp_path / "images", 2, 2, "ab")
    (tmp_path / "other.png").write_bytes(picture(7))
    (folder / "train" / "a" / "x.png").symlink_to(tmp_path / "other.png")
    find(f"folder:{folder}", None, tmp_path)
    (folder / "test" / "b" / "y.png").symlink_to(tmp_path / "other.png")
    with pytest.raises(ValueError, match="are links to one file; remove one"):
        find(f"folder:{folder}", None, tmp_path)


def test_a_zip_is_opened_once_however_many_files_have_no_suffix(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in pictures(tmp_path / "images", 2, 2, "ab").rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path / "images"))
        for number in range(50):
            archive.writestr(f"notes/{number}", b"no image")
    opened = []
    real = zipfile.ZipFile.__init__
    monkeypatch.setattr(zipfile.ZipFile, "__init__", lambda self, *arguments: opened.append(1) or real(self, *arguments))
    with pytest.warns(UserWarning, match="left out"):
        find(f"folder:{tmp_path / 'x.zip'}", None, tmp_path)
    assert len(opened) < 5


def test_an_image_whose_name_has_a_line_end_is_one_line(tmp_path):
    folder = pictures(tmp_path / "images", 2, 2, "ab")
    (folder / "train" / "a" / "x\ny.png").write_bytes(b"")
    for use in (
        lambda: load_data(f"folder:{folder}", image_size=8, cache=tmp_path),
        lambda: [split.images.decode() for split in load_data(f"stream:{folder}", image_size=8).splits.values()],
    ):
        with pytest.raises(ValueError, match="cannot be read as an image") as caught:
            use()
        assert "\n" not in str(caught.value)


def test_a_new_site_leaves_the_folders_beside_it(tmp_path):
    for name in ("made", "html", "html.old", "html.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(name)
    site._replace(tmp_path / "made", tmp_path / "html")
    assert {path.name: (path / "index.html").read_text() for path in tmp_path.iterdir()} == {
        "made": "made", "html": "made", "html.old": "html.old", "html.new": "html.new",
    }  # fmt: skip


@pytest.mark.parametrize("hidden", ["", " ", "\t", "\r", "\ufeff", "\u200b", "\0", "\u00a0"])
@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_cell_is_taken_for_a_formula(hidden, sign):
    assert batch._harmless(f"{hidden}{sign}1+cmd") == f"'{hidden}{sign}1+cmd"
    assert batch._harmless("-0.5") == "-0.5"
