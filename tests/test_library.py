"""Networks of torchvision and timm: features under any head, their own normalisation, weights that are named when they are missing."""

import sys

import pytest
import torch
import torchvision
from handmade import CPU, pictures, same_students, stopped_after
from safetensors.torch import load_file
from torch import nn

from mixkd.data import Dataset, Split, load_data
from mixkd.models import build
from mixkd.objectives import Teacher
from mixkd.runs import run
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.store import RecordStore
from mixkd.train import train_cohort

STATISTICS = ((0.3, 0.4, 0.5), (0.2, 0.25, 0.3))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FAMILIES = [
    *("torchvision:resnet18", "torchvision:mobilenet_v2", "torchvision:mobilenet_v3_small", "torchvision:shufflenet_v2_x0_5"),
    *("timm:resnet18", "timm:convnext_atto", "timm:vit_tiny_patch16_224", "timm:mobilenetv3_small_050"),
    *(
        pytest.param(f"torchvision:{name}", marks=pytest.mark.slow)
        for name in ("convnext_tiny", "vit_b_16", "efficientnet_b0", "regnet_y_400mf", "densenet121", "swin_t")
    ),
]


def made(name, n_classes=7, size=32, **options):
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    return build(name, n_classes, 3, size, **options)


def plain(name, n_classes, size):
    """The network as its library builds it."""
    if name.startswith("timm:"):
        sized = {"img_size": size} if "vit" in name else {}
        return pytest.importorskip("timm").create_model(name.removeprefix("timm:"), num_classes=n_classes, **sized)
    sized = {"image_size": size} if "vit" in name else {}
    return torchvision.models.get_model(name.removeprefix("torchvision:"), num_classes=n_classes, **sized)


def pixels(n=3, size=32, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def normalised(x, statistics):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in statistics)
    return (x - mean) / std


@pytest.mark.parametrize("name", FAMILIES)
def test_the_head_of_the_features_is_the_network_its_library_builds(name):
    """The parameters are copied over in order into the library's own network, which then normalises for itself."""
    model, original = made(name, statistics=STATISTICS).eval(), plain(name, 7, 32).eval()
    state = dict(zip(original.state_dict(), [*model.body[1].state_dict().values(), *model.head.state_dict().values()], strict=True))
    original.load_state_dict(state)
    x = pixels()
    with torch.no_grad():
        given = normalised(x, STATISTICS)
        own = getattr(original, "default_cfg", {"mean": IMAGENET[0], "std": IMAGENET[1]})
        expected = original(normalised(x, (own["mean"], own["std"])))
        assert torch.allclose(model(given), expected, rtol=1e-3, atol=1e-4)
        assert torch.equal(model(given), model.head(model.features(given)))
        assert model.features(given).shape == (3, model.head.in_features)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in original.parameters())
    assert model.head.out_features == 7


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v2", "timm:convnext_atto"])
def test_initialisation_is_a_function_of_seed_and_name(name):
    before = torch.random.get_rng_state()
    first, again, other = (made(name, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_which_networks_draw_while_they_train():
    assert not build("cnn8", 3).stochastic
    assert not build("torchvision:resnet18", 3).stochastic
    assert build("torchvision:mobilenet_v2", 3).stochastic
    assert build("torchvision:convnext_tiny", 3).stochastic


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("torchvision:resnet", 32, "unknown model 'torchvision:resnet'.*did you mean 'resnet"),
        ("torchvision:googlenet", 32, "unknown model 'torchvision:googlenet'"),
        ("torchvision:mnasnet0_5", 32, "unknown model"),
        ("torchvision:squeezenet1_0", 32, "no linear layer of 7 outputs at its end"),
        ("torchvision:maxvit_t", 64, "cannot take images of 64 px"),
        ("torchvision:vit_b_16", 40, "cannot take images of 40 px"),
        ("timm:resnt18", 32, "unknown model 'timm:resnt18'.*did you mean 'resnet18'"),
        ("timm:resnet18.a1_in1k", 32, "'resnet18' with pretrained='a1_in1k'"),
    ],
)
def test_what_cannot_be_used_is_refused(name, size, message):
    with pytest.raises(ValueError, match=message):
        made(name, size=size)


def test_without_timm_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'timm>=1.0'.*mixkd\[imagenet\]"):
        build("timm:resnet18", 3)


def refuse(*_, **__):
    raise OSError("no network here")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder of weights, and no network."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "checkpoints"


def place(hub, name="resnet18", file="resnet18-f37072fd.pth"):
    """Weights of our own under the name of the published ones."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = torchvision.models.get_model(name)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
    hub.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), hub / file)
    return network.eval()


def test_missing_weights_are_named_with_the_place_and_the_command(hub):
    with pytest.raises(FileNotFoundError) as error:
        build("torchvision:resnet18", 5, pretrained="IMAGENET1K_V1")
    for word in (str(hub / "resnet18-f37072fd.pth"), "no network here", "curl --create-dirs -Lo", "https://", "TORCH_HOME"):
        assert word in str(error.value)
    assert not hub.exists() or not list(hub.glob("*.pth"))


def test_damaged_weights_are_named(hub):
    hub.mkdir(parents=True)
    (hub / "resnet18-f37072fd.pth").write_bytes(b"cut off")
    with pytest.raises(FileNotFoundError, match=r"resnet18-f37072fd\.pth is no whole weights file .* remove it"):
        build("torchvision:resnet18", 5, pretrained="IMAGENET1K_V1")


@pytest.mark.parametrize(("weights", "message"), [("IMAGENET1K_V3", "did you mean 'IMAGENET1K_V"), ("DEFAULT", "has IMAGENET1K_V1")])
def test_weights_go_by_names_that_keep_their_meaning(weights, message):
    with pytest.raises(ValueError, match=message):
        build("torchvision:resnet18", 5, pretrained=weights)


def test_pretrained_weights_are_loaded_and_a_head_of_other_classes_is_fresh(hub):
    network = place(hub)
    x = pixels()
    whole = build("torchvision:resnet18", 1000, pretrained="IMAGENET1K_V1", statistics=STATISTICS).eval()
    assert whole.whole
    with torch.no_grad():
        assert torch.allclose(whole(normalised(x, STATISTICS)), network(normalised(x, IMAGENET)), rtol=1e-3, atol=1e-4)
    fresh = build("torchvision:resnet18", 7, pretrained="IMAGENET1K_V1").eval()
    assert not fresh.whole
    assert torch.equal(fresh.body[1].layer4[1].conv2.weight, network.layer4[1].conv2.weight)
    assert fresh.head.weight.shape == (7, 512)


def test_timm_weights_that_are_missing_are_named(monkeypatch, tmp_path):
    timm = pytest.importorskip("timm")
    made_before = timm.create_model

    def create(name, pretrained=False, **options):
        if pretrained:
            refuse()
        return made_before(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(FileNotFoundError) as error:
        build("timm:resnet18", 5, pretrained="a1_in1k")
    for word in ("timm/resnet18.a1_in1k/model.safetensors", "no network here", "hf download timm/resnet18.a1_in1k", "HF_HOME"):
        assert word in str(error.value)
    with pytest.raises(ValueError, match=r"timm:resnet18 has .*a1_in1k.*; did you mean 'a1_in1k'"):
        build("timm:resnet18", 5, pretrained="a1_in1")


def coloured(n=12, size=32, n_classes=3):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, 3, size, size), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.arange(n) % n_classes)
    splits = dict.fromkeys(("train", "val", "test", "train_eval"), split)
    return Dataset("coloured", "coloured", ("a", "b", "c"), splits, *STATISTICS)


@pytest.mark.parametrize("name", ["wrn10-1", *FAMILIES])
def test_distillation_on_mixup_moves_the_weights_of_every_family(name):
    data = coloured()
    start = made(name, n_classes=3, statistics=STATISTICS)
    spec = RunSpec(
        data="coloured", arm="kd_mixup", student=name, teacher=TeacherSpec(model="cnn8"), epochs=2, batch_size=12,
        optimizer="sgd", lr=1e-2, weight_decay=0.0,
    )  # fmt: skip
    teacher = Teacher(build("cnn8", 3).eval())
    [student] = train_cohort([spec], data, teacher, precision="fp32")
    assert student.error is None
    assert float(student.losses[0]) > 0
    before, after = start.state_dict(), student.model.state_dict()
    moved = [key for key, value in start.named_parameters() if value.ndim > 1 and not torch.equal(before[key], after[key])]
    matrices = [key for key, value in start.named_parameters() if value.ndim > 1]
    # blocks that start at zero move in the second step, blocks left out by chance keep what they had
    assert len(moved) > 0.8 * len(matrices)
    assert "head.weight" in moved
    assert torch.equal(before["body.0.scale"], after["body.0.scale"]) if "body.0.scale" in before else True


def test_dropout_is_the_same_alone_and_in_company_and_leaves_the_global_generator():
    data = coloured()
    specs = [
        RunSpec(data="coloured", arm=arm, student="torchvision:mobilenet_v2", epochs=2, batch_size=6, lr=1e-3) for arm in ("ce", "mixup")
    ]
    before = torch.random.get_rng_state()
    together = train_cohort(specs, data, precision="fp32")
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    same_students(train_cohort(specs[1:], data, precision="fp32"), together[1:])


def test_a_checkpoint_of_a_network_with_dropout_goes_on_bit_for_bit(tmp_path):
    data = coloured()
    spec = RunSpec(data="coloured", arm="ce", student="torchvision:mobilenet_v2", epochs=2, batch_size=4, lr=1e-3)
    with stopped_after(4):
        train_cohort([spec], data, precision="fp32", checkpoints=tmp_path, checkpoint_seconds=0)
    resumed = train_cohort([spec], data, precision="fp32", checkpoints=tmp_path)
    same_students(resumed, train_cohort([spec], data, precision="fp32"))


def test_a_teacher_as_it_is_has_one_record_whatever_its_students_do():
    teacher = TeacherSpec(model="torchvision:resnet34", pretrained="IMAGENET1K_V1")
    spec = RunSpec(data="imagenet", arm="kd_mixup", student="torchvision:resnet18", teacher=teacher, epochs=100, batch_size=256, warmup=5)
    other = spec.replace(epochs=30, batch_size=64, seed=4, lr=0.2, teacher=teacher.model_copy(update={"temperature": 2.0}))
    run = spec.teacher_run()
    assert run == other.teacher_run()
    assert run.canonical() == '{"arm":"ce","data":"imagenet","epochs":0,"pretrained":"IMAGENET1K_V1","student":"torchvision:resnet34"}'
    tuned = spec.replace(teacher=TeacherSpec(model="torchvision:resnet34", pretrained="IMAGENET1K_V1", epochs=8)).teacher_run()
    assert (tuned.epochs, tuned.pretrained, tuned.batch_size) == (8, "IMAGENET1K_V1", 256)


@pytest.mark.slow
def test_a_pretrained_teacher_is_evaluated_once_and_teaches(hub, tmp_path, monkeypatch):
    """A thousand classes, so that the head is kept."""
    network = place(hub)
    monkeypatch.setattr("mixkd.data.CACHE", tmp_path / "cache")
    root = pictures(tmp_path / "many", 2, 2, [f"n{label:04d}" for label in range(1000)])
    spec = RunSpec(
        data=f"stream:{root}", arm="kd_mixup", student="cnn8", image_size=32, epochs=1, batch_size=250, optimizer="sgd",
        teacher=TeacherSpec(model="torchvision:resnet18", pretrained="IMAGENET1K_V1"),
    )  # fmt: skip
    student = run(spec, tmp_path / "store", CPU, progress=False)
    store = RecordStore(tmp_path / "store")
    teacher = store.load(student.spec.teacher_run().id)
    assert (teacher.spec.epochs, teacher.spec.pretrained, len(store.ids())) == (0, "IMAGENET1K_V1", 2)
    assert len(teacher.labels("test")) == 2000
    assert teacher.curve.empty
    data = load_data(f"stream:{root}", image_size=32)
    with torch.no_grad():
        expected = network(normalised(data.splits["test"].images[:20].decode() / 255, IMAGENET))
    assert torch.allclose(teacher.logits("test")[:20], expected, rtol=2e-3, atol=2e-2)
    assert load_file(store.weights(teacher.id))["body.1.conv1.weight"].equal(network.conv1.weight)


def test_a_head_of_other_classes_cannot_be_used_as_it_is(hub, tmp_path, monkeypatch):
    place(hub)
    monkeypatch.setattr("mixkd.data.CACHE", tmp_path / "cache")
    teacher = TeacherSpec(model="torchvision:resnet18", pretrained="IMAGENET1K_V1")
    spec = RunSpec(data=f"folder:{pictures(tmp_path / 'few')}", arm="kd", student="cnn8", image_size=32, batch_size=2, teacher=teacher)
    with pytest.raises(ValueError, match=r"other classes than the 2 of few; give it epochs .*--teacher-epochs"):
        run(spec, tmp_path / "store", CPU, progress=False)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["timm:deit_tiny_distilled_patch16_224", "timm:efficientformer_l1"])
def test_a_network_with_two_heads_is_one_line(name):
    with pytest.raises(ValueError, match=rf"{name}.*one linear head") as error:
        made(name, size=224)
    assert "\n" not in str(error.value)


def test_weights_that_do_not_fit_are_one_line(hub):
    place(hub, name="resnet34")
    with pytest.raises(
        ValueError, match=r"the weights IMAGENET1K_V1 do not fit torchvision:resnet18 at 32 px: the network has no"
    ) as error:
        build("torchvision:resnet18", 5, pretrained="IMAGENET1K_V1")
    assert "\n" not in str(error.value)
