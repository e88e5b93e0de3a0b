"""Exported networks: other programs get the logits of the record from pixels alone."""

import io
import json
import sys
import zipfile

import pytest
import torch
from handmade import CPU, Bomb, offset, short, written
from safetensors.torch import save

from mixkd.cli import main
from mixkd.data import load_data
from mixkd.export import SUFFIX, classifier, export, load
from mixkd.models import build
from mixkd.runs import run
from mixkd.spec import RunSpec
from mixkd.store import RecordStore


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A small CNN on digits, an MLP on vectors."""
    store = RecordStore(tmp_path_factory.mktemp("exported"))
    for spec in (short("ce"), RunSpec(data="gaussians", arm="ce", student="mlp16", epochs=2)):
        run(spec, store, CPU, progress=False)
    return store


def of(store, data):
    return next(record for record in store.list() if record.spec.data == data)


def pixels(data):
    images = load_data(data).splits["test"].images
    return images.float() / 255 if images.ndim == 4 else images


@pytest.mark.parametrize("data", ["digits", "gaussians"])
@pytest.mark.parametrize(("format", "suffix"), [("safetensors", ".safetensors"), ("torch", ".pt2")])
def test_what_is_exported_answers_as_the_record_does(store, tmp_path, data, format, suffix):
    record = of(store, data)
    path = export(record, store, tmp_path, format)
    assert path == tmp_path / f"{record.id}{suffix}"
    if format == "torch":
        extra = {"mixkd": ""}
        network, description = torch.export.load(path, extra_files=extra).module(), json.loads(extra["mixkd"])
    else:
        network, description = load(path)
    x = pixels(data)
    with torch.no_grad():
        logits = network(x)
        assert torch.allclose(network(x[:1]), logits[:1], atol=1e-5)
    recorded = record.logits("test")
    assert logits.shape == recorded.shape
    assert (offset(logits) - recorded).abs().max() < 5e-3 * recorded.abs().max()  # records keep half precision
    assert torch.equal(logits.argmax(1), recorded.argmax(1))
    assert description["classes"] == list(record.classes)
    assert description["input"]["mean"] == list(load_data(data).mean)
    assert description["record"] == record.id


def test_onnx_answers_as_the_record_does(store, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    record = of(store, "digits")
    model = onnx.load(export(record, store, tmp_path, "onnx"))
    description = json.loads({entry.key: entry.value for entry in model.metadata_props}["mixkd"])
    assert description["classes"] == list(record.classes)
    x = pixels("digits")[:40]
    [logits] = ReferenceEvaluator(model).run(["logits"], {"pixels": x.numpy()})
    recorded = record.logits("test")[:40]
    assert (offset(torch.from_numpy(logits)) - recorded).abs().max() < 5e-3 * recorded.abs().max()


def test_records_that_do_not_say_what_they_take_ask_the_data(store, monkeypatch):
    record = of(store, "digits")
    network, description = classifier(record, store)
    monkeypatch.setitem(record._json, "inputs", None)
    again, same = classifier(record, store)
    assert json.dumps(same) == json.dumps(description)
    x = pixels("digits")[:9]
    with torch.no_grad():
        assert torch.equal(again(x), network(x))


def test_a_library_network_keeps_its_own_normalisation(tmp_path):
    statistics = ((0.3, 0.4, 0.5), (0.2, 0.25, 0.3))
    model = build("torchvision:mobilenet_v2", 10, 3, 32, seed=3, statistics=statistics).eval()
    store = RecordStore(tmp_path)
    spec = RunSpec(data="cifar10", arm="ce", student="torchvision:mobilenet_v2", pretrained="IMAGENET1K_V2", epochs=3)
    record, _ = written(store, spec, weights=model.state_dict())
    record._json["inputs"] = {"channels": 3, "image_size": 32, "mean": statistics[0], "std": statistics[1]}
    network, _ = load(export(record, store, tmp_path / "out" / "m.safetensors"))
    x = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in statistics)
    with torch.no_grad():
        assert torch.allclose(network(x), model((x - mean) / std), atol=1e-5)


def test_the_command_makes_the_folder_and_says_where_it_is_and_what_it_takes(store, tmp_path, capsys):
    record = of(store, "digits")
    assert main(["export", record.id[:8], "--store", str(store.path), "--out", f"{tmp_path / 'new'}/"]) == 0
    out = capsys.readouterr().out
    for word in (str(tmp_path / "new" / f"{record.id}.safetensors"), "cnn8", "10 classes", "1 x 8 x 8", "0 to 1"):
        assert word in out
    assert [path.name for path in tmp_path.rglob("*.*")] == [f"{record.id}.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--format", "onxx"], 2, ["'onxx'", "safetensors, torch, onnx", "did you mean 'onnx'"]),
        (["--store", "nowhere"], 2, ["none in ", "nowhere"]),
        (["--format", "onnx"], 1, ["pip install onnx onnxscript", "mixkd[onnx]"]),
    ],
)
def test_what_cannot_be_exported_is_explained(store, tmp_path, monkeypatch, capsys, arguments, status, words):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    command = ["export", of(store, "digits").id, "--store", str(store.path), *arguments, "--out", str(tmp_path)]
    assert main(command) == status
    error = capsys.readouterr().err
    for word in words:
        assert word in error
    assert list(tmp_path.iterdir()) == []


def test_lost_weights_and_foreign_files_are_named(store, tmp_path):
    record = of(store, "digits")
    with pytest.raises(FileNotFoundError, match=f"record {record.id}: its weights are not in"):
        classifier(record, RecordStore(tmp_path))
    (tmp_path / "foreign.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"foreign\.safetensors: not a network that `mixkd export` wrote"):
        load(tmp_path / "foreign.safetensors")
    inputs = {"channels": 1, "image_size": 8, "mean": [0.5], "std": [0.5]}
    whole = {"model": "cnn8", "classes": ["a", "b"], "input": inputs, "temperature": 1.0, "scaled": False}
    for said in ({"classes": 3, "input": []}, whole):  # the second of other weights
        (tmp_path / "other.safetensors").write_bytes(save({"w": torch.ones(2)}, metadata={"mixkd": json.dumps(said)}))
        with pytest.raises(ValueError, match=r"^.*other\.safetensors: not a network that `mixkd export` wrote.*$"):
            load(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match=r"lost\.safetensors"):
        load(tmp_path / "lost.safetensors")
    with pytest.raises(ValueError, match="onnxruntime"):
        load(tmp_path / "x.onnx")


@pytest.mark.parametrize("name", ["net.PT2", "net.safetensors", "bare.pt2"])
def test_reading_a_network_runs_no_code(store, tmp_path, name):
    """An archive of torch.export whose sample inputs, constants or weights are pickles, under any name."""
    export(of(store, "digits"), store, tmp_path / "whole.pt2", "torch")
    flag, pickled = tmp_path / "went off", io.BytesIO()
    torch.save(Bomb(str(flag)), pickled)
    path = tmp_path / name
    if name == "bare.pt2":
        torch.save(Bomb(str(flag)), path, _use_new_zipfile_serialization=False)
    else:
        with zipfile.ZipFile(tmp_path / "whole.pt2") as whole, zipfile.ZipFile(path, "w") as archive:
            for member in whole.infolist():
                spoiled = member.filename.endswith(".pt") or "/constants/" in member.filename
                archive.writestr(member.filename, pickled.getvalue() if spoiled else whole.read(member))
    with pytest.raises(ValueError, match=r"archive of torch can run code.*--format safetensors"):
        load(path)
    assert not flag.exists()


@pytest.mark.parametrize(("name", "format"), [("net", "safetensors"), ("net.safetensors", "torch"), ("a/", "onnx")])
def test_a_file_that_could_not_be_read_back_is_refused_before_it_is_written(store, tmp_path, capsys, name, format):
    pytest.importorskip("onnxscript") if format == "onnx" else None
    command = ["export", of(store, "digits").id, "--store", str(store.path), "--out", str(tmp_path / name), "--format", format]
    assert main(command) == 2
    assert f"must end in {SUFFIX[format]}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_a_function_is_not_called_by_reading(tmp_path):
    text = json.dumps({"model": "python:antigravity:fly", "classes": ["a", "b"], "input": {}, "scaled": False})
    (tmp_path / "x.safetensors").write_bytes(save({"w": torch.ones(2)}, metadata={"mixkd": text}))
    with pytest.raises(ValueError, match="which is code, and is not called here"):
        load(tmp_path / "x.safetensors")
    assert "antigravity" not in sys.modules
