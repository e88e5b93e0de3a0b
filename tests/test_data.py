"""Data: fixed splits, exact densities, normalised and augmented batches."""

import hashlib
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.datasets
import torch
import torchvision
from handmade import generator
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits

from mixkd import data as module
from mixkd import loader
from mixkd.data import data_identity, gaussian_classes, gaussian_log_posterior, load_data, normalise
from mixkd.loader import augment


def fingerprint(split):
    return hashlib.sha256(split.images.numpy().tobytes() + split.labels.numpy().tobytes()).hexdigest()[:16]


def test_digits_never_change():
    """Every committed record was computed on exactly these pixels."""
    data = load_data("digits")
    assert data_identity("digits") == data.identity == "digits"
    assert all(split.images.is_meta and split.labels.is_meta for split in data.to("meta").splits.values())
    found = {name: (len(split.labels), fingerprint(split)) for name, split in data.splits.items()}
    assert found == {
        "train": (1400, "f44d16eeae034115"),
        "val": (400, "11d8fd3805bea92f"),
        "test": (1594, "c2ab5105fdbf006d"),
        "ood": (150, "74e81677855b6abb"),
        "corrupted": (150, "77132f8d90af9c35"),
        "train_eval": (1000, "daa4c32c5a9e22df"),
    }
    assert (data.mean, data.std) == ((0.2729,), (0.3137,))
    assert (data.n_classes, data.channels, data.image_size, data.views, data.test_images) == (10, 1, 8, 2, 797)
    assert data.splits["train"].images.dtype == torch.uint8


@pytest.mark.parametrize(
    ("name", "train", "val", "test"),
    [
        ("gaussians", "4ef42e4502c69fb5", "218c1e381c5e8b00", "b7bca5421ea2756e"),
        ("gaussians16", "eabd442acc83fb4d", "861519ea0384a486", "17dc14c26a14e5a9"),
    ],
)
def test_gaussians_never_change(name, train, val, test):
    splits = load_data(name).splits
    assert {part: fingerprint(splits[part]) for part in ("train", "val", "test")} == {"train": train, "val": val, "test": test}


@pytest.fixture
def originals(monkeypatch):
    """The scikit-learn image that each row of each split of the digits shows: they are built from images that bear their number."""
    real = load_digits()
    number = np.arange(len(real.target))
    marked = np.zeros_like(real.images)
    marked[:, 0, 0], marked[:, 0, 1] = (part * 16 / 255 for part in divmod(number, 256))  # the world divides by 16, then takes 8 bits
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: SimpleNamespace(images=marked, target=real.target))
    monkeypatch.setattr(module, "_moved", lambda images, random: images)
    splits = module._digits.__wrapped__().splits
    pixels = {part: splits[part].images[:, 0, 0, :2].long() for part in ("train", "val", "test")}
    shown = {part: (256 * pixel[:, 0] + pixel[:, 1]).numpy() for part, pixel in pixels.items()}
    for part, images in shown.items():
        assert (real.target[images] == splits[part].labels.numpy()).all()
    return shown


def test_no_two_splits_of_the_digits_share_an_image_and_every_image_is_used(originals):
    student, teacher = originals["train"][:200], originals["train"][200:]
    parts = [set(part.tolist()) for part in (student, teacher, originals["val"], originals["test"])]
    assert [len(part) for part in parts] == [200, 600, 200, 797]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 1797
    assert set(Counter(teacher.tolist()).values()) == {2}
    for part in ("val", "test"):  # view 0 of all images, then view 1
        assert originals[part].tolist() == 2 * originals[part][: len(originals[part]) // 2].tolist()


@pytest.mark.parametrize("name", ["digits", "gaussians", "gaussians16"])
def test_training_subsets_are_nested_and_stratified_and_leave_other_splits_alone(name):
    full = load_data(name)
    labels = full.splits["train"].labels
    shares = torch.bincount(labels, minlength=full.n_classes) / len(labels)
    for n in (full.n_classes, 57, 128, len(labels)):
        small = load_data(name, train_size=n)
        train = small.splits["train"]
        assert len(train.labels) == n
        assert torch.equal(train.images, full.splits["train"].images[:n])
        assert ((torch.bincount(train.labels, minlength=full.n_classes) - n * shares).abs() <= 3).all()
        assert torch.equal(small.splits["train_eval"].images, train.images[:1000])
        assert all(small.splits[part] is full.splits[part] for part in ("val", "test"))
        assert "skipped" not in small.splits


@pytest.mark.parametrize(
    ("name", "skip", "size"), [("digits", 200, None), ("digits", 1100, 60), ("gaussians", 100, None), ("gaussians", 30, 7)]
)
def test_rows_that_are_passed_over_are_not_learnt_but_can_be_asked_about(name, skip, size):
    full, part = load_data(name), load_data(name, train_skip=skip, train_size=size)
    rows = full.splits["train"]
    left = len(rows.labels) - skip if size is None else size
    train, skipped = part.splits["train"], part.splits["skipped"]
    for field in ("images", "labels"):
        assert torch.equal(getattr(train, field), getattr(rows, field)[skip : skip + left])
        assert torch.equal(getattr(skipped, field), getattr(rows, field)[: min(skip, 1000)])
        assert torch.equal(getattr(part.splits["train_eval"], field), getattr(train, field)[:1000])
    assert all(part.splits[name] is full.splits[name] for name in full.splits if name not in ("train", "train_eval"))
    assert (part.mean, part.std) == (full.mean, full.std)  # students and teachers are shown the same scale


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, "unknown data 'digit': .*gaussians16.*did you mean 'digits'"),
        ("imagnet", {}, "unknown data 'imagnet'.*did you mean 'imagenet'"),
        ("cifar-10", {}, "did you mean 'cifar10'"),
        ("digits", {"image_size": 16}, "image_size = 16: digits is 8 px"),
        ("digits", {"train_size": 0}, r"train_size = 0: digits allows 10 \(one per class\) to 1400"),
        ("digits", {"train_size": 1201, "train_skip": 200}, "train_size = 1201: digits allows 10 .* to 1200 after 200 are skipped"),
        ("digits", {"train_skip": 1391}, "train_skip = 1391: digits allows 0 to 1390"),
        ("digits", {"train_skip": -1}, "train_skip = -1: digits allows 0 to"),
        ("gaussians", {"image_size": 8}, "image_size = 8: gaussians is vectors"),
        ("folder:x", {"image_size": 0}, "image_size = 0"),
        ("folder:", {}, "say which"),
    ],
)
def test_names_and_options_are_checked(name, options, message):
    with pytest.raises(ValueError, match=message):
        load_data(name, **options)
    with pytest.raises(ValueError, match="did you mean 'gaussians'"):
        data_identity("gaussian")
    with pytest.raises(ValueError, match="unknown density 'gaussian'"):
        gaussian_log_posterior("gaussian", torch.zeros(1, 2))


@pytest.mark.parametrize("name", ["gaussians", "gaussians16"])
def test_log_posterior_is_that_of_scipy_densities(name):
    means, covariance = gaussian_classes(name)
    x = load_data(name).splits["test"].images[:50]
    x = torch.cat([x, 0.3 * x + 0.7 * x.flip(0), torch.full((1, x.shape[1]), 40.0)])
    log_densities = np.stack([multivariate_normal(m, covariance).logpdf(x.double()) for m in means.numpy()], axis=1)
    expected = torch.from_numpy(log_densities).log_softmax(1)
    found = gaussian_log_posterior(name, x)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_normalised_training_pixels_are_standard():
    data = load_data("digits")
    images = data.splits["train"].images
    x = normalise(images, data)
    assert x.dtype == torch.float32
    assert abs(x.mean()) < 1e-3
    assert x.std() == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(normalise(images.double() / 255, data), x)
    vectors = load_data("gaussians").splits["val"].images
    assert torch.equal(normalise(vectors, load_data("gaussians")), vectors)


@given(n=st.integers(1, 5), channels=st.integers(1, 3), size=st.integers(16, 24), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_each_crop_is_a_window_of_the_padded_image_perhaps_mirrored(n, channels, size, seed):
    images = torch.randint(1, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator(seed))
    found = augment(images, generator(seed), "crop_flip")
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    for image, source in zip(found, padded, strict=True):
        windows = [source[:, y : y + size, x : x + size] for y in range(9) for x in range(9)]
        assert any(torch.equal(image, window) or torch.equal(image.flip(-1), window) for window in windows)


def test_all_crops_and_both_sides_are_equally_likely():
    n = 8100
    images = torch.zeros(n, 1, 16, 16)
    images[:, :, 7, 7] = 1  # one lit pixel tells the crop; its mirror image lands elsewhere
    out = augment(images, generator(), "crop_flip")
    rows, columns = out.flatten(1).argmax(1) // 16, out.flatten(1).argmax(1) % 16
    assert torch.bincount(rows).nonzero().flatten().tolist() == list(range(3, 12))
    assert (torch.bincount(rows)[3:12] / n - 1 / 9).abs().max() < 0.02
    assert columns.min() == 3
    assert columns.max() == 12  # 7 + 4 mirrored is 15 - 3
    flipped = augment(images, generator(1), "flip").flatten(1).argmax(1) % 16 == 8
    assert flipped.double().mean() == pytest.approx(0.5, abs=0.03)


def test_augmentation_is_a_function_of_the_generator_and_keeps_type():
    images = torch.rand(6, 3, 32, 32)
    assert torch.equal(augment(images, generator(3), "crop_flip"), augment(images, generator(3), "crop_flip"))
    assert not torch.equal(augment(images, generator(3), "crop_flip"), augment(images, generator(4), "crop_flip"))
    assert augment(images.bfloat16(), generator(), "crop_flip").dtype == torch.bfloat16
    state = generator(5)
    assert augment(images, state, "none") is images
    assert torch.equal(state.get_state(), generator(5).get_state())


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        ((2, 1, 8, 8), "crop_flip", "16 px or more, got 8 x 8"),
        ((2, 2), "flip", "needs images"),
        ((2, 1, 8, 8), "crop", "must be one of none, flip, crop_flip"),
    ],
)
def test_senseless_augmentation_is_refused(shape, kind, message):
    with pytest.raises(ValueError, match=message):
        augment(torch.zeros(shape), generator(), kind)


@pytest.mark.parametrize("kind", ["flip", "crop_flip", "resize_crop_flip"])
def test_what_is_sent_to_a_device_can_be_pinned(kind, monkeypatch):
    """Memory that one element shares with another, as ``expand`` makes it, cannot."""
    sent = []
    monkeypatch.setattr(loader, "send", lambda tensor, device: (sent.append(tensor), tensor)[1])
    augment(torch.rand(6, 3, 32, 32), generator(), kind)
    assert sent
    assert all(0 not in tensor.stride() for tensor in sent)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["flip", "crop_flip"])
def test_gpu_sees_the_same_draws(kind):
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(augment(images.cuda(), generator(), kind).cpu(), augment(images, generator(), kind))
    data = load_data("digits")
    there = data.to("cuda")
    assert there.splits["val"].images.is_cuda
    torch.testing.assert_close(normalise(there.splits["val"].images, there).cpu(), normalise(data.splits["val"].images, data))


def test_cifar_is_split_from_training_data_only(tmp_path, monkeypatch):
    class Fake:
        classes = tuple("abcdefghij")

        def __init__(self, root, train, download):
            n = 400 if train else 60
            self.targets = [i % 10 for i in range(n)]
            self.data = np.zeros((n, 32, 32, 3), dtype=np.uint8)
            self.data[:, 0, 0, 0] = np.arange(n) % 256  # which row
            self.data[:, 0, 0, 1] = np.arange(n) // 256
            self.data[:, 0, 0, 2] = 200 if train else 100

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Fake)
    data = load_data("cifar10", root=tmp_path)
    marks = {part: split.images[:, :, 0, 0].int() for part, split in data.splits.items()}
    rows = {part: mark[:, 0] + 256 * mark[:, 1] for part, mark in marks.items()}
    assert {part: len(split.labels) for part, split in data.splits.items()} == {
        "train": 360, "val": 40, "test": 60, "train_eval": 360,
    }  # fmt: skip
    assert sorted(torch.cat([rows["train"], rows["val"]]).tolist()) == list(range(400))
    assert (marks["val"][:, 2] == 200).all()
    assert (marks["test"][:, 2] == 100).all()
    for part in ("train", "val", "test"):
        assert torch.equal(data.splits[part].labels, rows[part].long() % 10)
    assert torch.bincount(data.splits["val"].labels).tolist() == [4] * 10
    assert data.splits["train"].images.shape == (360, 3, 32, 32)


def test_cifar_offline_says_how_to_get_it(tmp_path, monkeypatch):
    class Offline:
        def __init__(self, root, train, download):
            raise OSError("no route to host") if download else RuntimeError("Dataset not found")

    monkeypatch.setattr(torchvision.datasets, "CIFAR100", Offline)
    with pytest.raises(FileNotFoundError, match=r"no route to host.*python -c .*CIFAR100\(.*download=True\)"):
        load_data("cifar100", root=tmp_path)
