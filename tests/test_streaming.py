"""Streamed images: the pixels of other decoders, crops that follow their law, the same batches whenever a run goes on."""

import random

import numpy as np
import pytest
import torch
from handmade import CPU, same_students, stopped_after
from PIL import Image, ImageOps
from torchvision.transforms import v2

from mixkd import folders, images
from mixkd.data import Dataset, Split, data_identity, load_data, normalise
from mixkd.draws import stream
from mixkd.images import DRAWS, ImageFiles, central_box, random_box
from mixkd.loader import augment, batches
from mixkd.runs import run
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.store import RecordStore
from mixkd.train import train_cohort


def photo(path, width, height, seed, **options):
    """Smooth colours, so that a decoder that works at half the size sees the same."""
    random = np.random.RandomState(seed)
    small = Image.fromarray(random.randint(0, 256, (4, 4, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize((width, height), Image.Resampling.BICUBIC).save(path, **options)


@pytest.fixture
def tree(tmp_path):
    """train and val of three classes: JPEGs and PNGs of many sizes."""
    seed = 0
    for part, count in (("train", 14), ("val", 5)):
        for label in ("cat", "dog", "owl"):
            for i in range(count):
                seed += 1
                width, height = random.Random(seed).sample(range(40, 90), 2)
                photo(tmp_path / "zoo" / part / label / f"{i}.{'png' if i % 3 else 'jpg'}", width, height, seed)
    return tmp_path / "zoo"


def draws(n, seed=0):
    return torch.rand(n, DRAWS, generator=torch.Generator().manual_seed(seed))


def test_central_crops_are_those_of_resize_and_crop(tmp_path):
    photo(tmp_path / "a.png", 300, 200, 1)
    [pixels] = ImageFiles(tmp_path, ["a.png"], 56).decode()
    reference = v2.CenterCrop(56)(v2.Resize(64, antialias=True)(v2.functional.pil_to_tensor(Image.open(tmp_path / "a.png"))))
    assert pixels.dtype == torch.uint8
    assert (pixels.float() - reference.float()).abs().mean() < 2


def test_a_random_crop_is_the_named_part_of_the_picture(tmp_path):
    photo(tmp_path / "a.png", 90, 60, 1)
    numbers = draws(1)
    left, top, w, h = random_box(numbers[0].tolist(), 90, 60)
    [pixels] = ImageFiles(tmp_path, ["a.png"], 24).start(numbers)()
    with Image.open(tmp_path / "a.png") as image:
        cut = image.crop((left, top, left + w, top + h)).resize((24, 24), Image.Resampling.BILINEAR)
    # the edge pixels of the crop see their neighbours outside it, as torchvision's do not
    assert (pixels.float() - torch.from_numpy(np.asarray(cut).copy()).permute(2, 0, 1)).abs()[:, 1:-1, 1:-1].max() <= 2


def test_boxes_follow_the_law_of_the_literature():
    """Against torchvision's own sampler, by moments; each box inside the picture, of an allowed shape and area."""
    numbers, width, height = draws(4000).tolist(), 120, 90
    ours = np.array([random_box(row, width, height) for row in numbers])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        picture = torch.zeros(3, height, width)
        theirs = [v2.RandomResizedCrop(8).make_params([picture]) for _ in range(4000)]
    theirs = np.array([[box["left"], box["top"], box["width"], box["height"]] for box in theirs])
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 0] + ours[:, 2] <= width).all()
    assert (ours[:, 1] + ours[:, 3] <= height).all()
    area, ratio = ours[:, 2] * ours[:, 3] / (width * height), ours[:, 2] / ours[:, 3]
    assert 0.07 < area.min() < 0.1
    assert 0.7 < ratio.min() < ratio.max() < 1.4
    error = 4 * np.hypot(ours.std(0), theirs.std(0)) / np.sqrt(4000)
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < error).all()
    assert (np.abs(ours.std(0) / theirs.std(0) - 1) < 0.08).all()


def test_pictures_that_no_shape_fits_give_their_middle():
    assert random_box([0.999] * DRAWS, 100, 10) == (43, 0, 13, 10)
    assert random_box([0.999] * DRAWS, 10, 100) == (0, 43, 10, 13)
    assert central_box(256, 300) == (16, 38, 224, 224)


def test_pictures_are_turned_upright_and_large_ones_decoded_small(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / "turned.jpg", 800, 600, 3, exif=exif, quality=95)
    with Image.open(tmp_path / "turned.jpg") as image:
        upright = ImageOps.exif_transpose(image)
        assert upright.size == (600, 800)
        reference = upright.crop((37, 137, 562, 662)).resize((32, 32), Image.Resampling.BILINEAR)
    [pixels] = ImageFiles(tmp_path, ["turned.jpg"], 32).decode()
    assert (pixels.float() - torch.from_numpy(np.asarray(reference).copy()).permute(2, 0, 1)).abs().max() <= 6


def test_selections_are_rows_and_read_nothing(tmp_path):
    for i in range(5):
        photo(tmp_path / f"{i}.png", 20, 20, i)
    files = ImageFiles(tmp_path, [*[f"{i}.png" for i in range(5)], "missing.png"], 16)
    all_pixels = files[:5].decode()
    assert files.shape == (6, 3, 16, 16)
    assert torch.equal(files[torch.tensor([3, 0, 3])].decode(), all_pixels[[3, 0, 3]])
    assert torch.equal(files[1:5][torch.tensor([2])].decode(), all_pixels[[3]])
    parts = list(files[:5].split(2))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat(parts), all_pixels)


def test_ahead_keeps_the_order_and_begins_no_more_than_it_may():
    begun = []

    def piece(i):
        def start():
            begun.append(i)
            return lambda: torch.tensor(i)

        return start

    for count, value in enumerate(images.ahead((piece(i) for i in range(10)), depth=3), start=1):
        assert int(value) == count - 1
        assert len(begun) <= count + 3
    assert begun == list(range(10))


def test_a_streamed_tree_has_fixed_stratified_splits(tree):
    data = load_data(f"stream:{tree}", image_size=32)
    assert {name: len(split.labels) for name, split in data.splits.items()} == {"train": 38, "val": 4, "test": 15, "train_eval": 38}
    assert data.classes == ("cat", "dog", "owl")
    assert (data.image_size, data.channels) == (32, 3)
    assert data.mean == (0.485, 0.456, 0.406)
    paths = data.splits["train"].images.files
    for name in ("train", "val", "test"):
        split = data.splits[name]
        assert [paths[row].split("/")[1] for row in split.images.rows] == [data.classes[label] for label in split.labels]
    rows = [set(data.splits[name].images.rows.tolist()) for name in ("train", "val", "test")]
    assert sum(map(len, rows)) == len(set.union(*rows)) == 57
    whole = load_data(f"folder:{tree}", image_size=32, cache=tree.parent / "cache")
    assert torch.equal(whole.splits["val"].labels, data.splits["val"].labels)
    first = load_data(f"stream:{tree}", image_size=32, train_size=10)
    assert torch.equal(first.splits["train"].images.rows, data.splits["train"].images.rows[:10])


def test_the_identity_of_a_streamed_tree_is_its_listing(tree, tmp_path):
    identity = data_identity(f"stream:{tree}")
    assert identity.startswith("stream:zoo@")
    moved = tree.rename(tmp_path / "elsewhere")
    (tmp_path / "inside").mkdir()
    moved = moved.rename(tmp_path / "inside" / "zoo")
    assert data_identity("stream:zoo", root=moved.parent) == identity
    assert load_data(identity, image_size=16, root=moved.parent).identity == identity
    (moved / "train" / "cat" / "extra.png").write_bytes((moved / "train" / "cat" / "1.png").read_bytes())
    folders._tree.cache_clear()
    with pytest.raises(ValueError, match="not the images it was made from"):
        load_data(identity, image_size=16, root=moved.parent)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("stream:", ValueError, ["say which", "stream:PATH"]),
        ("stream:nowhere", FileNotFoundError, ["nowhere", "data root"]),
        ("stream:zipped", ValueError, ["no directory", "folder:zipped"]),
        ("imagenet", FileNotFoundError, ["train/CLASS/*.JPEG", "ILSVRC2012_img_train.tar", "--data-root"]),
    ],
)
def test_missing_trees_say_what_to_do(tmp_path, name, error, words):
    (tmp_path / "zipped.zip").write_bytes(b"")
    with pytest.raises(error) as raised:
        load_data(name, root=tmp_path)
    for word in words:
        assert word in str(raised.value)


def test_a_part_of_imagenet_is_not_imagenet(tree, tmp_path):
    tree.rename(tmp_path / "imagenet")
    for root in (tmp_path, tmp_path / "imagenet"):
        with pytest.raises(ValueError, match="holds 3 classes, not 1000; a part of it is stream:"):
            load_data("imagenet", root=root)


def spec_on(tree, **fields):
    defaults = {"arm": "ce", "student": "cnn8", "image_size": 24, "epochs": 2, "batch_size": 8, "augment": "resized_crop_flip", "lr": 1e-2}
    return RunSpec(data=f"stream:{tree}", **(defaults | fields))


@pytest.mark.parametrize("kind", ["none", "crop_flip", "resized_crop_flip", "resize_crop_flip"])
def test_batches_are_a_function_of_seed_and_step(tree, kind):
    spec, data = spec_on(tree, augment=kind), load_data(f"stream:{tree}", image_size=24)
    whole = list(batches(spec, data, 0, 8))
    late = list(batches(spec, data, 5, 8))
    assert [batch.step for batch in late] == [5, 6, 7]
    for ours, again in zip(whole[5:], late, strict=True):
        assert torch.equal(ours.images, again.images)
        assert torch.equal(ours.labels, again.labels)
        assert ours.images.shape == (8, 3, 24, 24)
    epoch = torch.cat([batch.labels for batch in whole[:4]])
    assert epoch.bincount().sum() == 32
    assert not torch.equal(whole[0].images, whole[4].images)
    other = next(batches(spec.replace(seed=1), data, 0, 1))
    assert not torch.equal(other.images, whole[0].images)


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_processes_that_share_a_run_take_their_rows(tree, where, tmp_path):
    name = f"stream:{tree}" if where == "disk" else f"folder:{tree}"
    data = load_data(name, image_size=24, cache=tmp_path / "cache")
    spec = spec_on(tree, augment="none")
    whole = list(batches(spec, data, 0, 3))
    parts = [list(batches(spec, data, 0, 3, part=slice(4 * rank, 4 * rank + 4), purpose=f"/{rank}")) for rank in range(2)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(batch.images, torch.cat([first.images, second.images]))
        assert torch.equal(batch.labels, torch.cat([first.labels, second.labels]))


def test_random_crops_on_the_device_are_those_of_the_decoder(tree):
    """The same draws, cut out of the file by one and resampled from a tensor by the other."""
    photo(tree / "square.png", 96, 96, 8)
    files = ImageFiles(tree, ["square.png"] * 32, 48)
    n, seed = 32, 3
    numbers = torch.rand(n, DRAWS, generator=stream(seed, "augment", 0))
    from_files = files.start(numbers)().float()
    flip = numbers[:, -1] < 0.5
    from_files[flip] = from_files[flip].flip(3)
    picture = torch.from_numpy(np.asarray(Image.open(tree / "square.png")).copy()).permute(2, 0, 1).float()
    from_tensor = augment(picture.expand(n, 3, 96, 96), stream(seed, "augment", 0), "resized_crop_flip", 48)
    assert from_tensor.shape == (n, 3, 48, 48)
    assert (from_files - from_tensor).abs().mean() < 3  # one averages over pixels where the crop shrinks
    assert (from_files - from_tensor.roll(8, 0)).abs().mean() > 10
    assert 0 < flip.sum() < n


def test_enlarged_crops_follow_the_authors_recipe():
    """32 px to 236, out of which 224: here 8 to 17, out of which 16."""
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    out = augment(images, torch.Generator().manual_seed(1), "resize_crop_flip", 16)
    assert out.shape == (6, 3, 16, 16)
    large = torch.nn.functional.interpolate(images, (17, 17), mode="bilinear")
    candidates = [large[:, :, y : y + 16, x : x + 16] for y in range(2) for x in range(2)]
    candidates += [candidate.flip(3) for candidate in candidates]
    for i in range(6):
        assert any(torch.equal(out[i], candidate[i]) for candidate in candidates)


def test_small_named_images_are_enlarged_on_the_device_for_networks_of_large_ones():
    images = torch.randint(256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.arange(5) % 2)
    data = Dataset("small", "small", ("a", "b"), dict.fromkeys(("train", "val", "test"), split), (0.5,) * 3, (0.25,) * 3, enlarged=20)
    assert data.image_size == 20
    expected = torch.nn.functional.interpolate((images / 255 - 0.5) / 0.25, (20, 20), mode="bilinear")
    assert torch.allclose(normalise(images, data), expected, atol=1e-5)
    assert normalise(images, data, enlarge=False).shape == images.shape
    spec = RunSpec(data="small", arm="ce", student="cnn8", batch_size=5, epochs=1, augment="resize_crop_flip")
    assert next(batches(spec, data, 0, 1)).images.shape == (5, 3, 20, 20)


def test_a_run_on_a_streamed_tree_leaves_a_record_and_resumes_to_the_same_bits(tree, tmp_path):
    teacher = TeacherSpec(model="cnn16", epochs=1)
    spec = spec_on(tree, arm="kd_mixup", teacher=teacher, seed=2)
    record = run(spec, tmp_path / "store", CPU, progress=False)
    store = RecordStore(tmp_path / "store")
    assert store.verify() == []
    assert record.spec.data.startswith("stream:zoo@")
    assert (record.logits("test").shape, record.logits("val").shape) == ((15, 3), (4, 3))
    assert len(store.ids()) == 2

    plain, data = spec_on(tree, seed=2), load_data(f"stream:{tree}", image_size=24)
    with stopped_after(6):
        train_cohort([plain], data, precision="fp32", checkpoints=tmp_path / "c", checkpoint_seconds=0)
    resumed = train_cohort([plain], data, precision="fp32", checkpoints=tmp_path / "c")
    same_students(resumed, train_cohort([plain], data, precision="fp32"))
