"""Teachers of the user's own: files and functions are found, known by content, read without running code, and fitted into networks."""

import json
import sys
import warnings
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from handmade import CPU, offset, short
from safetensors.torch import save_file
from torch import nn

from mixkd import weights
from mixkd.data import load_data
from mixkd.export import export
from mixkd.export import load as load_exported
from mixkd.models import build
from mixkd.runs import run
from mixkd.spec import RunSpec, SpecError, TeacherSpec
from mixkd.store import RecordStore
from mixkd.studies import one
from mixkd.train import network, predict

MEAN, STD = (0.3, 0.4, 0.5), (0.2, 0.25, 0.3)


class Block(nn.Module):
    """As in published CIFAR ResNets: a shortcut without parameters."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out)
        self.grows = c_in != c_out

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.grows:
            pad = x.shape[1] // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, pad, pad))
        return F.relu(out + x)


class Published(nn.Module):
    """A ResNet of 6n + 2 layers, written as its authors do."""

    def __init__(self, n, n_classes=10):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        c_in = 16
        for stage, c_out in enumerate((16, 32, 64), 1):
            blocks = [Block(c_in if not b else c_out, c_out, 2 if stage > 1 and not b else 1) for b in range(n)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            c_in = c_out
        self.linear = nn.Linear(64, n_classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def published(n=2, n_classes=10):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = Published(n, n_classes)
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return made.eval()


def pixels(n=4, size=16, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "write",
    [
        lambda state, path: save_file(state, path, metadata={"mean": "0.3 0.4 0.5", "std": "[0.2, 0.25, 0.3]"}),
        lambda state, path: torch.save(state, path),
        lambda state, path: torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, path),
        lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    ],
)
@pytest.mark.parametrize("n", [1, 2])
def test_published_resnets_answer_as_their_authors_code(tmp_path, write, n):
    theirs = published(n)
    write(theirs.state_dict(), tmp_path / "net.bin")
    read = weights.read(f"file:{tmp_path / 'net.bin'}")
    read = replace(read, mean=read.mean or MEAN, std=read.std or STD)
    ours = build(f"resnet{6 * n + 2}", 10, statistics=((0.5,) * 3, (0.5,) * 3), weights=read).eval()
    assert ours.whole
    x = pixels()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        assert torch.allclose(ours((x - 0.5) / 0.5), theirs((x - mean) / std), rtol=1e-4, atol=1e-4)


def test_a_head_of_other_classes_is_fresh_and_the_body_is_kept(tmp_path):
    theirs = published(1)
    save_file(theirs.state_dict(), tmp_path / "net.safetensors")
    ours = build("resnet8", 7, weights=weights.read(f"file:{tmp_path / 'net.safetensors'}"))
    assert not ours.whole
    assert ours.head.weight.shape == (7, 64)
    assert torch.equal(ours.body[1][0].conv.weight, theirs.conv1.weight)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no weights that can be read without running code"),
        (b"cut off", "holds no weights that can be read"),
        ({"a": torch.ones(2)}, "does not fit resnet8: it lacks 0.conv.weight.*the network has no a"),
        ({"epoch": 3}, "holds no tensors by name"),
        ({"a": torch.tensor([1.0, float("nan")])}, "tensor a holds values that are not finite"),
        (nn.Linear(2, 2), "without running code"),
    ],
)
def test_files_that_cannot_be_used_are_one_line(tmp_path, content, message):
    path = tmp_path / "net.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=message) as error:
        build("resnet8", 10, weights=weights.read(f"file:{path}"))
    assert "\n" not in str(error.value)


def test_every_cut_of_a_file_is_an_error_of_one_line(tmp_path):
    save_file({"linear.weight": torch.ones(2, 3)}, tmp_path / "whole.safetensors", metadata={"mean": "0.1"})
    whole = (tmp_path / "whole.safetensors").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut.safetensors").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="holds no weights"):
            weights.read(f"file:{tmp_path / 'cut.safetensors'}")


def test_a_file_is_known_by_name_and_content(tmp_path):
    path = tmp_path / "net.pt"
    torch.save(published(1).state_dict(), path)
    known = weights.identity("file:net.pt", tmp_path)
    assert known.startswith("file:net.pt@")
    assert str(tmp_path) not in known
    assert weights.find(known, tmp_path) == path
    torch.save(published(1, 3).state_dict(), path)
    with pytest.raises(ValueError, match="another file now"):
        weights.read(known, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"gone\.pt does not exist.*--data-root"):
        weights.find("file:gone.pt")


@pytest.fixture(scope="module")
def trained_teacher(tmp_path_factory):
    """A store with a trained network, and its export."""
    folder = tmp_path_factory.mktemp("own")
    store = RecordStore(folder / "store")
    record = run(short("ce", epochs=10), store, CPU, progress=False)
    return record, export(record, store, folder / "net.safetensors"), export(record, store, folder / "scaled.safetensors", scaled=True)


def test_what_was_exported_teaches_as_it_is_or_fine_tuned(tmp_path, trained_teacher):
    record, path, scaled = trained_teacher
    store = RecordStore(tmp_path / "store")
    spec = short("kd", teacher=TeacherSpec(model="cnn8", pretrained=f"file:{path}"))
    student = run(spec, store, CPU, progress=False)
    assert student.spec.teacher.pretrained.startswith("file:net.safetensors@")
    teacher = store.load(student.spec.teacher_run().id)
    assert torch.allclose(teacher.logits(), record.logits(), atol=2e-2)
    assert teacher.spec.epochs == 0
    assert str(tmp_path) not in (student.path / "record.json").read_text()
    assert run(spec, store, CPU, progress=False).id == student.id
    tuned = run(spec.replace(teacher=TeacherSpec(model="cnn8", pretrained=f"file:{path}", epochs=1)), store, CPU, progress=False)
    assert store.load(tuned.spec.teacher_run().id).spec.epochs == 1
    cooler = network(RunSpec(data="digits", arm="ce", student="cnn8", epochs=0, pretrained=f"file:{scaled}"), load_data("digits")).eval()
    logits = predict(cooler, load_data("digits"), load_data("digits").splits["val"].images)
    assert torch.allclose(offset(logits), record.logits("val") / record.temperature, atol=2e-2)
    again, description = load_exported(export(teacher, store, tmp_path / "again.safetensors"))
    assert description["classes"] == list(record.classes)
    x = load_data("digits").splits["test"].images[:5] / 255
    with torch.no_grad():
        assert torch.allclose(again(x), load_exported(path)[0](x), atol=1e-4)


def test_classes_are_compared_by_name(tmp_path, trained_teacher):
    _, path, _ = trained_teacher
    data = load_data("digits")
    spec = RunSpec(data="digits", arm="ce", student="cnn8", epochs=0, pretrained=f"file:{path}")
    straight = network(spec, data)
    turned = network(spec, replace(data, classes=data.classes[::-1]))
    assert torch.equal(turned.head.weight, straight.head.weight.flip(0))
    assert turned.whole
    assert not network(spec, replace(data, classes=tuple("abcdefghij"))).whole
    bare = tmp_path / "bare.pt"
    torch.save(weights.read(f"file:{path}").state, bare)
    with pytest.warns(UserWarning, match="does not") as told:
        network(spec.replace(pretrained=f"file:{bare}"), data)
    said = " ".join(str(warning.message) for warning in told)
    assert "does not say how its inputs are normalised" in said
    assert "does not name its classes" in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network(spec, data)


def test_classes_of_other_names_are_refused_before_anything_trains(tmp_path, trained_teacher):
    _, path, _ = trained_teacher
    state = weights.read(f"file:{path}").state
    description = {"scaled": False, "input": {"mean": [0.5], "std": [0.5]}, "classes": list("abcdefghij")}
    save_file(dict(state), tmp_path / "x.safetensors", metadata={"mixkd": json.dumps(description)})
    spec = short("kd", teacher=TeacherSpec(model="cnn8", pretrained=f"file:{tmp_path / 'x.safetensors'}"))
    with pytest.raises(ValueError, match="trained on other classes than the 10 of digits"):
        run(spec, tmp_path / "store", CPU, progress=False)


SOURCE = """
import torch
from torch import nn

class Odd(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.k, self.scale = k, nn.Parameter(torch.full((), SCALE))
    def forward(self, x):
        return self.scale * x.flatten(1)[:, :self.k]

def odd(): return Odd(10)
def headed(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
def fails(): raise KeyError("no\\nway")
def number(): return 3
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text(SOURCE.replace("SCALE", "3.0"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "own_networks.py"
    sys.modules.pop("own_networks", None)


def test_a_function_of_the_users_teaches(own_module, tmp_path):
    spec = short("kd", teacher=TeacherSpec(model="python:own_networks:odd", mean=(0.4,), std=(0.2,)))
    store = RecordStore(tmp_path / "store")
    with pytest.warns(UserWarning, match=r"does not name its classes|which is chance"):
        student = run(spec, store, CPU, progress=False)
    known = student.spec.teacher.model
    assert known.startswith("python:own_networks:odd@")
    teacher = store.load(student.spec.teacher_run().id)
    x = load_data("digits").splits["test"].images[:20]
    expected = 3 * ((x / 255 - 0.4) / 0.2).flatten(1)[:, :10]
    assert torch.allclose(teacher.logits()[:20], offset(expected), atol=2e-2)
    own_module.write_text(SOURCE.replace("SCALE", "4.0"))
    sys.modules.pop("own_networks")
    with pytest.raises(ValueError, match="returns another network now"):
        weights.identity(known)


def test_a_network_with_a_linear_head_keeps_its_features(own_module):
    made = build("python:own_networks:headed", 10, 1, 8)
    assert made.head.in_features == 12
    assert build("python:own_networks:headed", 4, 1, 8).head.out_features == 4
    assert build("python:own_networks:odd", 10, 1, 8).head.in_features == 10


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python:", "say which, as in"),
        ("python:own_networks", "say which"),
        ("python:not_there:f", "No module named 'not_there'; run with PYTHONPATH="),
        ("python:own_networks:nothing", "failed with AttributeError"),
        ("python:own_networks:fails", "failed with KeyError"),
        ("python:own_networks:number", "returns int; it must return a torch.nn.Module"),
    ],
)
def test_functions_that_cannot_be_used_are_one_line(own_module, tmp_path, name, message):
    with pytest.raises(ValueError, match=message) as error:
        run(short("kd", teacher=TeacherSpec(model=name)), tmp_path / "store", CPU, progress=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "file:x.pt"}, "name the architecture here"),
        ({"model": "cnn8", "pretrained": "python:a:b"}, "a function returns a model"),
        ({"model": "cnn8", "mean": (0.5,), "std": (0.5,)}, "only a network of your own"),
        ({"model": "cnn8", "pretrained": "file:x", "mean": (0.5,)}, "give mean and std together"),
        ({"model": "cnn8", "pretrained": "file:x", "lr": 0.1}, "give epochs to fine-tune"),
        ({"model": "cnn8", "pretrained": "file:x", "arm": "mixup"}, "arm = 'mixup'.*give epochs to fine-tune"),
        ({"model": "torchvision:resnet18", "pretrained": ""}, "pretrained = ''"),
    ],
)
def test_fields_that_do_not_go_together(fields, message):
    with pytest.raises(SpecError, match=message):
        TeacherSpec(**fields)


def test_a_profile_does_not_fine_tune_what_was_not_asked_to_be():
    spec = one("digits", arm="kd", teacher="cnn8", teacher_pretrained="file:x.safetensors")
    assert spec.teacher.as_it_is
    assert one("imagenet", arm="kd", teacher="python:a.b:c").teacher.as_it_is
    assert one("digits", arm="kd", teacher="cnn8", teacher_pretrained="file:x.safetensors", teacher_epochs=3).teacher.epochs == 3
