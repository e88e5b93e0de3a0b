"""Folders and zips as people have them: nothing is dropped or misread in silence, and nothing hostile is read at all."""

import io
import os
import struct
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from shutil import copytree

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image, ImageOps

from mixkd import data as module
from mixkd import folders
from mixkd.data import data_identity, load_data, normalise
from mixkd.images import ImageFiles, decode, fitted

COLOURS = {"cat": (200, 40, 40), "dog": (40, 200, 40), "owl": (40, 40, 200)}
PLAIN = {"train": 7, "val": 1, "test": 8}


def png(colour=COLOURS["cat"], size=(16, 16), seed=0, **options):
    noise = np.random.RandomState(seed).randint(0, 40, (size[1], size[0], 3))
    out = io.BytesIO()
    Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(out, options.pop("format", "PNG"), **options)
    return out.getvalue()


def write_tree(top, per_class=12, held_out=4, parts=("train", "test"), classes=("cat", "dog", "owl")):
    for part in parts:
        for number, name in enumerate(classes):
            folder = top / part / name
            folder.mkdir(parents=True)
            for i in range(per_class if part.lower() == "train" else held_out):
                (folder / f"{i:03d}.png").write_bytes(png(COLOURS[name], seed=[sum(map(ord, part)), number, i]))
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


def pets_in(top, parts=("train", "test")):
    return write_tree(top, per_class=4, parts=parts, classes=("cat", "dog"))


@pytest.fixture
def pets(tmp_path):
    return pets_in(tmp_path / "pets")


def sizes(path, cache):
    return {name: len(split.labels) for name, split in load_data(f"folder:{path}", cache=cache).splits.items() if name != "train_eval"}


def same(a, b):
    return a.keys() == b.keys() and all(
        torch.equal(a[key].images, b[key].images) and torch.equal(a[key].labels, b[key].labels) for key in a
    )


def test_a_folder_becomes_splits(tree, cache):
    write_tree(tree, held_out=1, parts=["extra"])
    with pytest.warns(UserWarning, match=r"left out, .*: extra/cat/000.png, .*"):
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
    assert len(torch.cat([data.splits[part].images for part in ("train", "val", "test")]).flatten(1).unique(dim=0)) == 48


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
    def digest(path):
        return data_identity(f"folder:{path}", cache=cache).split("@")[1]

    first = digest(tree)
    os.utime(tree / "train" / "cat" / "000.png", ns=(10**18, 10**18))
    moved = tree.rename(tmp_path / "elsewhere")
    assert digest(moved) == first
    image, archive = moved / "train" / "cat" / "000.png", zip_tree(moved, tmp_path / "a.zip")
    assert digest(archive) == first
    image.write_bytes(png(seed=999))
    zip_tree(moved, archive)
    assert digest(archive) == digest(moved) != first
    image.rename(image.with_name("zzz.png"))
    assert digest(archive) != digest(moved)


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


def test_val_is_the_held_out_split_alone_and_validation_beside_test(tmp_path, cache):
    only_val = load_data(f"folder:{write_tree(tmp_path / 'a', parts=('train', 'val'))}", cache=cache)
    assert len(only_val.splits["test"].labels) == 12
    assert len(only_val.splits["val"].labels) == 3  # cut from train
    both = write_tree(tmp_path / "b", held_out=5, parts=("train", "val", "test"))
    data = load_data(f"folder:{both}", cache=cache)
    assert [len(data.splits[part].labels) for part in ("train", "val", "test")] == [36, 15, 15]
    images = data.splits["val"].images[data.splits["val"].labels == 1]
    stored = {np.asarray(Image.open(path)).tobytes() for path in (both / "val" / "dog").iterdir()}
    assert {image.permute(1, 2, 0).numpy().tobytes() for image in images} == stored


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


def test_decoding_happens_once(tree, cache, monkeypatch):
    first = load_data(f"folder:{tree}", cache=cache)
    assert load_data(f"folder:{tree}", cache=cache) is first
    module._folder.cache_clear()  # as in a new process
    for name in ("_decode", "_read"):
        monkeypatch.setattr(folders, name, lambda *_: pytest.fail("decoded again"))
    assert same(load_data(f"folder:{tree}", cache=cache).splits, first.splits)
    (tree / "train" / "cat" / "000.png").write_bytes(png(seed=77))
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


def test_channels_are_normalised_apart_and_gradients_pass_after_an_evaluation(tree, cache):
    data = load_data(f"folder:{tree}", cache=cache)
    images = data.splits["train"].images
    with torch.inference_mode():
        x = normalise(images, data)
        normalise(images.float() / 255, data)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    pixels = (images.float() / 255).requires_grad_()
    normalise(pixels, data).sum().backward()
    torch.testing.assert_close(pixels.grad[0, :, 0, 0], 1 / torch.tensor(data.std))


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
        (lambda t: [drop_folder(t / p / c) for p in ("train", "test") for c in ("dog", "owl")], r"holds 1 class \(cat\)"),
        (lambda t: drop_folder(t / "test" / "owl"), "train and test hold different classes .only in train: owl"),
        (lambda t: drop_folder(t / "train" / "owl"), "only in test: owl"),
        (lambda t: truncate(t / "test" / "dog" / "002.png"), "test/dog/002.png cannot be read as an image"),
        (lambda t: (t / "train" / "cat" / "x.jpg").write_bytes(b"<html>"), "train/cat/x.jpg cannot be read as an image"),
        (lambda t: (t / "train" / "cat" / "x.jpg").write_bytes(b""), "train/cat/x.jpg cannot be read as an image"),
        (lambda t: grow_16_bit(t / "train" / "cat" / "x.png"), "train/cat/x.png .*more than 8 bits"),
        (lambda t: [(t / "train" / "cat" / f"{i:03d}.png").unlink() for i in range(1, 12)], "train/cat has one image"),
        (lambda t: (remove_images(t / "train" / "dog"), (t / "train" / "dog" / "a.txt").touch()), "train/dog has no images"),
        (lambda t: (copytree(t / "train", t / "a" / "train"), (t / "train").rename(t / "test" / "train")), "more than one train folder"),
        (lambda t: [copytree(t / "test", t / part) for part in ("val", "valid")], "(val and valid|valid and val) are both val"),
        (lambda t: remove_images(t / "test" / "dog"), "test/dog has no images|only in train: dog"),  # a zip has no empty folders
    ],
)
def test_a_wrong_folder_is_named(tree, tmp_path, cache, spoil, message, zipped):
    spoil(tree)
    path = zip_tree(tree, tmp_path / "a.zip", "" if " train folder" in message else "top/") if zipped else tree
    with pytest.raises(ValueError, match=message) as error:
        load_data(f"folder:{path}", cache=cache)
    assert str(path) in str(error.value)
    assert not list(cache.glob("images/*.npy"))
    assert not list(cache.glob("images/*.partial"))


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


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("train/cat/all", "../.."),
        ("train/cat/up", "../../.."),
        ("train/cat/more", "../dog"),
        ("train/cat/self", "."),
        ("train/cat/held out", "../../test/cat"),
        ("train/cat/x.png", "../dog/000.png"),
        ("train/cat/x.png", "000.png"),
        ("train/cat/x.png", "nowhere.png"),
        ("train/cat/x.png", "x.png"),
        ("train/cat/gone", "nowhere"),
    ],
)
def test_a_link_back_into_the_data_or_to_nothing_is_refused(pets, cache, link, target, streamed):
    (pets / link).symlink_to(target)
    if target == "nowhere":  # neither a folder nor an image: reported with what is left out
        with pytest.warns(UserWarning, match=r"left out.*train/cat/gone"):
            data_identity(f"folder:{pets}", cache=cache)
        return
    with pytest.raises(ValueError, match=rf"{link} is a link to .*remove it") as error:
        data_identity(f"{'stream' if streamed else 'folder'}:{pets}", cache=cache)
    assert "\n" not in str(error.value)


def test_links_to_elsewhere_are_followed_once(pets, tmp_path, cache):
    whole = sizes(pets, cache)
    (pets / "train" / "cat").rename(tmp_path / "cats")
    (pets / "train" / "cat").symlink_to(tmp_path / "cats")
    (pets / "test" / "dog" / "000.png").rename(tmp_path / "blob")
    (pets / "test" / "dog" / "000.png").symlink_to(tmp_path / "blob")
    (tmp_path / "linked").symlink_to(pets)
    assert sizes(pets, cache) == sizes(tmp_path / "linked", cache) == whole
    (pets / "train" / "owl").symlink_to(tmp_path / "cats")
    with pytest.raises(ValueError, match=r"are one folder, by a link; remove the link"):
        sizes(pets, cache)


def test_every_suffix_and_none_is_read_and_the_rest_is_reported(pets, cache):
    folder = pets / "train" / "cat"
    for name, format in (("a.jfif", "JPEG"), ("b.gif", "GIF"), ("c.AVIF", "AVIF"), ("d", "PNG"), ("e.webp", "WEBP"), ("f", "JPEG")):
        try:
            (folder / name).write_bytes(png(format=format))
        except KeyError:  # a Pillow without that format
            (folder / name).write_bytes(png())
    for name in ("notes.txt", "README", ".DS_Store", "Thumbs.db"):
        (folder / name).write_bytes(b"no image of anything")
    (pets / "train" / "loose.png").write_bytes(png())
    (pets / "classes.tsv").write_text("cat\tdog")
    zipped = zip_tree(pets, pets.parent / "zipped.zip")
    for path in (pets, zipped):
        with pytest.warns(UserWarning, match=r"left out, .*: train/cat/README, train/cat/notes.txt, train/loose.png$"):
            found = sizes(path, cache)
        assert sum(found.values()) == 16 + 6


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "Val", "VALID"])
def test_validation_under_any_of_its_names_is_used(tmp_path, cache, name):
    pets = pets_in(tmp_path / "pets", parts=("train", "test", name))
    assert sizes(pets, cache) == {"train": 8, "val": 8, "test": 8}
    alone = pets_in(tmp_path / "alone", parts=("Train", name))
    assert sizes(alone, cache) == PLAIN


def test_names_that_look_alike_are_shown_apart(pets, cache):
    (pets / "train" / "cat").rename(pets / "train" / "caf\u00e9")
    (pets / "test" / "cat").rename(pets / "test" / "cafe\u0301")
    with pytest.raises(ValueError, match=r"only in train: 'caf\\xe9'; only in test: 'cafe\\u0301'"):
        sizes(pets, cache)
    (pets / "train" / "caf\u00e9").rename(pets / "train" / "cat")
    (pets / "test" / "cafe\u0301").rename(pets / "test" / "cat ")
    with pytest.raises(ValueError, match=r"only in train: cat; only in test: 'cat '"):
        sizes(pets, cache)


def memory(path):
    return decode(io.BytesIO(path.read_bytes()), str(path), partial(fitted, size=16))


def streamed(path):
    return ImageFiles(path.parent, [path.name], 16).decode()[0].numpy()


READERS = pytest.mark.parametrize("read", [memory, streamed])


@READERS
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA", "RGB with one transparent colour"])
def test_what_is_transparent_is_white(tmp_path, read, mode):
    ink = Image.new("RGBA", (32, 32), (0, 0, 0, 0))  # black throughout: the form is in the alpha channel
    ink.paste((0, 0, 0, 255), (0, 0, 16, 32))
    path = tmp_path / "a.png"
    if mode == "RGB with one transparent colour":
        image = Image.new("RGB", (32, 32), (9, 9, 9))
        image.paste((0, 0, 0), (0, 0, 16, 32))
        image.save(path, transparency=(9, 9, 9))
    elif mode == "P":
        image = Image.new("P", (32, 32), 1)
        image.putpalette([0, 0, 0, 0, 0, 0])
        image.paste(0, (0, 0, 16, 32))
        image.save(path, transparency=1)
    elif mode == "PA":
        path = tmp_path / "a.webp"
        ink.save(path, lossless=True)
    else:
        ink.convert(mode).save(path)
    pixels = read(path)
    assert pixels[:, :, :6].max() < 10
    assert pixels[:, :, 10:].min() > 245


@READERS
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_does_not_stop_an_image_that_pillow_reads(tmp_path, read):
    blocks = {
        "junk": b"Exif\0\0" + b"\xff" * 40,
        "cut": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01",
        "far": b"Exif\0\0II*\0" + struct.pack("<I", 2**31),
        "text": b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI4s", 0x0112, 2, 4, b"six\0") + b"\0" * 4,
    }
    for name, block in blocks.items():
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(png(format="JPEG", exif=block))
        assert abs(int(read(path)[0].mean()) - 220) < 10, name


@READERS
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_is_that_of_pillow(tmp_path, read, turn):
    image = Image.new("RGB", (32, 32), (0, 0, 0))
    image.paste((250, 250, 250), (0, 0, 24, 8))
    exif = Image.Exif()
    exif[0x0112] = turn
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        ImageOps.exif_transpose(opened).save(tmp_path / "b.png", exif=Image.Exif())
    assert np.array_equal(read(tmp_path / "a.png"), read(tmp_path / "b.png"))


def test_other_pixels_of_the_same_size_and_time_have_another_digest(pets, cache):
    file = pets / "train" / "cat" / "000.png"
    first, second = (png(seed=seed, compress_level=0) for seed in (1, 2))
    assert len(first) == len(second)
    file.write_bytes(first)
    os.utime(file, ns=(10**18, 10**18))
    before = load_data(f"folder:{pets}", cache=cache)
    file.write_bytes(second)
    os.utime(file, ns=(10**18, 10**18))
    after = load_data(f"folder:{pets}", cache=cache)
    assert after.identity != before.identity
    assert not same(after.splits, before.splits)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_only_regular_files_are_opened(pets, cache, make):
    (pets / "train" / "cat" / "y.png").mkdir()
    assert sizes(pets, cache) == PLAIN  # a folder of that name holds images, or none
    os.mkfifo(pets / "train" / "cat" / "z")
    with pytest.warns(UserWarning, match=r"left out.*train/cat/z$"):
        assert sizes(pets, cache) == PLAIN  # nor is one without a suffix
    os.mkfifo(pets.parent / "pipe.zip")
    with pytest.raises(ValueError, match="neither a directory nor a regular file"):
        load_data(f"folder:{pets.parent / 'pipe.zip'}", cache=cache)
    make(pets / "train" / "cat" / "x.png")
    for name in ("folder", "stream"):
        with pytest.raises(ValueError, match=r"train/cat/x.png is no regular file"):
            data_identity(f"{name}:{pets}", cache=cache)


def test_an_image_of_too_many_bytes_is_never_read(pets, cache, monkeypatch):
    monkeypatch.setattr(folders, "_LARGEST", 5000)
    (pets / "train" / "cat" / "x.png").write_bytes(bytes(5001))
    for path in (pets, zip_tree(pets, pets.parent / "z.zip")):
        with pytest.raises(ValueError, match=r"train/cat/x.png is of .* MiB; an image file may have"):
            load_data(f"folder:{path}", cache=cache)


def test_a_zip_with_backslashes_is_that_with_slashes(pets, cache, tmp_path):
    straight = zip_tree(pets, tmp_path / "a.zip")
    content = straight.read_bytes()
    for part in ("train", "test"):
        for label in COLOURS:
            content = content.replace(f"{part}/{label}/".encode(), f"{part}\\{label}\\".encode())
    (tmp_path / "b.zip").write_bytes(content)
    assert b"train\\cat\\000.png" in content
    digests = {data_identity(f"folder:{path}", cache=cache).split("@")[1] for path in (pets, straight, tmp_path / "b.zip")}
    assert len(digests) == 1
    assert sizes(tmp_path / "b.zip", cache) == PLAIN


@pytest.mark.parametrize(
    ("offset", "value"),
    [(6, 99), (6, 255), (10, 14), (10, 12), (10, 99), (8, 1), (20, 7), (42, 255)],
    ids=["version 9.9", "version 25.5", "lzma", "bzip2", "no method", "encrypted", "size", "place"],
)
def test_every_error_of_a_zip_is_one_line(pets, cache, tmp_path, offset, value):
    """One byte of the last entry of the directory of a zip, by its place in that entry."""
    path = zip_tree(pets, tmp_path / "z.zip")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + offset] = value
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"z\.zip") as error:
        load_data(f"folder:{path}", cache=cache)
    assert "\n" not in str(error.value)


POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 40 40
%%EndComments
(went off) print
showpage
%%EOF
"""


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program `gs` that leaves a file when it is called."""
    flag, folder = tmp_path / "went off", tmp_path / "bin"
    folder.mkdir()
    (folder / "gs").write_text(f'#!/bin/sh\ntouch "{flag}"\n')
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow looks for it once
    return flag


@READERS
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.eps"])
def test_postscript_reaches_no_ghostscript(tmp_path, ghostscript, read, name):
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with Image.open(tmp_path / name) as image:
        assert image.format == "EPS"  # Pillow by itself would
    with pytest.raises(ValueError, match=rf"{name} cannot be read as an image \(it is none of PNG, JPEG, GIF"):
        read(tmp_path / name)
    assert not ghostscript.exists()


@READERS
@pytest.mark.parametrize("format", ["ICO", "PCX", "TGA", "SGI", "JPEG2000", "PDF"])
def test_other_formats_are_named_as_unreadable(tmp_path, read, format):
    content = io.BytesIO()
    Image.new("RGB", (32, 32)).save(content, format)
    (tmp_path / "a.png").write_bytes(content.getvalue())
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image \(it is none of"):
        read(tmp_path / "a.png")


@READERS
@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_formats_of_the_list_are_read(tmp_path, read, format):
    content = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 40, 90)).save(content, format)
    (tmp_path / "a.png").write_bytes(content.getvalue())
    assert np.abs(read(tmp_path / "a.png").astype(int) - np.array([200, 40, 90])[:, None, None]).max() <= 8
