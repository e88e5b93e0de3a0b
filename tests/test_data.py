"""Data: fixed splits, exact densities, image folders and zips, and what is said when something is wrong with them."""

import hashlib
import io
import os
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.datasets
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits

from mixkd import data as module
from mixkd import folders, loader
from mixkd.data import (
    data_identity,
    gaussian_classes,
    gaussian_log_posterior,
    load_data,
    normalise,
)
from mixkd.loader import augment

SHAPES = {"cat": (200, 40, 40), "dog": (40, 200, 40), "owl": (40, 40, 200)}  # a colour per class


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def png(colour, size=(16, 16), seed=0, **options):
    noise = np.random.RandomState(seed).randint(0, 40, (size[1], size[0], 3))
    out = io.BytesIO()
    Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(out, options.pop("format", "PNG"), **options)
    return out.getvalue()


def write_tree(top, per_class=12, held_out=4, parts=("train", "test"), classes=SHAPES, **options):
    for part in parts:
        for number, (name, colour) in enumerate(classes.items()):
            folder = top / part / name
            folder.mkdir(parents=True)
            for i in range(per_class if part == "train" else held_out):
                seed = 10_000 * number + 100 * ("train", "val", "test").index(part) + i
                (folder / f"{i:03d}.png").write_bytes(png(colour, seed=seed, **options))
    return top


def zip_tree(top, path, inside=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(top.rglob("*"), reverse=True):  # an order unlike the tree's
            if file.is_file():
                archive.write(file, inside + file.relative_to(top).as_posix())
    return path


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "pets")


def fingerprint(split):
    return hashlib.sha256(split.images.numpy().tobytes() + split.labels.numpy().tobytes()).hexdigest()[:16]


def same(a, b):
    return a.keys() == b.keys() and all(
        torch.equal(a[key].images, b[key].images) and torch.equal(a[key].labels, b[key].labels) for key in a
    )


# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits_never_change():
    """Every committed record was computed on exactly these pixels."""
    data = load_data("digits")
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


def test_digits_are_loaded_once():
    assert load_data("digits") is load_data("digits")


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


def test_every_view_of_a_digit_differs_and_none_is_far_from_its_image():
    splits, clean = load_data("digits").splits, load_digits()
    rows = torch.cat([splits[part].images for part in ("train", "val", "test")]).flatten(1)
    assert len(rows.unique(dim=0)) == len(rows) == 1400 + 400 + 1594
    test = splits["test"]
    assert torch.equal(test.labels[:797], test.labels[797:])
    order = module._order(clean.target, seed=0)[1000:]
    source = torch.from_numpy(clean.data[order]) / 16
    views = test.images.double().view(2, 797, 64) / 255
    assert ((views[0] - views[1]).abs().amax(1) > 0.1).all()
    own, other = ((views - images).square().sum(-1) for images in (source, source.roll(1, 0)))
    assert (own < other).double().mean() > 0.7  # moved by a pixel or two, but the digit it was
    assert float(views.mean()) == pytest.approx(float(source.mean()), rel=0.15)


def test_corruption_is_harder_and_scrambled_digits_are_no_digits():
    splits = load_data("digits").splits
    train, test, ood, corrupted = (splits[part] for part in ("train", "test", "ood", "corrupted"))

    def hits(images, labels):
        nearest = torch.cdist(images.double().flatten(1), train.images.double().flatten(1)).argmin(1)
        return (train.labels[nearest] == labels).double().mean()

    first = test.images[:150]
    assert torch.equal(corrupted.labels, test.labels[:150])
    assert hits(first, test.labels[:150]) > hits(corrupted.images, corrupted.labels) + 0.2 > hits(ood.images, test.labels[:150]) + 0.3
    assert (ood.labels == -1).all()
    assert torch.equal(ood.images.flatten(1).sort(1).values, first.flatten(1).sort(1).values)  # the same pixels in other places


# --- splits and subsets -----------------------------------------------------------------------------------------------


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
    ("rows", "message"),
    [
        ({"train_size": 0}, r"train_size = 0: digits allows 10 \(one per class\) to 1400"),
        ({"train_size": 1401}, "train_size = 1401: digits allows 10 .* to 1400"),
        ({"train_size": 1201, "train_skip": 200}, "train_size = 1201: digits allows 10 .* to 1200 after 200 are skipped"),
        ({"train_skip": 1391}, "train_skip = 1391: digits allows 0 to 1390"),
        ({"train_skip": -1}, "train_skip = -1: digits allows 0 to"),
    ],
)
def test_training_rows_out_of_range_are_explained(rows, message):
    with pytest.raises(ValueError, match=message):
        load_data("digits", **rows)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, "unknown data 'digit': .*gaussians16.*did you mean 'digits'"),
        ("imagnet", {}, "unknown data 'imagnet'.*did you mean 'imagenet'"),
        ("cifar-10", {}, "did you mean 'cifar10'"),
        ("digits", {"image_size": 16}, "image_size = 16: digits is 8 px"),
        ("gaussians", {"image_size": 8}, "image_size = 8: gaussians is vectors"),
        ("folder:x", {"image_size": 0}, "image_size = 0"),
        ("folder:", {}, "say which"),
    ],
)
def test_names_and_options_are_checked(name, options, message):
    with pytest.raises(ValueError, match=message):
        load_data(name, **options)


def test_identity_of_embedded_data_is_the_name():
    assert data_identity("digits") == load_data("digits").identity == "digits"
    with pytest.raises(ValueError, match="did you mean 'gaussians'"):
        data_identity("gaussian")


# --- gaussians --------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["gaussians", "gaussians16"])
def test_the_bayes_classifier_is_85_percent_accurate_and_calibrated(name):
    data = load_data(name)
    rows = torch.cat([data.splits[part].images for part in ("val", "test")])
    labels = torch.cat([data.splits[part].labels for part in ("val", "test")])
    confidence, predicted = gaussian_log_posterior(name, rows).exp().max(1)
    hit = (predicted == labels).double()
    assert hit.mean() == pytest.approx(0.85, abs=0.015)
    assert (confidence - hit).mean().abs() < 3 * (hit - confidence).std() / len(hit) ** 0.5


@given(lam=st.floats(0, 1), row=st.integers(0, 499))
@settings(max_examples=30, deadline=None)
def test_bayes_logits_are_linear_along_a_mix(lam, row):
    x = load_data("gaussians16").splits["val"].images.double()
    a, b = x[row : row + 1], x[499 - row : 500 - row]

    def contrasts(z):
        log_p = gaussian_log_posterior("gaussians16", z)
        return log_p[:, 1:] - log_p[:, :1]

    torch.testing.assert_close(contrasts(lam * a + (1 - lam) * b), lam * contrasts(a) + (1 - lam) * contrasts(b))


def test_gaussian_rows_come_from_the_stated_densities():
    for name in ("gaussians", "gaussians16"):
        data = load_data(name)
        means, covariance = gaussian_classes(name)
        test = data.splits["test"]
        rest = test.images.double() - means[test.labels]
        assert (rest.T.cov() - covariance).abs().max() < 0.12
        assert rest.mean(0).abs().max() < 0.08
        assert test.images.dtype == torch.float32
        assert {part: len(split.labels) for part, split in data.splits.items()} == {
            "train": 400, "val": 500, "test": 2000, "train_eval": 400,
        }  # fmt: skip
        assert (data.image_size, data.channels) == (0, means.shape[1])
    with pytest.raises(ValueError, match="unknown density 'gaussian'"):
        gaussian_log_posterior("gaussian", torch.zeros(1, 2))


# --- normalise and augment --------------------------------------------------------------------------------------------


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


def test_channels_are_normalised_apart_and_gradients_pass_after_an_evaluation(tree, cache):
    data = load_data(f"folder:{tree}", cache=cache)
    images = data.splits["train"].images
    with torch.inference_mode():
        x = normalise(images, data)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    with torch.inference_mode():
        normalise(images.float() / 255, data)
    pixels = (images.float() / 255).requires_grad_()
    normalise(pixels, data).sum().backward()
    torch.testing.assert_close(pixels.grad[0, :, 0, 0], 1 / torch.tensor(data.std))


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


# --- torchvision ------------------------------------------------------------------------------------------------------


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


# --- folders and zips -------------------------------------------------------------------------------------------------


def test_a_folder_becomes_splits(tree, cache):
    (tree / "classes.tsv").write_text("not an image")
    (tree / "train" / "cat" / "notes.txt").write_text("nor this")
    with pytest.warns(UserWarning, match=r"left out, .*: train/cat/notes\.txt$"):
        data = load_data(f"folder:{tree}", cache=cache)
    assert data.name == "pets"
    assert data.classes == ("cat", "dog", "owl")
    assert {part: len(split.labels) for part, split in data.splits.items()} == {
        "train": 33, "val": 3, "test": 12, "train_eval": 33,
    }  # fmt: skip
    for split in data.splits.values():
        brightest = split.images.double().mean((2, 3)).argmax(1)  # each class has its own colour
        assert torch.equal(brightest, split.labels)
    assert data.splits["test"].labels[:3].sort().values.tolist() == [0, 1, 2]
    pixels = torch.cat([data.splits[part].images for part in ("train", "val", "test")]).flatten(1)
    assert len(pixels.unique(dim=0)) == 48


@pytest.mark.parametrize("inside", ["", "some folder/"])
def test_a_zip_gives_what_its_tree_gives(tree, tmp_path, inside):
    archive = zip_tree(tree, tmp_path / "animals.zip", inside)
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("__MACOSX/some folder/train/cat/._000.png", b"junk")
        more.writestr(f"{inside}classes.tsv", b"names")
    a = load_data(f"folder:{tree}", image_size=8, cache=tmp_path / "one")
    b = load_data(f"folder:{archive}", image_size=8, cache=tmp_path / "two")
    assert same(a.splits, b.splits)
    assert (a.mean, a.std, a.classes) == (b.mean, b.std, b.classes)
    assert a.identity.split("@")[1] == b.identity.split("@")[1]
    assert b.identity.startswith("folder:animals@")
    assert b.name == "animals"


def test_the_digest_is_of_content_not_of_place_or_time(tree, tmp_path, cache):
    identity = data_identity(f"folder:{tree}", cache=cache)
    image = tree / "train" / "cat" / "000.png"
    os.utime(image, ns=(1, 1))
    assert data_identity(f"folder:{tree}", cache=cache) == identity
    moved = tree.rename(tmp_path / "elsewhere")
    assert data_identity(f"folder:{moved}", cache=cache).split("@")[1] == identity.split("@")[1]
    image = moved / "train" / "cat" / "000.png"
    image.write_bytes(png((200, 40, 40), seed=999))
    changed = data_identity(f"folder:{moved}", cache=cache)
    assert changed.split("@")[1] != identity.split("@")[1]
    image.rename(image.with_name("zzz.png"))
    assert data_identity(f"folder:{moved}", cache=cache) != changed


def test_a_spec_finds_its_data_by_name_and_digest(tree, tmp_path, cache):
    identity = data_identity(f"folder:{tree}", cache=cache)
    zip_tree(tree, tmp_path / "zips.zip")
    by_name = load_data(identity, root=tmp_path, cache=cache)
    assert by_name.identity == identity
    in_zip = load_data(identity.replace("pets", "zips"), root=tmp_path, cache=cache)
    assert same(by_name.splits, in_zip.splits)
    with pytest.raises(ValueError, match=r"not the images it was made from.*" + identity.split("@")[1]):
        load_data("folder:pets@0123456789abcdef", root=tmp_path, cache=cache)
    with pytest.raises(FileNotFoundError, match=r"neither .*gone nor .*gone.zip exists.*data root"):
        load_data("folder:gone@0123456789abcdef", root=tmp_path, cache=cache)


def test_a_changed_zip_of_the_same_name_is_noticed(tree, tmp_path, cache):
    archive = zip_tree(tree, tmp_path / "a.zip")
    before = load_data(f"folder:{archive}", cache=cache)
    (tree / "test" / "owl" / "004.png").write_bytes(png(SHAPES["owl"], seed=5))
    zip_tree(tree, archive)
    after = load_data(f"folder:{archive}", cache=cache)
    assert len(after.splits["test"].labels) == len(before.splits["test"].labels) + 1


def test_val_is_the_held_out_split_alone_and_validation_beside_test(tmp_path, cache):
    only_val = load_data(f"folder:{write_tree(tmp_path / 'a', parts=('train', 'val'))}", cache=cache)
    assert len(only_val.splits["test"].labels) == 12
    assert len(only_val.splits["val"].labels) == 3  # cut from train
    both = write_tree(tmp_path / "b", held_out=5, parts=("train", "val", "test"))
    data = load_data(f"folder:{both}", cache=cache)
    assert [len(data.splits[part].labels) for part in ("train", "val", "test")] == [36, 15, 15]
    expected = {(both / "val" / "dog" / f"{i:03d}.png").read_bytes() for i in range(5)}
    images = data.splits["val"].images[data.splits["val"].labels == 1]
    stored = {np.asarray(Image.open(io.BytesIO(content))).tobytes() for content in expected}
    assert {image.permute(1, 2, 0).numpy().tobytes() for image in images} == stored


def test_a_teacher_of_a_folder_can_pass_over_its_students_images(tree, cache):
    full = load_data(f"folder:{tree}", cache=cache)
    own, taught = (load_data(f"folder:{tree}", cache=cache, **rows) for rows in ({"train_size": 9}, {"train_skip": 9}))
    pixels = [split.images.flatten(1) for split in (own.splits["train"], taught.splits["train"])]
    assert torch.equal(torch.cat(pixels), full.splits["train"].images.flatten(1))
    assert torch.equal(taught.splits["skipped"].images, own.splits["train"].images)


def test_folder_subsets_are_nested_and_leave_the_rest(tree, cache):
    full = load_data(f"folder:{tree}", cache=cache)
    small = load_data(f"folder:{tree}", train_size=9, cache=cache)
    assert torch.equal(small.splits["train"].images, full.splits["train"].images[:9])
    assert torch.bincount(small.splits["train"].labels).tolist() == [3, 3, 3]
    assert small.splits["val"] is full.splits["val"]
    assert (small.mean, small.std) == (full.mean, full.std)
    with pytest.raises(ValueError, match=r"train_size = 34: pets allows 3 .* to 33"):
        load_data(f"folder:{tree}", train_size=34, cache=cache)


def test_images_are_resized_by_the_short_side_and_cropped_at_the_centre(tmp_path, cache):
    wide = Image.new("RGB", (96, 32), (255, 0, 0))
    wide.paste((0, 0, 255), (32, 0, 64, 32))  # the middle third is what stays
    upright = Image.new("RGB", (32, 32), (0, 0, 255))
    for part in ("train", "test"):
        for name in ("a", "b"):
            folder = tmp_path / "t" / part / name
            folder.mkdir(parents=True)
            wide.save(folder / "1.png")
            upright.convert("P").save(folder / "2.png")
            upright.save(folder / "3.JPG", quality=95)
    data = load_data(f"folder:{tmp_path / 't'}", image_size=16, cache=cache)
    images = data.splits["test"].images
    assert images.shape == (6, 3, 16, 16)
    assert (images[:, :, :, 2:-2].double() - torch.tensor([0, 0, 255.0]).view(1, 3, 1, 1)).abs().max() <= 2
    with pytest.raises(ValueError, match=r"not squares of one size .*set image_size"):
        load_data(f"folder:{tmp_path / 't'}", cache=cache)


def test_a_photo_taken_sideways_stands_upright(tmp_path, cache):
    sideways = Image.new("L", (16, 16), 255)
    sideways.paste(0, (0, 0, 8, 16))  # dark on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter clockwise
    for part in ("train", "test"):
        for name in ("a", "b"):
            folder = tmp_path / "t" / part / name
            folder.mkdir(parents=True)
            for i in range(2):
                sideways.save(folder / f"{i}.jpg", exif=exif)
    image = load_data(f"folder:{tmp_path / 't'}", cache=cache).splits["test"].images[0]
    assert image[:, :6].max() < 20  # dark at the top now
    assert image[:, 10:].min() > 235


def test_decoding_happens_once(tree, cache, monkeypatch):
    first = load_data(f"folder:{tree}", cache=cache)
    assert load_data(f"folder:{tree}", cache=cache) is first
    module._folder.cache_clear()  # as in a new process

    def forbidden(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(folders, "_decode", forbidden)
    monkeypatch.setattr(folders, "_read", forbidden)
    assert same(load_data(f"folder:{tree}", cache=cache).splits, first.splits)
    (tree / "train" / "cat" / "000.png").write_bytes(png((200, 40, 40), seed=77))
    monkeypatch.undo()
    assert not same(load_data(f"folder:{tree}", cache=cache).splits, first.splits)


def test_what_a_killed_process_left_behind_is_replaced(tree, cache):
    expected = load_data(f"folder:{tree}", cache=cache)
    (stored,) = (cache / "images").glob("*.npy")
    content = stored.read_bytes()
    for damaged in (content[: len(content) // 2], content[:40], b"", b"no array at all"):
        stored.unlink()  # the old one stays mapped
        stored.write_bytes(damaged)
        stored.with_suffix(".partial").write_bytes(content[:1000])
        module._folder.cache_clear()
        assert same(load_data(f"folder:{tree}", cache=cache).splits, expected.splits)
        assert stored.read_bytes() == content
        assert not stored.with_suffix(".partial").exists()


def test_of_several_at_the_same_time_one_reads_and_one_decodes(tree, cache, monkeypatch):
    files: list[str] = []
    read = folders._read
    monkeypatch.setattr(folders, "_read", lambda open_, path, file: (files.append(file), read(open_, path, file))[1])
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: load_data(f"folder:{tree}", cache=cache), range(8)))
    assert set(Counter(files).values()) == {2}  # once for the digest, once for the pixels
    assert all(same(result.splits, results[0].splits) for result in results)


def test_writing_to_loaded_images_does_not_reach_the_cache(tree, cache):
    data = load_data(f"folder:{tree}", cache=cache)
    before = data.splits["test"].images[0].clone()
    data.splits["test"].images[0] = 0
    module._folder.cache_clear()
    assert torch.equal(load_data(f"folder:{tree}", cache=cache).splits["test"].images[0], before)


def remove_images(folder):
    for file in folder.iterdir():
        file.unlink()


def truncate(file):
    file.write_bytes(file.read_bytes()[:-60])


def grow_16_bit(file):
    Image.fromarray(np.full((16, 16), 40_000, dtype=np.uint16)).save(file)


def drop_folder(folder):
    remove_images(folder)
    folder.rmdir()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: (t / "train").rename(t / "training"), "no train folder; expected train/CLASS.*found test, training"),
        (lambda t: (t / "test").rename(t / "holdout"), "no test or val folder"),
        (
            lambda t: [drop_folder(t / p / c) for p in ("train", "test") for c in ("dog", "owl")],
            r"holds 1 class \(cat\)",
        ),
        (lambda t: drop_folder(t / "test" / "owl"), "train and test hold different classes .only in train: owl"),
        (lambda t: drop_folder(t / "train" / "owl"), "only in test: owl"),
        (lambda t: truncate(t / "test" / "dog" / "002.png"), "test/dog/002.png cannot be read as an image"),
        (
            lambda t: (t / "train" / "cat" / "x.jpg").write_bytes(b"<html>"),
            "train/cat/x.jpg cannot be read as an image",
        ),
        (lambda t: (t / "train" / "cat" / "x.jpg").write_bytes(b""), "train/cat/x.jpg cannot be read as an image"),
        (lambda t: grow_16_bit(t / "train" / "cat" / "x.png"), "train/cat/x.png .*more than 8 bits"),
        (lambda t: [(t / "train" / "cat" / f"{i:03d}.png").unlink() for i in range(1, 12)], "train/cat has one image"),
        (
            lambda t: (remove_images(t / "train" / "dog"), (t / "train" / "dog" / "a.txt").touch()),
            "train/dog has no images",
        ),
    ],
)
def test_a_wrong_folder_is_named(tree, tmp_path, cache, spoil, message, zipped):
    spoil(tree)
    path = zip_tree(tree, tmp_path / "a.zip", "top/" if "no train" not in message else "") if zipped else tree
    with pytest.raises(ValueError, match=message) as error:
        load_data(f"folder:{path}", cache=cache)
    assert str(path) in str(error.value)
    assert not list(cache.glob("images/*.npy"))
    assert not list(cache.glob("images/*.partial"))


def test_an_empty_class_folder_is_named(tree, cache):
    remove_images(tree / "test" / "dog")
    with pytest.raises(ValueError, match="test/dog has no images"):
        load_data(f"folder:{tree}", cache=cache)


def test_a_corrected_image_is_read_the_next_time(tree, cache):
    file = tree / "test" / "dog" / "002.png"
    whole = file.read_bytes()
    truncate(file)
    with pytest.raises(ValueError, match=r"002\.png"):
        load_data(f"folder:{tree}", cache=cache)
    file.write_bytes(whole)
    assert len(load_data(f"folder:{tree}", cache=cache).splits["test"].labels) == 12


def test_two_trees_in_one_folder_are_ambiguous(tmp_path, cache):
    write_tree(tmp_path / "both" / "a")
    write_tree(tmp_path / "both" / "b")
    with pytest.raises(ValueError, match=r"more than one train folder \(in a, b\)"):
        load_data(f"folder:{tmp_path / 'both'}", cache=cache)


@pytest.mark.parametrize("entry", ["../evil.png", "/etc/evil.png", "top/../../evil.png", "..\\evil.png"])
def test_a_zip_that_points_elsewhere_is_refused(tree, tmp_path, cache, entry):
    archive = zip_tree(tree, tmp_path / "a.zip")
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr(entry, png((1, 2, 3)))
    with pytest.raises(ValueError, match=r"evil\.png' points out of the zip"):
        load_data(f"folder:{archive}", cache=cache)


def test_damaged_zips_are_named(tree, tmp_path, cache):
    archive = zip_tree(tree, tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    (tmp_path / "half.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"half\.zip: neither a directory nor a whole zip"):
        load_data(f"folder:{tmp_path / 'half.zip'}", cache=cache)
    content[200] ^= 0xFF  # inside the first entry, owl/011 of train
    (tmp_path / "bit.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"bit\.zip: cannot read train/owl/011\.png"):
        load_data(f"folder:{tmp_path / 'bit.zip'}", cache=cache)


def test_moving_to_a_device_moves_every_split():
    moved = load_data("digits").to("meta")
    assert all(split.images.is_meta and split.labels.is_meta for split in moved.splits.values())
    assert moved.identity == "digits"
